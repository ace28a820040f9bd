# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of each node: the one in use, or another one beside it to which the node is switched."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._install import environments
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import python
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.fault import Fault

# Rounded up: torch with what it needs, unpacked.
CPU_BYTES, GPU_BYTES = 2 << 30, 8 << 30
NONE = environments.Target()
_TORCH = re.compile(r"torch==(?P<version>[^+;\s]+)")


def wanted(stack: t.Mapping[str, t.Any]) -> str:
    """The name of the environment that the plan asks for; empty where it has no exact torch."""
    match = next(filter(None, map(_TORCH.match, stack.get("requirements") or [])), None)
    if not match:
        return ""
    return environments.name_of(match["version"], stack["torch_build"], stack["python_env"], stack["python_version"])


def enter(plan: t.Mapping[str, t.Any], presents: t.Mapping[str, t.Any], free: t.Mapping[str, t.Any]) -> list[Fault]:
    """Put the target of each node into the plan; returns a fault for each node with too little room for a second one.

    ``presents`` are the present states of the nodes of this run, ``free`` the bytes that are free below the prefix.
    """
    whose = [plan["user"], plan["prefix"]]
    found = {name: told for name, each in presents.items() if (told := _told(each, whose))}
    targets = environments.targets(found, wanted(plan["stack"]))
    for name, node in plan["nodes"].items():
        node["environment"] = targets.get(name, NONE)._asdict()
    new = [name for name, each in targets.items() if each.name and not each.kept and each.before]
    needed = CPU_BYTES if plan["stack"].get("torch_build") == "cpu" else GPU_BYTES
    rows = {name: {"free_bytes": free.get(name)} for name in new}
    faults = python.room(rows, new, needed, "an environment beside the one in use", plan["prefix"])
    way = f"or do without a way back: empty the one in use first (rm -rf {plan['prefix']}/env/*)"
    return [Fault(f"{one}, {way}", *one.hosts) for one in faults]


def is_new(plan: t.Mapping[str, t.Any]) -> bool:
    """Whether some node gets an environment that is made now."""
    targets = [node["environment"] for node in plan["nodes"].values() if "environment" in node]
    return any(target["name"] and not target["kept"] for target in targets)


def _told(present: t.Any, whose: t.Sequence[str]) -> t.Mapping[str, t.Any]:
    """What a node says of its environments; nothing where it says nothing, or of another user or prefix."""
    if not isinstance(present, dict) or present.get("of") != whose:
        return {}
    stack = present.get("torch_stack")
    told = stack.get("environments") if isinstance(stack, dict) else None
    if not isinstance(told, dict) or not isinstance(told.get("whole"), list):
        return {}
    return told if all(isinstance(told.get(each, ""), str) for each in ("linked", "content")) else {}


def words(target: t.Mapping[str, t.Any]) -> str:
    """From where to where a node is switched."""
    before = f"{target['before']} -> " if target["before"] not in ("", target["switch"]) else ""
    return f"{before}{target['switch']} when it is verified"
