# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node tells of its present state: little, nothing secret, and always an answer."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import isolated
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import firewall
from ansible_collections.trainmesh.cluster.plugins.module_utils._node import present
from ansible_collections.trainmesh.cluster.tests.unit.samples.nodes import Node

ROLES = {"hosts", "ssh_mesh", "firewall", "launch_config", "python_env", "torch_stack"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def node(tmp_path, monkeypatch, capsys):
    made = Node(tmp_path, monkeypatch, capsys)
    for role in ("hosts", "ssh_mesh", "firewall", "launch_config"):
        made.run(role)
    return made


def test_it_is_as_small_on_a_node_of_many(node):
    few = json.dumps(node.present())
    node.plan = node.planned(nodes=60)
    node.run("hosts")
    node.run("ssh_mesh")
    assert len(json.dumps(node.present())) == len(few) < 4096


def test_it_holds_no_text_and_no_digest_that_could_be_tried(node):
    told = json.dumps(node.present())
    for path in (node.prefix / "etc/job.env", node.path / "hosts", node.home / ".ssh/authorized_keys"):
        text = path.read_bytes()
        assert all(line not in told for line in text.decode().splitlines() if len(line) > 8)
        assert hashlib.sha256(text).hexdigest()[:16] not in told
    assert "HF_TOKEN" not in told and "a secret" not in told
    assert node.present("another key")["launch_config"]["secrets"] not in told


def test_without_a_key_there_are_no_digests(node):
    read = node.present("")
    assert all("unknown" in read[role] for role in ("hosts", "ssh_mesh", "launch_config"))


def test_a_user_that_is_not_there_is_told(node, monkeypatch):
    def unknown(_name):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwnam", unknown)
    assert "there is no user" in node.present()["unknown"]


def test_what_hangs_for_the_user_hides_nothing_of_the_system(node, monkeypatch):
    keys = node.home / ".ssh/authorized_keys"
    keys.unlink()
    os.mkfifo(keys)
    monkeypatch.setattr(present, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(isolated, "GRACE_S", 1.0)
    read = present.read(present.Wish("key", "trainer", str(node.prefix)), node.places)
    assert {role for role in ROLES if "unknown" in read[role]} == {"ssh_mesh", "python_env", "torch_stack"} | (
        set() if os.geteuid() == 0 else {"launch_config"}
    )
    assert "no answer within" in read["ssh_mesh"]["unknown"] and read["hosts"]["kernel"] == "node1"


@pytest.mark.parametrize("program", ["ufw", "firewall-cmd"])
def test_a_firewall_that_does_not_answer_hides_no_other(node, program):
    node.active = ["ufw", "firewalld"]
    (node.path / "bin" / program).write_text("#!/bin/sh\necho not running >&2; exit 252\n")
    read = node.present()["firewall"]
    silent, answers = ("ufw", "firewalld") if program == "ufw" else ("firewalld", "ufw")
    assert "not running" in read[silent]["unknown"] and "unknown" not in read[answers]


def test_no_firewall_is_asked_where_none_is_wanted(node, monkeypatch):
    node.backends = ()
    monkeypatch.setattr(present.fabric_firewall, "firewalls", lambda *_any: pytest.fail("asked"))
    assert node.present()["firewall"] == {"asked": [], "active": []}


@pytest.mark.parametrize(
    ("text", "zones"),
    [
        ("", {}),
        ("public\n  interfaces: eth0 eth1\n", {"eth0": "public", "eth1": "public"}),
        (
            "docker (active)\n  interfaces: docker0\npublic (default, active)\n  sources: 10.0.0.0/8\n",
            {"docker0": "docker"},
        ),
        ("drop\n  sources: 10.0.0.0/8\n  interfaces: eth0\n", {"eth0": "drop"}),
    ],
)
def test_the_zones_of_interfaces(text, zones):
    assert firewall.zones_of(text) == zones


@as_root
def test_what_is_the_users_is_read_with_the_users_rights(monkeypatch):
    with tempfile.TemporaryDirectory() as path:
        home, secret, account = Path(path, "home"), Path(path, "secret"), pwd.getpwnam("nobody")
        secret.write_text("root's\n")
        secret.chmod(0o600)
        Path(path).chmod(0o755)
        (home / ".ssh/trainmesh").mkdir(parents=True)
        monkeypatch.setattr(pwd, "getpwnam", lambda _name: pwd.struct_passwd((*account[:5], str(home), account[6])))
        wish = present.Wish("key", "nobody", f"{path}/prefix")
        assert "unknown" not in present.read(wish)["ssh_mesh"]
        (home / ".ssh/trainmesh/config").symlink_to(secret)
        assert "PermissionError" in present.read(wish)["ssh_mesh"]["unknown"]
