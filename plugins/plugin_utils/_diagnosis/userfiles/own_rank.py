# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node rank that a script makes of the node's name, for the forms that people write.

Nothing is run: ``hostname`` and ``$HOSTNAME`` through cut, tail, grep, sed, tr and awk, bash's own cutting, and a sum
around them. Anything else is None.
"""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import expansion, shell

_NAMES = re.compile(
    r"(?:/bin/|/usr/bin/)?hostname(?:\s+(?:-s|--short))?|uname\s+-n|echo\s+\"?\$\{?HOST(?:NAME)?\}?\"?|cat\s+/etc/hostname"
)
_SUM = re.compile(r"\$\(\(\s*(.*?)\s*([-+%])\s*(\d+)\s*\)\)\Z", re.DOTALL)


def of(written: str, hostname: str) -> int | None:
    """The rank on the node of that name; None where it is not made of the name, or in a way that is not known."""
    written = written.strip().strip('"')
    match = _SUM.fullmatch(written)
    if match:
        inner = of(re.sub(r"^(?:10#)", "", match.group(1)), hostname)
        if inner is None:
            return None
        number = int(match.group(3))
        return {"-": inner - number, "+": inner + number, "%": inner % number if number else 0}[match.group(2)]
    short = hostname.partition(".")[0]
    if written.startswith("$(") and shell.bracket_end(written, 1) == len(written):
        found = _piped(written[2:-1], short)
    elif len(written) > 1 and written[0] == written[-1] == "`":
        found = _piped(written[1:-1], short)
    else:
        found = _cut(written, short)
    return int(found) if found is not None and re.fullmatch(r"\d{1,6}", found.strip()) else None


def _cut(written: str, name: str) -> str | None:
    """``${HOSTNAME##*-}`` and its kin."""
    match = re.fullmatch(r"\$\{HOST(?:NAME)?(##?|%%?|//?|:\s*)(.*)\}", written, re.DOTALL)
    if not match:
        return None
    sign, rest = match.group(1).strip(), match.group(2)
    if sign == ":":
        return name[int(rest) :] if re.fullmatch(r"-?\d{1,3}", rest.strip()) else None
    if sign.startswith("/"):
        pattern, _slash, replacement = rest.partition("/")
        one = re.compile(
            fnmatch.translate(pattern.replace("[^", "[!")).replace("\\Z", "").replace("\\z", ""), re.DOTALL
        )
        return one.sub(lambda _match: replacement, name, count=0 if sign == "//" else 1) if len(pattern) < 80 else None
    pattern = rest.replace("[^", "[!")
    if sign.startswith("#"):
        cuts: t.Iterable[int] = range(len(name) + 1) if sign == "#" else range(len(name), -1, -1)
        return next((name[cut:] for cut in cuts if fnmatch.fnmatchcase(name[:cut], pattern)), name)
    cuts = range(len(name), -1, -1) if sign == "%" else range(len(name) + 1)
    return next((name[:cut] for cut in cuts if fnmatch.fnmatchcase(name[cut:], pattern)), name)


def _piped(pipeline: str, name: str) -> str | None:
    """``hostname | cut -d- -f2`` and its kin."""
    commands = shell.simple_commands(pipeline)
    words = [expansion.words(one.words, {}) for one in commands]
    raw = [" ".join(one.words) for one in commands]
    if not words or not _NAMES.fullmatch(raw[0]) or not all(one.piped for one in commands[1:]):
        return None
    found: str | None = name
    for one in words[1:]:
        found = _filtered(one, found) if found is not None else None
    return found


def _filtered(words: t.Sequence[str], text: str) -> str | None:
    """What a filter makes of one line."""
    program, rest = words[0], list(words[1:])
    line = " ".join(rest)
    try:
        if program == "cut":
            delimiter = re.search(r"-d\s*(\S)", line)
            field = re.search(r"-f\s*(\d+)", line)
            place = re.search(r"-[cb]\s*(\d+)(-?)", line)
            if delimiter and field:
                return text.split(delimiter.group(1))[int(field.group(1)) - 1]
            return text[int(place.group(1)) - 1 :][: None if place.group(2) else 1] if place else None
        if program == "tail" and (match := re.fullmatch(r"-c\s*-?(\d+)", line)):
            return (text + "\n")[-int(match.group(1)) :].rstrip("\n")
        if program == "grep" and rest and re.fullmatch(r"-\w*o\w*", rest[0]):
            return "\n".join(re.findall(_pattern(rest[-1], "E" in rest[0] or "P" in rest[0]), text))
        if program == "sed" and (match := re.fullmatch(r"s(.)(.*)\1(.*)\1(g?)", rest[-1])):
            extended = any(re.fullmatch(r"-\w*[Er]\w*", word) for word in rest[:-1])
            pattern = re.compile(_pattern(match.group(2), extended))
            return pattern.sub(match.group(3), text, count=0 if match.group(4) else 1)
        if program == "tr" and len(rest) == 2 and rest[0].startswith("-"):
            kept = re.compile(f"[{rest[1].replace('[:digit:]', '0-9').replace('[:alpha:]', 'a-zA-Z')}]")
            return "".join(one for one in text if bool(kept.match(one)) is ("c" in rest[0] or "C" in rest[0]))
        if program == "awk" and (match := re.search(r"-F\s*(\S+)\s.*print\s+\$(\d+|NF)", line)):
            parts = re.split(match.group(1).strip("'\""), text)
            return parts[-1] if match.group(2) == "NF" else parts[int(match.group(2)) - 1]
    except (re.error, IndexError, ValueError):
        return None
    return None


def _pattern(basic: str, extended: bool) -> str:
    """A pattern of grep or sed as Python reads it; refused where it could take long."""
    text = basic if extended else re.sub(r"\\([+?(){}|])", r"\1", basic)
    text = text.replace("[[:digit:]]", "[0-9]").replace("[:digit:]", "0-9").replace("[:alpha:]", "a-zA-Z")
    # nothing that takes long on a name: few repetitions, and none of a group
    if len(text) > 60 or len(re.findall(r"[+*{]", text)) > 3 or re.search(r"\)[+*?{]", text):
        raise ValueError(text)
    return text
