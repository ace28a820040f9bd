# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on values of DeepSpeed's JSON files that are of another type than DeepSpeed wants.

Source: DeepSpeed 0.19.6 runtime/config.py and the models that it reads with pydantic.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import at_least, key, table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import loose_json, value_kinds
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

_PYDANTIC_2 = "0.15"  # DeepSpeed#5167
_MODELS_SINCE = "0.9.0"
_PLACEHOLDER = re.compile(
    r"(?!(?:CPU|NVME|NONE|BF16|FP16|FP32)\Z)[A-Z][A-Z0-9_]{2,}\Z|\$\{?\w+\}?\Z|\{\{.*\}\}\Z|<[^>]+>\Z|__\w+__\Z"
)
_GO_ON = {
    True: "DeepSpeed takes true for 1 and false for 0 here, without a word.",
    False: "DeepSpeed takes any text for true here, also the word false: the setting is the opposite of what it says.",
}


@rule(
    About(
        "ds-wrong-type",
        layer="launcher",
        severity=FAIL,
        also=(WARN, INFO),
        title="A value of another type than DeepSpeed wants",
        symptom="`Input should be a valid integer`, `not supported between instances of 'str'`",
        source="DeepSpeed runtime/config.py, runtime/zero/config.py",
    ),
    needs=("user",),
    applies=common.given("deepspeed_json"),
)
def deepspeed_values(case: Case) -> t.Iterator[Answer]:
    """Values at which DeepSpeed stops, and those that it or Accelerate read as something else."""
    types = table("deepspeed_types")
    for copy, data in common.mappings(case, "deepspeed_json"):
        have = common.version(case, copy.host, "deepspeed")
        blanks = []
        for section, kinds in types["models"].items():
            for place, kind, value in _values(data, section, kinds):
                if _placeholder(kind, value):
                    blanks.append((place, value))
                else:
                    yield from _of_model(copy, (have, section), place, kind, value)
        for section, kinds in types["plain"].items():
            for place, kind, value in _values(data, section, kinds):
                if _placeholder(kind, value):
                    blanks.append((place, value))
                else:
                    yield from _plain(copy, place, kind, value)
        yield from _for_others(copy, data)
        yield from _template(copy, blanks)


Place = tuple[str, ...]


def _values(data: Data, section: str, kinds: t.Mapping[str, list[str]]) -> t.Iterator[tuple[Place, str, t.Any]]:
    """(place, kind, value) of the known keys of a section that are there."""
    found = dig(data, section) if section else data
    searched = value_kinds.truth(dig(data, "autotuning.enabled")) is True  # its lists are values to be tried
    for kind, names in kinds.items() if isinstance(found, dict) else ():
        for name in names:
            if name in found and not (searched and isinstance(found[name], list)):
                yield (*(section.split(".") if section else ()), name), kind, found[name]


def _of_model(
    copy: common.Copy, reader: tuple[str | None, str], place: Place, kind: str, value: t.Any
) -> t.Iterator[Answer]:
    """A value of a section that pydantic reads, since a version of DeepSpeed."""
    have, section = reader
    if key(have) and not at_least(have, table("deepspeed_keys")["refused_since"].get(section, _MODELS_SINCE)):
        if kind == "truth":
            yield from _plain(copy, place, "switch", value)
        return
    fate = value_kinds.judged(kind, value)
    if fate == value_kinds.REFUSED_NOW and key(have) and not at_least(have, _PYDANTIC_2):
        return
    if fate == value_kinds.MISREAD:
        yield _answer(copy, WARN, place, kind, value, _GO_ON[True])
    elif fate:
        cause = "DeepSpeed stops when it reads this key: `validation error`."
        yield _answer(copy, FAIL, place, kind, value, cause)
    elif place[-1] == "enabled" and section in ("fp16", "bf16") and isinstance(value, str) and value != "auto":
        meant = value_kinds.truth(value)
        cause = (
            "DeepSpeed takes it for true, while Transformers compares it with its own true and stops: `config values "
            "that mismatch`."
            if meant
            else "DeepSpeed takes it for false, while DeepSpeed before 0.17.1, Accelerate and Transformers take any "
            "text for true."
        )
        yield _answer(copy, INFO if meant else WARN, place, kind, value, cause)
    elif kind == "stage" and isinstance(value, str) and value != "auto" and value_kinds.number_in(value) == 3:
        cause = (
            "DeepSpeed takes it for 3, while Accelerate and Transformers compare it with the number: they load the "
            "whole model on every rank, and save weights that were not gathered."
        )
        yield _answer(copy, WARN, place, kind, value, cause)


def _plain(copy: common.Copy, place: Place, kind: str, value: t.Any) -> t.Iterator[Answer]:
    """A value that DeepSpeed takes as it is, and then counts or compares with."""
    fate = value_kinds.judged(kind, value)
    if fate == value_kinds.MISREAD:
        yield _answer(copy, WARN, place, kind, value, _GO_ON[isinstance(value, bool)])
    elif fate:
        cause = "DeepSpeed takes the value as it is, and stops when it counts or compares with it: `TypeError`."
        yield _answer(copy, FAIL, place, kind, value, cause)


def _placeholder(kind: str, value: t.Any) -> bool:
    """Whether a value is a name that a script replaces in a template."""
    wants = value_kinds.KINDS[kind.partition("_or_null")[0]].wants
    known = not isinstance(value, str) or value_kinds.truth(value) is not None
    return not known and wants not in ("text", "a path") and bool(_PLACEHOLDER.match(value))


def _template(copy: common.Copy, blanks: list[tuple[Place, str]]) -> t.Iterator[Answer]:
    """The places of a template that are still to be filled in: one hint for all of them."""
    if blanks:
        names = ", ".join(f"{'.'.join(place)}: {value_kinds.shown(value)}" for place, value in blanks[:4])
        yield finding(
            "ds-wrong-type",
            INFO,
            copy.host,
            f"{_at(copy, blanks[0][0]).rpartition(': ')[0]}: {names}",
            "The file is a template, as far as its names tell: DeepSpeed stops at what was not filled in.",
            "sed -i 's/NAME/VALUE/' of each name in a copy, and that copy for DeepSpeed.",
        )


def _for_others(copy: common.Copy, data: Data) -> t.Iterator[Answer]:
    """The form of the first versions of ZeRO, which DeepSpeed still takes."""
    value = data.get("zero_optimization")
    if isinstance(value, bool):
        stage = 1 if value else 0
        yield finding(
            "ds-wrong-type",
            INFO,
            copy.host,
            f"{_at(copy, ('zero_optimization',))}: {value_kinds.shown(value)}",
            f"DeepSpeed still takes it for stage {stage}; Accelerate and Transformers stop at it: `'bool' object has "
            "no attribute 'get'`.",
            f'"zero_optimization": {{"stage": {stage}}} in its place, with the stage that is meant.',
        )


def _at(copy: common.Copy, place: Place) -> str:
    return f"{copy.at(loose_json.line_of(copy.text, place))}: {'.'.join(place)}"


def _answer(copy: common.Copy, severity: str, place: Place, kind: str, value: t.Any, cause: str) -> Answer:
    wanted = value_kinds.KINDS[kind.partition("_or_null")[0]].wants
    evidence = f"{_at(copy, place)}: {value_kinds.shown(value)}, {value_kinds.named(value)} in the place of {wanted}"
    fix = f'"{place[-1]}": {value_kinds.proposed(kind, value)} in its place.'
    return finding("ds-wrong-type", severity, copy.host, evidence, cause, fix)
