# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that the plan has for a node, without a node."""

from __future__ import annotations

from unittest import mock

from ansible_collections.trainmesh.cluster.plugins.action.node_apply import ActionModule
from ansible_collections.trainmesh.cluster.tests.unit.samples.nodes import ME, Node


def run(node, rows, monkeypatch, **variables):
    """The arguments of the module."""
    given = variables.pop("args", {"user": ME.pw_name})
    monkeypatch.setattr(ActionModule, "_execute_module", lambda _self, module_args, task_vars: module_args)
    facts = {
        "trainmesh_facts_fabric": {"firewalls": [{"name": "ufw", "active": True}, {"name": "nft", "active": None}]}
    }
    stored = {"trainmesh_plan": {**node.plan, "changes": {"node1": rows}}, "ansible_facts": facts}
    variables = {"inventory_hostname": "node1", "hostvars": {"node1": stored}, **stored, **variables}
    task = mock.Mock(args=given, async_val=0, check_mode=False, diff=False)
    return ActionModule(task, *[mock.Mock()] * 5).run(task_vars=variables)


def names(arguments):
    return [step["name"] for step in arguments["steps"]]


def row(role, what="x"):
    return {"role": role, "what": what, "why": "y"}


def test_only_roles_with_changes_have_steps(tmp_path, monkeypatch, capsys):
    node = Node(tmp_path, monkeypatch, capsys)
    assert names(run(node, [row("firewall"), row("torch_stack")], monkeypatch)) == ["cluster_firewall"]
    every = [row(role) for role in ("hosts", "ssh_mesh", "firewall", "launch_config")]
    found = run(node, every, monkeypatch)
    first = ["node_name", "hosts_entries", "cloud_init", "ssh_mesh", "cluster_firewall", "file_set"]
    assert names(found)[:6] == first
    assert found["steps"][4]["options"]["backends"] == ["ufw"]


def test_a_port_of_sshd_is_no_step(tmp_path, monkeypatch, capsys):
    node = Node(tmp_path, monkeypatch, capsys)
    assert names(run(node, [row("ssh_mesh", "sshd port 2222")], monkeypatch)) == []


def test_variables_of_the_roles_go_before_the_plan(tmp_path, monkeypatch, capsys):
    node = Node(tmp_path, monkeypatch, capsys)
    wish = {
        "hosts_hostname": "other",
        "hosts_cloud_init": "keep_ours",
        "firewall_interface": "eth7",
        "trainmesh_backup": "false",
    }
    found = run(node, [row("hosts"), row("firewall")], monkeypatch, **wish)
    options = {step["name"]: step["options"] for step in found["steps"]}
    assert options["node_name"] == {"name": "other"} and options["cloud_init"] == {"state": "present"}
    assert options["cluster_firewall"]["interface"] == "eth7"
    assert options["hosts_entries"]["backup"] == "false"


def test_the_values_of_the_jobs_are_apart(tmp_path, monkeypatch, capsys):
    node = Node(tmp_path, monkeypatch, capsys)
    found = run(node, [row("launch_config")], monkeypatch, trainmesh_env={"TOKEN": "hunter2"})
    assert "TOKEN=hunter2" in found["job_env"] and "hunter2" not in str(found["steps"])


def test_steps_of_the_task_are_the_steps(tmp_path, monkeypatch, capsys):
    node = Node(tmp_path, monkeypatch, capsys)
    given = {"steps": [{"name": "node_name", "options": {"name": "a"}}], "user": "b"}
    assert run(node, [row("firewall")], monkeypatch, args=given) == given
