# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Characters in a script that look like others: what an editor, a web page or a word processor has made of them.

The script is read as it is meant, so that the other rules speak of what it says, and each such place is a problem.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import HIDDEN
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import BOM, Problem

# no-break, figure, narrow no-break and ideographic space; zero-width ones
_BLANKS = "\u00a0\u2007\u202f\u3000"
_NOTHING = "\u200b\u200c\u2060\ufeff"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_BLANK, _ZERO = re.compile(f"(?<!\\\\)[{_BLANKS}]"), re.compile(f"[{_NOTHING}]")
_DASH = re.compile(rf"(?:(?<=\s)|\A)(?:[{_DASHES}]-?|-[{_DASHES}]|[{_DASHES}]{{2}})(?=[A-Za-z])")
_QUOTED = re.compile(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_WORDS = ((_BLANK, "a no-break space"), (_DASH, "a dash in the place of --"), (_ZERO, "a character without a width"))
# What a carriage return breaks for certain: a continued line, a word of the shell's own, a variable, a script's name
_BREAKS = re.compile(
    r"(?:\\|^\s*(?:then|do|else|fi|done|esac|\{|\})|;\s*(?:then|do)|^\s*export \w+=[^#]*|\.(?:py|json|ya?ml|sh))\r\Z"
)


def as_meant(text: str) -> str:
    """The text with plain blanks, hyphens and line ends; lines stay where they are.

    What stands for a secret has signs of redirections around it, and is made a word.
    """
    text = text.removeprefix(BOM).replace("\r\n", "\n").replace(HIDDEN, "_hidden_")
    if text.isascii():
        return text
    return _DASH.sub("--", _ZERO.sub("", re.sub(f"[{_BLANKS}]", " ", text)))


def odd(lines: t.Iterable[tuple[int, str]]) -> t.Iterator[Problem]:
    """Such characters in command lines, outside of quotes; (number, text) of each."""
    for number, line in lines:
        if line.isascii():
            continue
        bare = _QUOTED.sub("_", line)
        for pattern, what in _WORDS:
            match = pattern.search(bare)
            if match:
                around = " ".join(bare[max(0, match.start() - 20) : match.end() + 20].split())
                yield Problem(number, "character", f"{what}: {around}")


def encoding(text: str) -> t.Iterator[Problem]:
    """What is wrong with all of a script: ``utf16``, ``carriage``, ``windows``, ``windows_luck``, ``mark``."""
    lines = text.split("\n")
    if "\0" in text[:4096]:
        yield Problem(0, "utf16", "a text of 16 bits a character, which no shell reads")
    elif "\r" in text and len(lines) < 3:
        yield Problem(0, "carriage", "its lines end with a carriage return alone: for the shell it is one line")
    elif 2 * sum(line.endswith("\r") for line in lines) >= len(lines):
        broken = next((at for at, line in enumerate(lines, 1) if _BREAKS.search(line)), 0)
        at = broken or next((at for at, line in enumerate(lines, 1) if line.endswith("\r")), 0)
        shown = lines[at - 1].strip()[:80]
        yield Problem(at, "windows" if broken else "windows_luck", f"the line ends of Windows (CR LF): {shown}")
    if text.startswith(BOM):
        yield Problem(1, "mark", "a byte order mark stands before the first character")
