# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take secrets out of texts, on nodes and on the controller alike.

Anybody on a node can choose the text, and root's process searches it: the time of each pattern grows with the length
of the text and no faster. So no pattern has two open repetitions of the same characters, and one that may fail at the
end of a long word starts at the beginning of words only.
"""

from __future__ import annotations

import re
import typing as t

HIDDEN = "<hidden>"
MAX_NAME = 128  # no longer name is known to be harmless

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)", re.S)
# a quote or bracket that was opened before the secret, and does not belong to it
_CLOSED = r"(?=[\"')`;]{0,4}(?:\s|\Z))"
# what stands before the secret, which is the last group
_WHOLE = (
    # https://user:password@host, and proxies without a scheme: user:password@host:3128
    re.compile(r"(?<=://)()([^/\s\"'?#]*)(?=@)"),
    re.compile(r"(?<![\w.%+~:/-])()([\w.%+~-]{1,64}:[^\s/@:\"']{1,256})(?=@[\w.-]{1,253}:\d{2,5}\b)"),
    # tokens that are known by their first letters: Hugging Face, GitHub, GitLab, OpenAI, Slack, AWS, Google, npm, PyPI,
    # Databricks, NVIDIA, JSON web tokens; sk-ssh-ed25519 is a type of key
    re.compile(
        r"(?<![A-Za-z0-9])()((?:hf_|gh[pousr]_|github_pat_|glpat-|sk-(?!ssh-|ecdsa-)|xox[abeprs]-|npm_|pypi-|nvapi-"
        r"|dapi|ya29\.|AIza)[\w-]{12,}|A(?:KIA|SIA)[A-Z0-9]{16}\b)"
    ),
    re.compile(r"(?<![\w-])()(eyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?)"),
    re.compile(r"(?i)\b(authorization:[ \t]{0,8}\w{1,20}[ \t]{1,8}|bearer[ \t]{1,8})([\w+/=.~-]{8,})"),
    # words of programs that take a secret without naming it
    re.compile(r"(?i)\b(login[ \t\n]{1,8}\S{1,128}[ \t\n]{1,8}password[ \t\n]{1,8}[\"']?)(\S+?)" + _CLOSED),  # ~/.netrc
    re.compile(r"\b(wandb[ ]{1,8}login[ ]{1,8}(?:--[\w-]{1,32}[ ]{1,8}){0,4}[\"']?)((?!-)\S+?)" + _CLOSED),
    re.compile(r"\b(sshpass[ ]{1,8}-p[ ]{0,8}[\"']?)(\S+?)" + _CLOSED),
    re.compile(r"(?<!\S)((?:-[uU]|--user|--proxy-user)[ =]{1,8}[^\s:]{1,64}:)((?!\d+(?:\s|\Z))\S+?)" + _CLOSED),
)
# a name and the sign behind it; of an option the value may be the next word
_NAME = re.compile(r"(?<![\w.-])([\w.-]+)(?:([\"']?[ \t]*[=:][ \t]*)|[ \t]+(?!-))")
_VALUE = re.compile(r""""(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,;}\]"'\\&]+""")
_MARKED = re.compile(
    r"(?i)(?:token|secret|passw|passphrase|credential|(?<!by)(?<!com)pass(?![a-z])|pwd(?![a-z])|(?<![a-z])auth(?![a-z])"
    r"|authtoken|(?<![a-z])sig\Z|[a-z0-9][_.-]?keys?[_.\d-]*\Z)"
)
# how ssh checks keys, and what they are called; a partition of InfiniBand; the working directory
_NO_SECRET = re.compile(
    r"(?i)-*(?:\w*PKEY|(?:\w*[_-])?(?:host|pub|public|authorized|known)[_-]?keys?\w*|\w*HostKey\w*|AuthorizedKeys\w*"
    r"|\w*Authentication\w*|[\w.-]*tokeniz[\w.-]*|\w*keyboard\w*|(?:old)?pwd|ssh-keys?)\Z"
)
# in prose these words have another meaning
_PLAIN = frozenset(("pass", "auth", "sig", "tokens", "secrets", "passwords", "pad_tokens"))
_HARMLESS = re.compile(r"[\"']?(?:[\d.]+|true|false|null|none|yes|no|auto|\$\{?\w+\}?|)[\"']?\Z", re.IGNORECASE)


def masked(text: str, mask: str = HIDDEN) -> str:
    """``text`` with the values of names that look secret, keys, and logins in URLs replaced; lines stay where they are.

    Numbers, booleans and references to variables stay: they are no secrets, and JSON stays JSON.
    """
    text = _PEM.sub(lambda match: mask + "\n" * match.group(0).count("\n"), text)
    for pattern in _WHOLE:
        text = pattern.sub(lambda match: match.group(1) + (mask if match.group(2) else ""), text)
    return "".join(_without_values(text, mask))


def _without_values(text: str, mask: str) -> t.Iterator[str]:
    """The pieces of the text, with ``mask`` in the place of each value of a secret name."""
    end = 0
    for match in _NAME.finditer(text):
        if match.start() < end or not _is_secret(match.group(1), match.group(2)):
            continue
        value = _VALUE.match(text, match.end())
        if value and not _HARMLESS.match(value.group(0)) and value.group(0) != mask:
            quote = value.group(0)[0] if value.group(0)[0] in "\"'" else ""
            yield f"{text[end : match.end()]}{quote}{mask}{quote}"
            end = value.end()
    yield text[end:]


def _is_secret(name: str, sign: str | None) -> bool:
    """Whether a value behind this name is secret; without a sign only behind the name of an option."""
    if sign is None and not name.startswith("-"):
        return False
    if sign and sign.lstrip().startswith(":") and name.lower() in _PLAIN:
        return False
    return bool(_MARKED.search(name)) and not (len(name) <= MAX_NAME and _NO_SECRET.match(name))
