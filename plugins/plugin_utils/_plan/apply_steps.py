# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What M(trainmesh.cluster.node_apply) does on a node, from the plan.

The same modules with the same options as the tasks of the roles have them. A variable of a role that the inventory
sets goes before the plan, as a role's own variables do.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import firewall
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import cloud_init
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import role_inputs

Arguments = dict[str, t.Any]


class Node(t.NamedTuple):
    """A node: its name, the plan, the variables of the host, and the firewalls in force there."""

    name: str
    plan: t.Mapping[str, t.Any]
    variables: t.Mapping[str, t.Any]
    active: t.Sequence[str]

    def own(self, variable: str, planned: t.Any) -> t.Any:
        """The value of a role's variable."""
        return self.variables.get(variable, planned)

    def backup(self, role: str) -> t.Any:
        """Whether a file is copied before it is changed, as the module reads it."""
        return self.own(f"{role}_backup", self.variables.get("trainmesh_backup", True))


def arguments(node: Node, roles: t.Container[str]) -> Arguments:
    """The options of the module for these roles."""
    steps: list[tuple[str, Arguments]] = []
    more: Arguments = {}
    if "hosts" in roles:
        steps += _hosts(node)
    if "ssh_mesh" in roles:
        steps += _ssh_mesh(node)
    if "firewall" in roles:
        steps += _firewall(node)
    if "launch_config" in roles:
        steps += _launch_config(node)
        env = node.own("launch_config_env", node.variables.get("trainmesh_env") or {})
        more = {"job_env": role_inputs.job_env(env)[0]["content"], **_place(node)}
    return {"steps": [{"name": name, "options": options} for name, options in steps], **more}


def _hosts(node: Node) -> list[tuple[str, Arguments]]:
    keeps = node.own("hosts_cloud_init", node.plan["cloud_init"]) == cloud_init.KEEP_OURS
    return [
        ("node_name", {"name": node.own("hosts_hostname", node.plan["nodes"][node.name]["hostname"])}),
        (
            "hosts_entries",
            {
                "entries": node.own("hosts_entries", node.plan["hosts_entries"]),
                "cluster": node.own("hosts_cluster", node.plan["identity"]),
                "head": node.own("hosts_head", node.plan["head"]),
                "backup": node.backup("hosts"),
            },
        ),
        ("cloud_init", {"state": "present" if keeps else "absent"}),
    ]


def _ssh_mesh(node: Node) -> list[tuple[str, Arguments]]:
    ssh, of_node = node.plan["ssh"], node.plan["nodes"][node.name]
    if of_node["ssh_home_of"]:
        return []  # one node writes the files of a home that several have
    keys = [*of_node["authority_lines"], *ssh["authorized_keys"], *of_node["loopback_key"]]
    known_hosts, config = (ssh["known_hosts"], ssh["config"]) if of_node["logs_in"] else ([], "")
    return [
        (
            "ssh_mesh",
            {
                "authorized_keys": node.own("ssh_mesh_authorized_keys", keys),
                "known_hosts": node.own("ssh_mesh_known_hosts", known_hosts),
                "config": node.own("ssh_mesh_config", config),
                "certificate": node.own("ssh_mesh_certificate", of_node["certificate"]),
                "backup": node.backup("ssh_mesh"),
                "user": node.own("ssh_mesh_user", node.plan["user"]),
            },
        )
    ]


def _firewall(node: Node) -> list[tuple[str, Arguments]]:
    wanted = firewall.backends(node.own("firewall_kind", node.plan["firewall"]))
    addresses = [each["address"] for each in node.plan["nodes"].values()]
    return [
        (
            "cluster_firewall",
            {
                "backends": [name for name in wanted if name in node.active],
                "addresses": node.own("firewall_addresses", addresses),
                "interface": node.own("firewall_interface", node.plan["nodes"][node.name]["interface"]),
            },
        )
    ]


def _launch_config(node: Node) -> list[tuple[str, Arguments]]:
    of_node, place = node.plan["nodes"][node.name], _place(node)
    files = node.own("launch_config_files", [*node.plan["files"], *of_node["files"]])
    port = int(node.own("launch_config_reserved_port", of_node["reserved_port"]))
    settings = node.own("launch_config_nccl_conf", of_node["nccl_conf"])
    return [
        (
            "file_set",
            {"path": place["prefix"], "user": place["user"], "files": [*files, *role_inputs.launch_scripts()]},
        ),
        ("command_link", {"target": f"{place['prefix']}/bin/trainmesh"}),
        *([("reserved_port", {"port": port})] if port else []),
        ("nccl_conf", {"settings": settings, "backup": node.backup("launch_config")}),
    ]


def _place(node: Node) -> Arguments:
    return {
        "prefix": node.own("launch_config_prefix", node.plan["prefix"]),
        "user": node.own("launch_config_user", node.plan["user"]),
    }
