# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of apt as they are written on a node, in both formats: which key signs each repository."""

from __future__ import annotations

import glob
import os
import re
import typing as t

_LINE = re.compile(r"(?m)^[ \t]*deb[ \t]+(?:\[([^]\n]*)\][ \t]*)?(\S+)[ \t]+\S+")
_FIELD = re.compile(r"(?m)^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t]+.*)*)")


def parse_list(text: str) -> dict[str, str]:
    """Address to key of the one-line format; an empty key where none is named."""
    found = {}
    for options, uri in _LINE.findall(text):
        key = re.search(r"signed-by=(\S+)", options)
        found[uri.rstrip("/")] = key.group(1) if key else ""
    return found


def parse_sources(text: str) -> dict[str, str]:
    """Address to key of the format in stanzas; a key that stands in the file itself comes with its lines."""
    found = {}
    bare = re.sub(r"(?m)^#.*\n?", "", text)
    for stanza in re.split(r"\n[ \t]*\n", bare):
        fields = {name.lower(): value for name, value in _FIELD.findall(stanza)}
        if "uris" in fields and fields.get("enabled", "yes").strip().lower() not in ("no", "false"):
            found.update({uri.rstrip("/"): fields.get("signed-by", "").rstrip() for uri in fields["uris"].split()})
    return found


def signed_by(etc: str, leave_out: t.Collection[str] = ()) -> dict[str, str]:
    """Address to key of all sources of a node, but for those in files of these names."""
    found: dict[str, str] = {}
    for path in [f"{etc}/sources.list", *sorted(glob.glob(f"{etc}/sources.list.d/*"))]:
        read = parse_sources if path.endswith(".sources") else parse_list
        if os.path.basename(path) not in leave_out and path.endswith((".list", ".sources")):
            try:
                with open(path, encoding="utf-8", errors="replace") as stream:
                    found.update(read(stream.read()))
            except OSError:
                continue
    return found
