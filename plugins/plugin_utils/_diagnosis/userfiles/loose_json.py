# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read YAML and JSON that is not quite right: what is wrong, with its line, and whatever else can be read of it."""

from __future__ import annotations

import json
import re
import typing as t

import yaml

Fault = tuple[int, str]
"""A line (the first is 1, 0 is the whole text), and what is wrong there."""

_WORDS = {"True": "true", "False": "false", "None": "null", "NaN": "null", "undefined": "null"}
_WORD = re.compile(r"\$\{\w+\}|[A-Za-z_$][\w$.-]*")
_MOST_REPAIRS = 8
_MOST_VALUES = 50_000  # more than 64 KiB of text hold, unless aliases repeat them
_DEEPEST = 60  # brackets in one another: the time of a YAML parser grows with their square


def read_json(text: str) -> tuple[t.Any, list[Fault]]:
    """(value, faults) of a text that is meant as JSON; None where nothing can be read."""
    twice: list[str] = []

    def pairs(found: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
        names = [name for name, _value in found]
        twice.extend(name for name in dict.fromkeys(names) if names.count(name) > 1)
        return dict(found)

    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        first = (getattr(error, "lineno", 0), str(getattr(error, "msg", error)).partition(" (")[0])
        clean, habits = tidied(text)
        value, more = _lenient(clean)
        faults = habits or [first]
        if more and habits:
            faults = [*habits, *more[:1]]
        return value, sorted(dict.fromkeys(faults), key=lambda fault: fault[0])
    return value, [(_line_of(text, name, last=True), f"the key {name!r} is there twice") for name in twice]


def _line_of(text: str, name: str, last: bool = False) -> int:
    """The line in which a quoted name stands."""
    at = (text.rfind if last else text.find)(f'"{name}"')
    return text.count("\n", 0, at) + 1 if at >= 0 else 0


def tidied(text: str) -> tuple[str, list[Fault]]:
    """(the text as strict JSON as far as that goes, what was not): comments, Python's words, quotes, last commas."""
    out: list[str] = []
    faults: list[Fault] = []
    at = 0
    comma = -1  # where the last comma stands in ``out``, if nothing but blanks is behind it
    comma_line = 0
    if text.startswith("\ufeff"):
        faults.append((1, "a byte-order mark"))
        at = 1
    line, counted = 1, 0
    while at < len(text):
        char = text[at]
        line, counted = line + text.count("\n", counted, at), at
        if char == "#" or text.startswith(("//", "/*"), at):
            block = text.startswith("/*", at)
            end = text.find("*/" if block else "\n", at)
            end = len(text) if end < 0 else end + (2 if block else 0)
            faults.append((line, "a comment, which JSON does not have"))
            out.append("\n" * text.count("\n", at, end))
            at = end
            continue
        if char in "\"'":
            end = _string_end(text, at)
            piece = text[at:end]
            if len(piece) < 2 or piece[-1] != char:
                faults.append((line, "a quote that is not closed"))
                piece += char
            if char == "'":
                faults.append((line, "single quotes, where JSON wants double ones"))
                piece = json.dumps(piece[1:-1])
            out.append(piece)
            at, comma = end, -1
            continue
        if char in "}]" and comma >= 0:
            faults.append((comma_line, f"a comma before {char}"))
            out[comma] = ""
        word = _WORD.match(text, at)
        if word and word.group(0) in _WORDS:
            faults.append((line, f"{word.group(0)}, which is {_WORDS[word.group(0)]} in JSON"))
            out.append(_WORDS[word.group(0)])
            at, comma = word.end(), -1
            continue
        if char == ",":
            comma, comma_line = len(out), line
        elif not char.isspace():
            comma = -1
        out.append(word.group(0) if word else char)
        at = word.end() if word else at + 1
    return "".join(out), faults


def _string_end(text: str, at: int) -> int:
    """Behind the quote that closes the one at a place; the end of the line where none does."""
    quote = text[at]
    place = at + 1
    while place < len(text) and text[place] != "\n":
        if text[place] == quote:
            return place + 1
        place += 2 if text[place] == "\\" else 1
    return min(place, len(text))


def _lenient(text: str) -> tuple[t.Any, list[Fault]]:
    first: Fault | None = None
    for _repair in range(_MOST_REPAIRS):
        try:
            return json.loads(text), [first] if first else []
        except json.JSONDecodeError as error:
            first = first or (error.lineno, error.msg)
            if error.msg != "Expecting ',' delimiter" or error.pos >= len(text.rstrip()):
                break
            text = f"{text[: error.pos]},{text[error.pos :]}"
        except (ValueError, RecursionError) as error:
            first = first or (0, str(error))
            break
    first = first or (0, "not JSON")
    for closing in ("", "}", "}}", "]}", "}}}"):
        value, faults = read_yaml(text.replace("\t", " ").rstrip().rstrip(",") + closing)
        if isinstance(value, dict):
            return value, [first, *faults]
    return None, [first]


def read_yaml(text: str) -> tuple[t.Any, list[Fault]]:
    """(value, faults) of a text that is meant as YAML; lines that stand in the way are left out."""
    if _nesting(text) > _DEEPEST:
        return None, [(0, f"more than {_DEEPEST} brackets in one another")]
    faults: list[Fault] = []
    if re.search(r"^ *\t", text, re.MULTILINE):
        value, found = _loaded(text)
        if not found:
            return value, []
        faults = [found[0]]
        for indent in ("", "  "):
            value, found = _loaded(re.sub(r"^[ \t]*\t[ \t]*", indent, text, flags=re.MULTILINE))
            if not found:
                return value, faults
        text = re.sub(r"^[ \t]*\t[ \t]*", "", text, flags=re.MULTILINE)
    lines = text.split("\n")
    for _repair in range(_MOST_REPAIRS):
        value, found = _loaded("\n".join(lines))
        if not found:
            return value, faults
        faults = faults or found
        at = found[0][0] - 1
        if not 0 <= at < len(lines) or not lines[at].strip():
            at = max((place for place, line in enumerate(lines[: max(at, 0)]) if line.strip()), default=-1)
        if at < 0:
            break
        lines[at] = ""
    return None, faults


def _nesting(text: str) -> int:
    """How many brackets are open at once at most; those in quotes are counted, too."""
    level = deepest = 0
    for match in re.finditer(r"[][{}]", text):
        level += 1 if match.group(0) in "[{" else -1
        deepest = max(deepest, level)
    return deepest


def line_of(text: str, names: t.Sequence[str]) -> int:
    """The line of a key of a YAML or JSON text, given with all keys above it; 0 where it is not found."""
    try:
        node = yaml.compose(text.replace("\t", " "), yaml.SafeLoader) if _nesting(text) <= _DEEPEST else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return 0
    line = 0
    for name in names:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        found = [(key, value) for key, value in pairs if getattr(key, "value", None) == name]
        if not found:
            return 0
        line, node = found[-1][0].start_mark.line + 1, found[-1][1]
    return line


def _unfolded(value: t.Any) -> bool:
    """Whether a value holds itself, or aliases make more of it than anybody would read."""
    todo, count = [value], 0
    while todo and count <= _MOST_VALUES:
        one = todo.pop()
        inner = list(one.values()) if isinstance(one, dict) else one if isinstance(one, (list, tuple, set)) else ()
        count += 1 + len(inner)
        todo += inner
    return count > _MOST_VALUES


def _loaded(text: str) -> tuple[t.Any, list[Fault]]:
    try:
        value = yaml.safe_load(text)
        return (None, [(0, "aliases (*) that repeat themselves")]) if "*" in text and _unfolded(value) else (value, [])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or str(error)
        if "stream" in str(said):  # where it begins that nobody closes
            mark = getattr(error, "context_mark", None) or mark
        return None, [(mark.line + 1 if mark else 0, " ".join(str(said).split())[:160])]
