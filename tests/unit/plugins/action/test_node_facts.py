# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What node_facts is told of the inventory, without a node."""

from __future__ import annotations

from unittest import mock

import pytest

from ansible_collections.trainmesh.cluster.plugins.action.node_facts import ActionModule

INVENTORY = {
    "node_facts": {"peers": ["10.0.0.1", "10.0.0.2"], "prefix": "/opt/trainmesh"},
    "present": {"backends": ["ufw"], "port": 1},
}


def run(monkeypatch, args, reach=None, asked=(1, ""), present=True, **variables):
    """The arguments of the module."""
    monkeypatch.setattr(ActionModule, "_execute_module", lambda _self, module_args, task_vars: module_args)
    stored = {
        "trainmesh_inventory": INVENTORY if present else {**INVENTORY, "present": {}},
        "trainmesh_reach": {"hosts": {"node1": reach}},
        "trainmesh_run_key": "0f",
    }
    variables = {"inventory_hostname": "node1", "hostvars": {"node1": stored}, **stored, **variables}
    task = mock.Mock(args=args, async_val=0, check_mode=False, diff=False)
    action = ActionModule(task, *[mock.Mock()] * 5)
    answer = {"rc": asked[0], "stdout": asked[1]}
    monkeypatch.setattr(action, "_low_level_execute_command", lambda command, sudoable: answer if not sudoable else {})
    return action.run(task_vars=variables)


def test_without_an_inventory_of_this_run_the_task_alone_counts(monkeypatch):
    monkeypatch.setattr(ActionModule, "_execute_module", lambda _self, module_args, task_vars: module_args)
    task = mock.Mock(args={"gather": ["gpu"]}, async_val=0, check_mode=False, diff=False)
    assert ActionModule(task, *[mock.Mock()] * 5).run(task_vars={}) == {"gather": ["gpu"]}


def test_the_inventory_says_what_to_look_at(monkeypatch):
    found = run(monkeypatch, {"gather": ["gpu"]}, {"user": "trainer"})
    asked = {"peers": "10.0.0.1,10.0.0.2", "prefix": "/opt/trainmesh", "user": "trainer", "gather": ["gpu"]}
    assert found == {**asked, "key_comment": "trainmesh node1"}


@pytest.mark.parametrize(
    ("given", "user"),
    [
        ({"reach": {"user": "login"}, "trainmesh_user": "job"}, "job"),
        ({"reach": {"user": "login"}}, "login"),
        ({"reach": {"user": ""}, "asked": (0, "told\r\n")}, "told"),
        ({"reach": None, "asked": (0, "told\n")}, "told"),
        ({"reach": None, "asked": (127, "")}, None),
    ],
)
def test_the_job_user_is_the_one_named_or_who_logs_in(monkeypatch, given, user):
    assert run(monkeypatch, {}, **given)["user"] == user


def test_the_present_state_is_read_under_the_secret_of_the_run(monkeypatch):
    found = run(monkeypatch, {"gather": ["gpu", "present"]}, {"user": "a"}, trainmesh_ssh_port="2222")
    assert found["present"] == {"backends": ["ufw"], "port": 1, "ssh_port": 2222, "key": "0f"}
    assert found["gather"] == ["gpu", "present"]
    assert "present" not in run(monkeypatch, {"gather": ["gpu"]}, {"user": "a"})


def test_a_run_that_only_reads_leaves_the_present_state_out(monkeypatch):
    found = run(monkeypatch, {"gather": ["gpu", "present"]}, {"user": "a"}, present=False)
    assert found["gather"] == ["gpu"] and "present" not in found
