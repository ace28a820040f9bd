# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read user files: hostfiles, Accelerate and DeepSpeed files, ssh configurations.

Pure functions from text to data. They never raise: what is wrong with a text comes back as Problems
with line numbers. Nothing is judged here but whether the program that reads the file takes a line.
Formats: DeepSpeed 0.19.6 launcher/runner.py, accelerate 1.15 commands/config, ssh_config(5).
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles import loose_json

Data = dict[str, t.Any]

BOM = "\ufeff"
MOST_TEXT = 64 * 1024 - 4
"""Bytes of a text from which on it may have been cut off (module_utils/_user/files.py)."""
_HOST_LINE = re.compile(r"^(\S+)\s+slots=(\d+)")  # DeepSpeed's own, after strip()
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)$")


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is wrong with a line (the first is 1, 0 is the whole text); ``what`` is a word, ``text`` the line."""

    line: int
    what: str
    text: str


@dataclasses.dataclass(frozen=True)
class Slot:
    """A host of a hostfile."""

    name: str
    slots: int
    line: int


@dataclasses.dataclass(frozen=True)
class Hostfile:
    """The hosts in their order, and the problems: ``bad``, ``bom``, ``range``, ``name``, ``slots``, ``empty``."""

    hosts: tuple[Slot, ...]
    problems: tuple[Problem, ...]

    @property
    def slots(self) -> dict[str, int]:
        """Slots by name; of a name that is there twice, the first counts."""
        return {host.name: host.slots for host in reversed(self.hosts)}


@functools.lru_cache(maxsize=256)
def hostfile(text: str) -> Hostfile:
    """A hostfile as DeepSpeed reads it."""
    hosts, problems = [], []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if number == 1 and line.startswith(BOM):
            problems.append(Problem(1, "bom", line.lstrip(BOM)))
            line = line.lstrip(BOM)
        if not line or line.startswith("#"):
            continue
        match = _HOST_LINE.match(line)
        if not match:
            problems.append(Problem(number, "bad", line))
            continue
        if re.search(r"[\[\]]", match.group(1)) and not re.fullmatch(r"\[[0-9a-fA-F:.]+\]", match.group(1)):
            problems.append(Problem(number, "range", line))
        if match.group(1).endswith((":", ",", ";")):
            problems.append(Problem(number, "name", line))
        if re.match(r"[.,x*]\d*[1-9]", line[match.end() :]):
            problems.append(Problem(number, "slots", line))
        hosts.append(Slot(match.group(1), int(match.group(2)), number))
    if not hosts and not problems:
        problems.append(Problem(0, "empty", ""))
    return Hostfile(tuple(hosts), tuple(problems))


@functools.lru_cache(maxsize=256)
def mapping(text: str, strict_json: bool = False) -> tuple[Data, tuple[Problem, ...]]:
    """(the mapping in a YAML or JSON text, problems); of one that can't be parsed, what can be read of it.

    ``strict_json``: its readers take JSON alone. Nothing is said of a text that was cut off.
    """
    is_json = strict_json or text.lstrip("\ufeff \t\r\n").startswith("{")
    value, faults = loose_json.read_json(text) if is_json else loose_json.read_yaml(text)
    if not isinstance(value, dict):
        faults, value = faults or [(0, "it is not a mapping")], {}
    whole = len(text.encode("utf-8", "replace")) < MOST_TEXT
    problems = tuple(Problem(line, "syntax", what) for line, what in faults if whole)
    return {str(key): item for key, item in value.items()}, problems


def integer(value: t.Any) -> int | None:
    """A number of a configuration, or None: truth values are none, numbers in quotes are."""
    if isinstance(value, bool):
        return None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def word(value: t.Any) -> str:
    """A scalar as Accelerate compares it: lower case; YAML's bare ``no`` is false and means ``no``."""
    if value is None or value is False:
        return "no"
    return str(value).strip().lower()


@functools.lru_cache(maxsize=256)
def environment_file(text: str) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """(variables, problems) of a .deepspeed_env: ``blank`` and ``no_value`` raise, ``comment`` cuts the command off.

    DeepSpeed puts double quotes around a value with other signs: ``quoted`` (single quotes) and ``remark`` (a comment
    behind it) become a part of the value, and double quotes around ``blanks`` end there.
    """
    values: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        name, equals, value = line.partition("=")
        if not line.strip():
            problems.append(Problem(number, "blank", ""))
        elif line.lstrip().startswith("#"):
            problems.append(Problem(number, "comment", line))
        elif not equals:
            problems.append(Problem(number, "no_value", line))
        else:
            values[name.strip()] = value.strip()
            problems += [Problem(number, what, line) for what in _kept(value.strip())]
    return values, tuple(problems)


def _kept(value: str) -> list[str]:
    """What of a value reaches the nodes otherwise than it was meant."""
    if re.match(r"'.*'\Z", value):
        return ["quoted"]
    if re.search(r"\s#", value):
        return ["remark"]
    return ["blanks"] if re.match(r"\"[^\"]*\s[^\"]*\"\Z", value) else []


@dataclasses.dataclass(frozen=True)
class SshHost:
    """A Host block: its patterns, and (keyword, value, line) of each setting, the keyword in lower case."""

    patterns: tuple[str, ...]
    line: int
    settings: tuple[tuple[str, str, int], ...]

    def get(self, keyword: str) -> str | None:
        """The first value of a keyword, which is the one that counts."""
        return next((value for name, value, _line in self.settings if name == keyword), None)


@functools.lru_cache(maxsize=256)
def ssh_config(text: str) -> tuple[tuple[SshHost, ...], tuple[Problem, ...]]:
    """(Host blocks, problems) of an ssh configuration: ``comment`` is a # behind a value, ``garbage`` one word more."""
    blocks: list[tuple[tuple[str, ...], int, list[tuple[str, str, int]]]] = [(("*",), 0, [])]
    problems = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = re.match(r"([A-Za-z]+)(?:\s*=\s*|\s+)(.*)", line)
        if not match:
            problems.append(Problem(number, "garbage", line))
            continue
        keyword, value = match.group(1).lower(), match.group(2).strip()
        bare, comment, _rest = re.sub(r'"[^"]*"', lambda quoted: "_" * len(quoted.group(0)), value).partition(" #")
        if comment:
            problems.append(Problem(number, "comment", line))
            value = value[: len(bare)].rstrip()
        if keyword in ("host", "match"):
            blocks.append((tuple(value.split()) if keyword == "host" else (), number, []))
        else:
            blocks[-1][2].append((keyword, value.strip('"'), number))
        if keyword in ("port", "hostname", "user") and len(value.split()) > 1:
            problems.append(Problem(number, "garbage", line))
    found = tuple(SshHost(patterns, line, tuple(rows)) for patterns, line, rows in blocks if line or rows)
    return found, tuple(problems)


def inclusion(value: str) -> dict[str, list[int] | None]:
    """``h1:0,1@h2`` as {h1: [0, 1], h2: None}; slots that are no numbers are left out."""
    found: dict[str, list[int] | None] = {}
    for part in value.split("@"):
        name, colon, slots = part.strip().partition(":")
        numbers = [int(slot) for slot in slots.split(",") if slot.strip().isdigit()]
        if name:
            found[name] = numbers if colon else None
    return found
