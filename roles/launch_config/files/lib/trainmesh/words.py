# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words that pass unharmed through pdsh, ssh, shells and every launcher, and can still be read in ``ps`` and logs.

Letters, digits and ``@_=:,./-`` stay as they are; every other byte becomes ``+`` and its two hexadecimal digits. So
no blank, quote, ``$``, ``%`` (which pdsh replaces) or newline is left that somebody on the way could take for his.
"""

from __future__ import annotations

import os
import re
import typing as t

PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@_=:,./-")
EMPTY = "+00"  # a word of an argument list has no NUL in it
_CODE = re.compile(rb"\+([0-9A-F]{2})")
_SECRET = re.compile(r"(?i)token|secret|passw|passphrase|credential|api[_-]?key")


def encode(word: str) -> str:
    """The word in plain characters. ``--`` is changed as well, since parsers of options take it away."""
    if word == "--":
        return "+2D-"
    return "".join(chr(byte) if byte in PLAIN else f"+{byte:02X}" for byte in os.fsencode(word)) or EMPTY


def decode(word: str) -> str:
    """What encode() was given."""
    if word == EMPTY:
        return ""
    return os.fsdecode(_CODE.sub(lambda found: bytes([int(found[1], 16)]), os.fsencode(word)))


def masked(words: t.Sequence[str]) -> list[str]:
    """The words for a record that others may read: the value of what is called like a secret is left out."""
    kept: list[str] = []
    for before, word in zip(["", *words], words):
        name, equals, _value = word.partition("=")
        if equals and _SECRET.search(name):
            kept.append(f"{name}=...")
        elif before.startswith("-") and "=" not in before and _SECRET.search(before) and not word.startswith("-"):
            kept.append("...")
        else:
            kept.append(word)
    return kept
