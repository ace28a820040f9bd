# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action plugins on the controller share."""

from __future__ import annotations

import typing as t

from ansible.utils.display import Display

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import whole
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.redact import harmless

_display = Display()


def show(text: str) -> None:
    """Print lines; whatever a machine has put into them, they do nothing to the terminal."""
    _display.display(harmless(text))


def warn(text: str) -> None:
    """Print a warning, as show() does."""
    _display.warning(harmless(text))


def members(variables: t.Mapping[str, t.Any], group: str) -> list[str]:
    """The hosts of a group in the inventory's order; raises ValueError for one that is not there."""
    groups: t.Mapping[str, list[str]] = variables.get("groups") or {}
    if group not in groups:
        raise ValueError(f"trainmesh_group: the inventory has no group {group!r}; it has {', '.join(sorted(groups))}")
    return list(groups[group])


class _Remembered:
    """What was read of the hosts' variables. An action runs in a process of its own, in which they do not change."""

    def __init__(self, hostvars: t.Mapping[str, t.Any]) -> None:
        self.hostvars = hostvars
        self.values: dict[str, t.Mapping[str, t.Any]] = {}
        self.facts: dict[str, t.Mapping[str, t.Any]] = {}


_remembered: dict[int, _Remembered] = {}


def _memory(hostvars: t.Mapping[str, t.Any]) -> _Remembered:
    """That of Ansible's own variables, which it puts together anew each time; a plain mapping has nothing to gain."""
    if not hasattr(hostvars, "raw_get"):
        return _Remembered(hostvars)
    return _remembered.setdefault(id(hostvars), _Remembered(hostvars))


def stored(hostvars: t.Mapping[str, t.Any], name: str) -> t.Mapping[str, t.Any]:
    """A host's variables as they are kept: to look through all facts of all hosts for templates costs minutes."""
    known = _memory(hostvars).values
    if name not in known:
        known[name] = getattr(hostvars, "raw_get", hostvars.__getitem__)(name)
    return known[name]


def facts(hostvars: t.Mapping[str, t.Any], name: str) -> t.Mapping[str, t.Any]:
    """What a host has said of itself in this run; empty where it said nothing."""
    known = _memory(hostvars).facts
    if name not in known:
        values = stored(hostvars, name)
        known[name] = whole.facts(values.get("ansible_facts") or {}, values.get("trainmesh_inventory"))
    return known[name]


def leaves(values: t.Mapping[str, t.Any]) -> bool:
    """Whether the inventory takes this host out of the cluster (C(trainmesh_state: absent))."""
    return str(values.get("trainmesh_state") or "") == "absent"


def is_leaving(hostvars: t.Mapping[str, t.Any], name: str) -> bool:
    """leaves() of a host by its name; templates are looked through only where somebody says it."""
    return "trainmesh_state" in stored(hostvars, name) and leaves(hostvars[name])


def runs(variables: t.Mapping[str, t.Any], *parts: str) -> bool:
    """Whether ``--tags`` and ``--skip-tags`` leave one of these parts of site.yml in this run."""
    chosen, left = set(variables.get("ansible_run_tags") or ["all"]), set(variables.get("ansible_skip_tags") or [])
    return "tagged" not in left and any({part, "all", "tagged"} & chosen and part not in left for part in parts)


def numbered(head: str, faults: t.Iterable[object]) -> str:
    """A line and the faults under it, each with its number."""
    return "\n".join([head, *(f"  {number}. {fault}" for number, fault in enumerate(faults, 1))])
