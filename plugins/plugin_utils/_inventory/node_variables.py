# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of a node that would replace variables of the inventory."""

from __future__ import annotations

import re
import typing as t

from ansible import constants as C

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import action
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.variables import PREFIX, VARIABLES

# How names of our variables begin: the inventory's, and those of roles that the controller reads once for all nodes.
OUR_VARIABLES = ("trainmesh_", "torch_stack_", "python_env_", "verify_", "__")
OUR_FACTS = "trainmesh_facts_"
_WORD = re.compile(r"[A-Za-z_]\w*")


def refuse(hostvars: t.Mapping[str, t.Any], names: t.Iterable[str]) -> None:
    """Raise ValueError, with the node and the names, where a node has sent facts that would be variables of ours.

    A stock Ansible makes a variable of each fact, and it wins over the inventory: a node would choose the report's
    directory or the package index of all. So do variables of the user's that ours are made of by a template.
    """
    if not C.INJECT_FACTS_AS_VARS:
        return
    for name in names:
        foreign = {str(fact) for fact in action.facts(hostvars, name) if not str(fact).startswith(OUR_FACTS)}
        ours = sorted({fact for fact in foreign if fact.startswith(OUR_VARIABLES)} | _decide(hostvars, name, foreign))
        if ours:
            more = f" and {len(ours) - 3} more" if len(ours) > 3 else ""
            told = ", ".join(ascii(fact[:60]) for fact in ours[:3])
            raise ValueError(
                f"{name}: it sent facts that would replace variables of the inventory: {told}{more}. Find out which "
                "program on the node makes them; a cache of facts is emptied by --flush-cache"
            )


def _decide(hostvars: t.Mapping[str, t.Any], name: str, facts: t.Collection[str]) -> set[str]:
    """Those of a node's facts that variables of the whole cluster are made of by a template."""
    raw = action.stored(hostvars, name) if facts else {}
    todo, words = [f"{PREFIX}{key}" for key, one in VARIABLES.items() if one.scope == "cluster"], set[str]()
    while todo:
        text = str(raw.get(todo.pop()) or "")
        found = {*_WORD.findall(text)} - words if "{{" in text or "{%" in text else set()
        words |= found
        todo += found
    # Facts of Ansible's own have no variable of this short name: {{ ansible_facts.distribution }} is no offence.
    return {fact for fact in words.intersection(facts) if fact in raw and raw[fact] == raw["ansible_facts"][fact]}
