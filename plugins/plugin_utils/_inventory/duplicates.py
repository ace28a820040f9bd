# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that an inventory file names twice.

Ansible merges a host that stands twice in silence, so that a line copied for a new node and not
renamed swallows the old one. Only the text of the file can tell.
"""

from __future__ import annotations

import os
import re
import typing as t

import yaml

_SECTION = re.compile(r"\[([^\]:]+)(?::(\w+))?\]")


class Repeat(t.NamedTuple):
    """A host name that stands in a file again with other variables."""

    name: str
    path: str
    line: int
    first_line: int


def repeats_in_file(path: str) -> list[Repeat]:
    """Repeated hosts of one inventory file; an unreadable or executable one gives none."""
    if not os.path.isfile(path) or os.access(path, os.X_OK):
        return []
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError):
        return []
    if path.endswith(".json"):
        return []
    extension = os.path.splitext(path)[1]
    root = _yaml(text) if extension in ("", ".yml", ".yaml") else None
    if extension in (".yml", ".yaml") or isinstance(root, yaml.MappingNode):
        repeats: list[Repeat] = []
        _walk(root, path, repeats, False)
        return repeats
    return _in_ini(text, path)


def _in_ini(text: str, path: str) -> list[Repeat]:
    """A host line with variables counts each time; a bare name, or the same variables, merely put it into a group."""
    first: dict[str, tuple[int, list[str]]] = {}
    repeats = []
    hosts_section = True
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        section = _SECTION.match(line)
        if section:
            hosts_section = section.group(2) is None
        elif hosts_section and re.match(r"[^\s;]+\s+\w+=", line):
            name, *variables = line.split()
            at, known = first.setdefault(name, (number, sorted(variables)))
            if sorted(variables) != known:
                repeats.append(Repeat(name, path, number, at))
    return repeats


def _yaml(text: str) -> t.Any:
    """The nodes of a YAML text, None for another text: Ansible itself says what is wrong with it."""
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None


def _walk(node: t.Any, path: str, repeats: list[Repeat], is_hosts: bool) -> None:
    """Keys that stand twice in one mapping below C(hosts), where Ansible takes the second value alone."""
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, tuple[int, str]] = {}
    for key, value in node.value:
        line, text = key.start_mark.line + 1, yaml.serialize(value)
        at, known = first.setdefault(key.value, (line, text))
        if is_hosts and text != known:
            repeats.append(Repeat(key.value, path, line, at))
        if not is_hosts:
            _walk(value, path, repeats, key.value == "hosts")
