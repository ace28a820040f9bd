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
    """Put the target of each node into the plan; returns a fault for each node with too little room for what is made.

    ``presents`` are the present states of the nodes of this run, ``free`` the bytes that are free below the prefix.
    """
    whose = [plan["user"], plan["prefix"]]
    found = {name: told for name, each in presents.items() if (told := _told(each, whose))}
    targets = environments.targets(found, wanted(plan["stack"]))
    for name, node in plan["nodes"].items():
        node["environment"] = targets.get(name, NONE)._asdict()
    size = CPU_BYTES if plan["stack"].get("torch_build") == "cpu" else GPU_BYTES
    faults: list[Fault] = []
    for name, target in targets.items():
        beside = [target.name] if target.name and not target.kept and target.before else []
        made = beside + [each for each in own_names(plan) if each not in _own(presents[name])]
        what = f"what is made in environments ({', '.join(made)})"
        lack = python.room({name: {"free_bytes": free.get(name)}}, [name], size * len(made), what, plan["prefix"])
        way = f", or do without a way back: empty the one in use first (rm -rf {plan['prefix']}/env/*)"
        faults += [Fault(f"{one}{way if beside else ''}", name) for one in lack]
    return faults


def own_names(plan: t.Mapping[str, t.Any]) -> list[str]:
    """The names in trainmesh_environments."""
    return [each["name"] for each in plan["stack"].get("environments") or []]


def _own(present: t.Any) -> list[str]:
    """The environments with names of the users' that a node has."""
    own = present["torch_stack"].get("own")
    return sorted(name for name in own if environments.OWN.match(str(name))) if isinstance(own, dict) else []


def left(plan: t.Mapping[str, t.Any], presents: t.Mapping[str, t.Any]) -> list[str]:
    """Environments that trainmesh_environments names no more: they stay, as jobs may use them."""
    whose, nodes = [plan["user"], plan["prefix"]], dict[str, list[str]]()
    for node, each in presents.items():
        for name in _own(each) if _told(each, whose) else []:
            if name not in own_names(plan):
                nodes.setdefault(name, []).append(node)
    return [
        f"trainmesh_environments names {name} no more, and it stays on {', '.join(where)}: "
        f"rm -rf {plan['prefix']}/{environments.DIRECTORY}/{name} as root when nobody needs it"
        for name, where in nodes.items()
    ]


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
    names = [told.get(each, "") for each in ("linked", "content")]
    return told if all(isinstance(name, str) and (not name or environments.is_name(name)) for name in names) else {}


def words(target: t.Mapping[str, t.Any]) -> str:
    """From where to where a node is switched."""
    before = f"{target['before']} -> " if target["before"] not in ("", target["switch"]) else ""
    return f"{before}{target['switch']} when it is verified"
