# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan looks at on the controller itself."""

from __future__ import annotations

import types
from unittest import mock

import pytest
from ansible.parsing.dataloader import DataLoader

from ansible_collections.trainmesh.cluster.plugins.action import cluster_plan
from ansible_collections.trainmesh.cluster.plugins.action.cluster_plan import ActionModule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import fetch
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.conda import MINIFORGE
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import host


@pytest.fixture
def problem(tmp_path):
    action = ActionModule.__new__(ActionModule)
    action._task = types.SimpleNamespace(get_search_path=lambda: [str(tmp_path)])
    action._loader = DataLoader()

    def ask(installer, checksum=""):
        wish = {"conda_installer": installer, "conda_installer_checksum": checksum}
        return action._conda_problem(str(tmp_path / "state"), wish, "x86_64")

    return ask


@pytest.mark.parametrize("installer", ["", "https://example.com/miniforge.sh"])
def test_a_place_that_does_not_answer_is_told(problem, installer, monkeypatch):
    def answers(url, _index):
        raise ToolError(f"{url} can't be had")

    monkeypatch.setattr(fetch, "answers", answers)
    assert problem(installer) == f"{installer or MINIFORGE.format('x86_64')} can't be had"
    monkeypatch.setattr(fetch, "answers", lambda _url, _index: None)
    assert problem(installer) == ""


def test_an_installer_on_the_controller_is_looked_for_where_the_role_does(problem, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/miniforge.sh").touch()
    assert problem("miniforge.sh") == "" and problem(str(tmp_path / "files/miniforge.sh")) == ""
    lost = str(tmp_path / "lost.sh")
    assert problem(lost) == f"trainmesh_conda_installer: there is no {lost} on the controller"
    assert "is no file that can be read" in problem(str(tmp_path / "files"))


def test_a_lock_of_conda_is_read_before_anything_is_made(tmp_path):
    action = ActionModule.__new__(ActionModule)
    action._task = types.SimpleNamespace(get_search_path=lambda: [str(tmp_path)])
    action._loader = DataLoader()
    lock = tmp_path / "conda.lock"
    lock.write_text("@EXPLICIT\nhttps://x.example/linux-64/python-3.12.1-0.conda\n")
    assert (action._locked_python(""), action._locked_python(str(lock))) == ("", "3.12")
    lock.write_text("dependencies: [python]\n")
    for path in (lock, tmp_path / "lost"):
        with pytest.raises(ValueError, match="trainmesh_conda_lock: "):
            action._locked_python(str(path))


def answer_of(monkeypatch, state_dir, prefix="/opt/one", topology="mesh", **task):
    """The action over two sample nodes; returns its answer and what it warned of."""
    hosts = {one.name: one for one in (host(1), host(2))}
    warned: list[str] = []
    monkeypatch.setattr(cluster_plan.action, "warn", warned.append)
    monkeypatch.setattr(cluster_plan.action, "show", lambda _text: None)
    monkeypatch.setattr(ActionModule, "_host", staticmethod(lambda name, _values, _live: hosts[name]))
    args = {"state_dir": str(state_dir), **task.pop("args", {})}
    given = mock.Mock(args=args, **{"async_val": 0, "check_mode": False, "diff": False, **task})
    hostvars = {name: {"trainmesh_prefix": prefix, "trainmesh_ssh_topology": topology} for name in hosts}
    variables = {"hostvars": hostvars, "groups": {"all": list(hosts)}, "ansible_play_hosts": list(hosts)}
    variables["trainmesh_inventory"] = {"become": {"node1": False, "node2": True}}
    variables["trainmesh_run_key"] = "0f" * 16
    action = ActionModule(given, *[mock.Mock()] * 5)
    answer = action.run(task_vars=variables)
    assert "failed" not in answer
    return answer, warned


def run(monkeypatch, state_dir, prefix, **task):
    """What the action warned of."""
    return answer_of(monkeypatch, state_dir, prefix, **task)[1]


def test_a_changed_prefix_names_the_directory_that_stays(monkeypatch, tmp_path):
    assert run(monkeypatch, tmp_path, "/opt/one") == []
    assert run(monkeypatch, tmp_path, "/opt/one") == []
    (warning,) = run(monkeypatch, tmp_path, "/opt/two")
    assert "trainmesh_prefix was /opt/one and is /opt/two now" in warning and "remove it" in warning
    assert run(monkeypatch, tmp_path, "/opt/two") == [], "it is said once"


@pytest.mark.parametrize("task", [{"check_mode": True}, {"args": {"read_only": True}}])
def test_a_look_forgets_no_prefix(monkeypatch, tmp_path, task):
    run(monkeypatch, tmp_path, "/opt/one")
    assert run(monkeypatch, tmp_path, "/opt/two", **task) == []
    assert len(run(monkeypatch, tmp_path, "/opt/two")) == 1


def test_each_run_has_a_secret_of_its_own_for_the_probes(monkeypatch, tmp_path):
    first, second = (answer_of(monkeypatch, tmp_path)[0]["probe_token"] for _number in range(2))
    assert len({first, second, ""}) == 3
    assert first not in (tmp_path / "cluster.json").read_text()


@pytest.mark.parametrize(("before", "holders"), [("mesh", ["node1"]), ("head", [])])
def test_a_look_at_a_star_tells_who_still_lets_workers_in(monkeypatch, tmp_path, before, holders):
    answer_of(monkeypatch, tmp_path, topology=before)
    answer, _warned = answer_of(monkeypatch, tmp_path, topology="head", args={"read_only": True})
    assert [row["nodes"] for row in answer["removed_keys"]] == ([holders] if holders else [])
    assert [node["become"] for node in answer["nodes"].values()] == [False, True]
    assert [node["logs_in"] for node in answer["nodes"].values()] == [True, False]


def test_what_was_not_read_is_a_change_and_a_look_has_none(monkeypatch, tmp_path):
    answer = answer_of(monkeypatch, tmp_path)[0]
    assert set(answer["changes"]) == {"node1", "node2"}
    assert {row["why"] for row in answer["changes"]["node1"]} == {"the present state was not read"}
    assert answer["plays"]["node2"] == ["apply", "python_env", "torch_stack"]
    looked = answer_of(monkeypatch, tmp_path, args={"read_only": True})[0]
    assert (looked["changes"], looked["plays"]) == ({}, {})


@pytest.mark.parametrize(
    ("present", "lock", "told"),
    [
        (None, {}, ""),
        ({"unknown": "x"}, {}, ""),
        ({"torch_stack": {"added": []}}, {}, ""),
        ({"torch_stack": {"added": ["wandb==0.21", "click==8"]}}, {"click": "8"}, "wandb==0.21: name them in"),
        ({"torch_stack": {"added": ["wandb==0.21"]}}, {"wandb": "0.22"}, ""),
        ({"torch_stack": {"added": ["wandb==0.21"]}}, None, "wandb==0.21: name them in"),
    ],
)
def test_what_was_added_on_the_nodes_is_told_until_it_is_in_the_lock(monkeypatch, present, lock, told):
    monkeypatch.setattr(cluster_plan.action, "facts", lambda _hostvars, _name: {"trainmesh_facts_present": present})
    monkeypatch.setattr(ActionModule, "_lock", staticmethod(lambda _stack, _place: (lock, "")))
    action, plan = ActionModule.__new__(ActionModule), {"head": "node1", "stack": {}, "nodes": {}}
    rows = action._added(plan, {}, {"node1"}, "/x")
    assert told in "".join(rows) and bool(rows) is bool(told)
    assert "click" not in "".join(rows)
    assert action._added(plan, {}, set(), "/x") == []


def upgraded(monkeypatch, free, installs=True):
    """A plan for torch 2.14 over two nodes that have 2.13, with so many bytes free."""
    stack = {"requirements": ["torch==2.14.0"], "torch_build": "cpu", "python_env": "venv", "python_version": "3.11"}
    plan = {"user": "root", "prefix": "/opt/one", "stack": stack, "head": "node1", "nodes": {"node1": {}, "node2": {}}}
    plan["reasons"] = []
    told = {"linked": "", "content": "torch-2.13.0-cpu-py3.11", "fixed": False, "whole": []}
    present = {"of": ["root", "/opt/one"], "torch_stack": {"environments": told, "added": ["wandb==0.21"]}}
    monkeypatch.setattr(cluster_plan.action, "facts", lambda _hostvars, _name: {"trainmesh_facts_present": present})
    disks = {"disks": {"/opt/one": {"free_bytes": free}}}
    ActionModule._environments(plan, [host(1, fabric=disks), host(2, fabric=disks), host(3)], {}, installs)
    return plan


def test_an_upgrade_is_made_beside_and_what_was_added_is_told(monkeypatch):
    plan = upgraded(monkeypatch, 3 << 30)
    name = "torch-2.14.0-cpu-py3.11"
    expected = {"name": name, "switch": name, "before": "torch-2.13.0-cpu-py3.11", "kept": False}
    assert [node["environment"] for node in plan["nodes"].values()] == [expected, expected]
    monkeypatch.setattr(ActionModule, "_lock", staticmethod(lambda _stack, _place: ({}, "")))
    (reason,) = ActionModule.__new__(ActionModule)._added(plan, {}, {"node1"}, "/x")
    assert "wandb==0.21" in reason and reason.endswith("or the new environment lacks them")


def test_an_upgrade_without_room_is_refused_where_something_is_installed(monkeypatch):
    with pytest.raises(cluster_plan.plan_cluster.PlanError) as refused:
        upgraded(monkeypatch, 1 << 30)
    assert [fault.hosts for fault in refused.value.faults] == [("node1",), ("node2",)]
    assert "rm -rf /opt/one/env/*" in refused.value.faults[0]
    assert upgraded(monkeypatch, 1 << 30, installs=False)["nodes"]["node1"]["environment"]["switch"]
