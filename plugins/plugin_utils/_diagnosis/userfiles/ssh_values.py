# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of an ssh configuration that ssh refuses, as far as a value's type tells. Source: OpenSSH 9.9 readconf.c."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import formats

_SWITCH = ("yes", "no", "true", "false")
_WORDS: t.Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("batchmode", "identitiesonly", "passwordauthentication", "compression", "tcpkeepalive", "forwardx11",
         "exitonforwardfailure", "clearallforwardings", "kbdinteractiveauthentication", "gssapiauthentication"),
        _SWITCH,
    ),
    "stricthostkeychecking": (*_SWITCH, "ask", "off", "accept-new"),
    "pubkeyauthentication": (*_SWITCH, "unbound", "host-bound"),
    "controlmaster": (*_SWITCH, "ask", "auto", "autoask"),
    "addressfamily": ("any", "inet", "inet6"),
}  # fmt: skip
_NUMBERS = ("serveralivecountmax", "connectionattempts", "numberofpasswordprompts")
_TIMES = ("connecttimeout", "serveraliveinterval")
_TIME = re.compile(r"(?:\d+[smhdwSMHDW]?)+\Z|none\Z")
_SERVICES = ("ssh", "http", "https")  # ssh looks a port up that is no number
_EXTRA = re.compile(r"(?:port|hostname|user)[\s=]", re.IGNORECASE)
_NEEDS_VALUE = ("hostname", "user", "port", "identityfile", "proxyjump", *_WORDS, *_NUMBERS, *_TIMES)


def refused(text: str) -> list[tuple[int, str, str]]:
    """(line, what stands there, what is wanted) of the values that ssh stops at; comments behind a value are none."""
    blocks, problems = formats.ssh_config(text)
    found = [(each.line, each.text, "a keyword and its value") for each in problems
             if each.what == "garbage" and not _EXTRA.match(each.text)]  # fmt: skip
    for block in blocks:
        for keyword, value, line in block.settings:
            wanted = _wanted(keyword, value)
            if wanted:
                found.append((line, f"{keyword} {value}".strip(), wanted))
    return sorted(found)


def _wanted(keyword: str, value: str) -> str:
    """What ssh wants in the place of a value; empty where it takes it, or where the type of the keyword is open."""
    word = value.lower()
    if keyword in _NEEDS_VALUE and not value:
        return "a value"
    if keyword == "port":
        known = word in _SERVICES or (re.match(r"\d+\Z", value) and 0 < int(value[:7]) < 65536)
        return "" if known else "a number from 1 to 65535"
    if keyword in _WORDS:
        return "" if word in _WORDS[keyword] else " or ".join(_WORDS[keyword][:2])
    if keyword in _NUMBERS:
        return "" if re.match(r"-?\d+\Z", value) else "a number"
    if keyword in _TIMES:
        return "" if _TIME.match(word) else "a number of seconds"
    return ""
