# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probes and jobs have to know of the nodes, from the plan, for one node.

Computed here and not by templates, which would walk all nodes on every host for every task.
"""

from __future__ import annotations

import typing as t

Plan = t.Mapping[str, t.Any]
Arguments = dict[str, t.Any]
FEW_NODES = 16


def port_listener(plan: Plan, name: str, live: t.Container[str]) -> Arguments:
    """Listen until each node of this run has called."""
    nodes = _live(plan, live)
    return {
        "address": plan["nodes"][name]["address"],
        "ports": plan["probe_ports"],
        "name": name,
        "token": plan["probe_token"],
        "callers": len(nodes),
        # as one text: Ansible would look through each element, several times, for each node
        "peers": ",".join(address for node in nodes for address in node["addresses"]),
        # on a busy node, starting the next module and the second attempts before the link tests take minutes
        "seconds": 300 + 5 * len(nodes),
    }


def mesh_probe(plan: Plan, name: str, live: t.Container[str]) -> Arguments:
    """Try every node of this run by every name; among many nodes by one name, as all stand in one block."""
    node = plan["nodes"][name]
    every = len(plan["nodes"]) <= FEW_NODES
    return {
        "targets": [
            {
                "name": peer["name"],
                "address": peer["address"],
                "addresses": [other for other in peer["addresses"] if other != peer["address"]],
                "hostname": peer["hostname"],
                "ssh_names": [*peer["names"], peer["address"]] if every else [peer["hostname"]],
            }
            for peer in _live(plan, live)
        ],
        "ports": plan["probe_ports"],
        "log_in": node["logs_in"],
        "unreached": plan["unreached"],
        "address": node["address"],
        "token": plan["probe_token"],
        "workers": plan["logins_at_once"],
        "fold": True,
    }


def link_probe(plan: Plan, name: str, live: t.Container[str]) -> Arguments:
    """Measure towards every node of this run, on the second port."""
    return {
        "name": name,
        "targets": [{"name": node["name"], "address": node["address"]} for node in _live(plan, live)],
        "port": plan["probe_ports"][1],
        "token": plan["probe_token"],
        "fold": True,
    }


def collective_probe(plan: Plan, _name: str, live: t.Container[str]) -> Arguments:
    """Sum over all ranks of the nodes of this run."""
    return {
        "nodes": [
            {
                "name": node["name"],
                "ssh_name": node["hostname"],
                "address": node["address"],
                "slots": node["slots"],
                "interface": node["interface"],
            }
            for node in _live(plan, live)
        ],
        "port": plan["master"]["port"],
    }


def speed_probe(plan: Plan, _name: str, _live_nodes: t.Container[str]) -> Arguments:
    """Measure the GPUs at the precision of the jobs, or the processors of a cluster without GPUs."""
    precision = plan["precision"]
    known = precision if precision in ("bf16", "fp16") else "fp32"
    return {"device": "gpu" if plan["gpus"] else "cpu", "precision": known}


def _live(plan: Plan, live: t.Container[str]) -> list[t.Mapping[str, t.Any]]:
    return [node for node in plan["nodes"].values() if node["name"] in live]
