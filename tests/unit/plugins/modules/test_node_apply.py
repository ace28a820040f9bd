# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several modules in one start."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import file_set
from ansible_collections.trainmesh.cluster.plugins.modules import node_apply
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules
from ansible_collections.trainmesh.cluster.tests.unit.samples.nodes import ME, Node

ENTRY = {"address": "10.0.0.2", "names": ["node2"]}


def steps(path, *settings):
    return [
        {"name": "hosts_entries", "options": {"entries": [ENTRY], "path": str(path / "hosts")}},
        {"name": "nccl_conf", "options": {"settings": list(settings), "path": str(path / "nccl.conf")}},
    ]


@pytest.fixture
def node(tmp_path):
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    return tmp_path


def test_each_step_is_done_once_and_told(node, capsys):
    wanted = steps(node, "NCCL_SOCKET_IFNAME==eth0")
    looked = modules.run(node_apply, capsys, steps=wanted, check=True)
    assert looked["changed"] and not (node / "nccl.conf").exists()
    first = modules.run(node_apply, capsys, steps=wanted)
    assert set(first["steps"]) == {"hosts_entries", "nccl_conf"} and len(first["diff"]) == 2
    assert first["diff"] == looked["diff"]
    assert "10.0.0.2\tnode2" in (node / "hosts").read_text()
    assert "NCCL_SOCKET_IFNAME==eth0" in (node / "nccl.conf").read_text()
    second = modules.run(node_apply, capsys, steps=wanted)
    assert (second["changed"], second["steps"], second["diff"]) == (False, {}, [])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "nccl_conf", "options": {}}, "nccl_conf: missing required arguments: settings"),
        ({"name": "nccl_conf", "options": {"settings": [], "colour": 1}}, "nccl_conf: colour. Supported"),
        (
            {"name": "cluster_firewall", "options": {"backends": ["iptables"], "addresses": []}},
            "cluster_firewall: value",
        ),
        ({"name": "rm", "options": {}}, "value of name must be one of"),
    ],
)
def test_a_wrong_step_is_refused_before_any_has_begun(node, capsys, wrong, words):
    answer = modules.run(node_apply, capsys, steps=[*steps(node, "A=b"), wrong])
    assert answer["failed"] and words in answer["msg"], answer["msg"]
    assert not (node / "nccl.conf").exists()


def test_what_is_done_before_a_failure_stays(node, capsys):
    answer = modules.run(node_apply, capsys, steps=steps(node, "two\nlines"))
    assert answer["failed"] and "left as it is" in answer["msg"]
    assert "node2" in (node / "hosts").read_text() and not (node / "nccl.conf").exists()


def test_secrets_are_written_and_not_told(node, capsys):
    secret = "TOKEN=hunter2\n"
    given = {"job_env": secret, "prefix": str(node / "opt"), "user": ME.pw_name}
    answer = modules.run(node_apply, capsys, **given)
    assert set(answer["steps"]) == {"secrets"} and "hunter2" not in str(answer)
    path = node / "opt/etc/job.env"
    assert (path.read_text(), path.stat().st_mode & 0o777) == (secret, 0o600)
    assert modules.run(node_apply, capsys, **given)["changed"] is False
    changed = modules.run(node_apply, capsys, **{**given, "job_env": "TOKEN=other\n"})
    assert changed["changed"] and "hunter2" not in str(changed), "what stood there is a secret too"


def test_secrets_need_a_place(capsys):
    assert "prefix" in modules.run(node_apply, capsys, job_env="A=b\n")["msg"]


def test_one_start_does_what_the_roles_do(tmp_path, monkeypatch, capsys):
    """After it the modules of the roles find nothing to do, and so does the plan."""
    node = Node(tmp_path, monkeypatch, capsys)
    roles = ("hosts", "ssh_mesh", "firewall", "launch_config")
    assert all(node.would_change(role) for role in roles)
    given = node.apply(*roles)
    for step in given["steps"]:
        if step["name"] in node.paths:
            step["options"]["path"] = node.paths[step["name"]]
    modules.run(node_apply, capsys, **given)
    assert not [role for role in roles if node.would_change(role)]
    assert node.changes(*roles) == []


def test_the_steps_are_modules_with_their_own_options():
    assert node_apply.STEPS["file_set"] is file_set
    for name, step in node_apply.STEPS.items():
        assert step.__name__.endswith(f"_apply.{name}") and step.OPTIONS


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(node_apply, monkeypatch)
