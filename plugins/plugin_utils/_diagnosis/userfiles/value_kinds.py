# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program makes of a value of another type than it wants: takes it, stops at it, or reads something else.

Pure functions of values as JSON and YAML give them. Source: pydantic 2.13 (lax mode), as DeepSpeed uses it, and what
DeepSpeed 0.19.6 does with the values that it takes unread.
"""

from __future__ import annotations

import json
import math
import re
import typing as t

REFUSED, REFUSED_NOW, MISREAD = "refused", "refused_now", "misread"
"""The program stops; it stops since pydantic 2 (DeepSpeed 0.15); it goes on with another value than the file shows."""

_TRUE = ("true", "t", "yes", "y", "on", "1")
_FALSE = ("false", "f", "no", "n", "off", "0")
_INTEGER = re.compile(r"\s*[+-]?[0-9]+(_[0-9]+)*(\.0+)?\s*\Z")
_DATA_TYPES = ("fp16", "bf16", "fp32")
_DEVICES = ("none", "cpu", "nvme")


def truth(value: t.Any) -> bool | None:
    """A truth value as pydantic reads it, in words or as 0 and 1; None for anything else."""
    if isinstance(value, (bool, int, float)):
        return bool(value) if value in (0, 1) else None
    word = value.lower() if isinstance(value, str) else None
    return True if word in _TRUE else False if word in _FALSE else None


def named(value: t.Any) -> str:
    """The type of a value in the words of the files' users."""
    names = ((bool, "a truth value"), (int, "a number"), (float, "a number"), (str, "text"), (list, "a list"))
    if value is None:
        return "null"
    return next((name for kind, name in names if isinstance(value, kind)), "an object")


def shown(value: t.Any) -> str:
    """A value as it stands in JSON, at most 60 characters of it."""
    found = json.dumps(value, default=str, ensure_ascii=False)
    return found if len(found) <= 60 else f"{found[:57]}..."


def number_in(text: t.Any) -> int | float | None:
    """The number that a text shows, as 5e8 or 500,000; None for anything else."""
    try:
        found = float(text.replace(",", "")) if isinstance(text, str) else None
    except ValueError:
        return None
    if found is None or not math.isfinite(found):
        return None
    return int(found) if found.is_integer() else found


def _integer(value: t.Any) -> str:
    if isinstance(value, bool):
        return MISREAD
    if isinstance(value, float):
        return "" if value.is_integer() else REFUSED_NOW
    if isinstance(value, str):
        return "" if _INTEGER.match(value) else REFUSED
    return "" if isinstance(value, int) else REFUSED


def _natural(value: t.Any) -> str:
    return _integer(value) or ("" if _size(value) >= 0 else REFUSED)


def _size(value: t.Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _number(value: t.Any) -> str:
    if isinstance(value, bool):
        return MISREAD
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return REFUSED
    return "" if isinstance(value, (int, float, str)) else REFUSED


def _share(value: t.Any) -> str:
    return _number(value) or ("" if 0 <= _size(value) <= 1 else REFUSED)


def _truth(value: t.Any) -> str:
    return REFUSED if truth(value) is None else ""


def _stage(value: t.Any) -> str:
    return _integer(value) or ("" if _size(value) in (0, 1, 2, 3) else REFUSED)


def _text(value: t.Any) -> str:
    if isinstance(value, str):
        return ""
    return REFUSED_NOW if isinstance(value, (int, float)) and not isinstance(value, bool) else REFUSED


def _count(value: t.Any) -> str:
    if isinstance(value, bool):
        return MISREAD if value else REFUSED
    if isinstance(value, (int, float)):
        return "" if value > 0 and value == value // 1 else REFUSED
    return REFUSED


def _plain_number(value: t.Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return MISREAD
    return "" if isinstance(value, (int, float)) else REFUSED


def _numbers(value: t.Any) -> str:
    return "" if isinstance(value, list) and not any(_plain_number(one) for one in value if one != "auto") else REFUSED


def _number_or_numbers(value: t.Any) -> str:
    return _numbers(value) if isinstance(value, list) else _plain_number(value)


def _switch(value: t.Any) -> str:
    """A value that is only asked whether it is empty: any text is not."""
    return MISREAD if isinstance(value, str) and value and truth(value) is not True else ""


def _operand(value: t.Any) -> str:
    """A value that is put together with another truth value."""
    return "" if isinstance(value, (bool, int)) else REFUSED


def _data_type(value: t.Any) -> str:
    return "" if value is None or (isinstance(value, str) and value.lower() in _DATA_TYPES) else REFUSED


class Kind(t.NamedTuple):
    """A type that a program wants: in words, what becomes of a value, and what may stand there."""

    wants: str
    judge: t.Callable[[t.Any], str]
    example: str


KINDS: t.Mapping[str, Kind] = {
    "stage": Kind("a stage (0, 1, 2 or 3)", _stage, "2"),
    "natural": Kind("a whole number of 0 or more", _natural, "500000000"),
    "integer": Kind("a whole number", _integer, "16"),
    "number": Kind("a number", _number, "0"),
    "share": Kind("a number from 0 to 1", _share, "1.0"),
    "truth": Kind("true or false", _truth, "true"),
    "device": Kind("none, cpu or nvme", lambda value: "" if value in _DEVICES else REFUSED, '"cpu"'),
    "path": Kind("a path", lambda value: "" if isinstance(value, str) else REFUSED, '"/local_nvme"'),
    "text": Kind("text", _text, '"NAME"'),
    "list": Kind("a list", lambda value: "" if isinstance(value, list) else REFUSED, "[]"),
    "count": Kind("a whole number above 0", _count, "4"),
    "plain_number": Kind("a number", _plain_number, "1.0"),
    "numbers": Kind("a list of numbers", _numbers, "[0.9, 0.999]"),
    "number_or_numbers": Kind("a number", _number_or_numbers, "0.00001"),
    "switch": Kind("true or false", _switch, "false"),
    "operand": Kind("true or false", _operand, "false"),
    "data_type": Kind("fp16, bf16 or fp32", _data_type, '"bf16"'),
}


def judged(kind: str, value: t.Any) -> str:
    """What becomes of a value: empty where it is taken. ``auto`` is for others to judge."""
    wanted, may_be_null, _rest = kind.partition("_or_null")
    if value == "auto" or (may_be_null and value is None):
        return ""
    return KINDS[wanted].judge(value)


def proposed(kind: str, value: t.Any) -> str:
    """What may stand in the place of a value: what it seems to mean, else an example."""
    wanted = KINDS[kind.partition("_or_null")[0]]
    number = number_in(value)
    if number is not None and wanted.judge(number) == "":
        return json.dumps(number)
    if wanted.wants == "true or false" and truth(value) is not None:
        return json.dumps(truth(value))
    if kind == "device" and isinstance(value, str) and value.lower() in _DEVICES:
        return json.dumps(value.lower())
    return wanted.example
