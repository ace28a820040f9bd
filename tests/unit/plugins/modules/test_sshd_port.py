# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A port is added to those that sshd has, and only where it lacks; the action plugin keeps what it changed."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import search_path
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import sshd, sshd_return
from ansible_collections.trainmesh.cluster.plugins.modules import sshd_port
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules


class Node:
    """A node whose sshd has port 22: what is applied to it, and whether a change waits for a login."""

    def __init__(self):
        self.applied, self.waits, self.answers, self.problem = [], False, True, ""

    def apply(self, _module, change, proof, port, backup):
        self.applied.append((change.path, port))
        self.waits = True
        return self.problem

    def keep(self):
        self.waits = False


@pytest.fixture
def node(tmp_path, monkeypatch):
    (tmp_path / "sshd").write_text("#!/bin/sh\necho port 22\n")
    (tmp_path / "sshd").chmod(0o755)
    (tmp_path / "sshd_config").write_text(f"Include {tmp_path}/none/*.conf\n")
    made = Node()
    monkeypatch.setattr(search_path, "which", lambda name: str(tmp_path / name))
    monkeypatch.setattr(sshd, "MAIN", str(tmp_path / "sshd_config"))
    monkeypatch.setattr(sshd, "DROP_IN", str(tmp_path / "drop-in.conf"))
    monkeypatch.setattr(sshd, "apply", made.apply)
    monkeypatch.setattr(sshd, "listens", lambda _port, _limit: made.answers)
    monkeypatch.setattr(sshd_return, "is_armed", lambda: made.waits)
    monkeypatch.setattr(sshd_return, "keep", made.keep)
    return made


def test_a_port_that_sshd_has_is_left_alone(node, capsys):
    answer = modules.run(sshd_port, capsys, port=22)
    assert (answer["changed"], answer["ports"], answer["waits"], node.applied) == (False, [22], False, [])


def test_a_port_that_it_lacks_is_added_and_waits_for_a_login(node, capsys, tmp_path):
    answer = modules.run(sshd_port, capsys, port=2222)
    assert (answer["changed"], answer["waits"], node.applied) == (True, True, [(str(tmp_path / "sshd_config"), 2222)])
    assert "Port 22\nPort 2222\n" in answer["diff"][0]["after"]


def test_check_mode_changes_and_keeps_nothing(node, capsys):
    node.waits = True
    answer = modules.run(sshd_port, capsys, port=2222, keep=True, check=True)
    assert (answer["changed"], answer["waits"], node.applied) == (True, True, [])


def test_a_change_that_is_kept_waits_no_more(node, capsys):
    node.waits = True
    assert modules.run(sshd_port, capsys, port=22, keep=True)["waits"] is False


def test_a_change_that_sshd_does_not_take_is_told(node, capsys):
    node.problem = "sshd refuses it"
    answer = modules.run(sshd_port, capsys, port=2222)
    assert answer["failed"] and "port 2222: sshd refuses it" in answer["msg"]


def test_a_port_that_is_configured_and_silent_is_told(node, capsys):
    node.answers = False
    answer = modules.run(sshd_port, capsys, port=22)
    assert answer["failed"] and "nothing answers there" in answer["msg"]


def test_without_its_own_configuration_nothing_is_changed(node, capsys, tmp_path):
    (tmp_path / "sshd").write_text("#!/bin/sh\necho no hostkeys >&2\nexit 1\n")
    answer = modules.run(sshd_port, capsys, port=2222)
    assert answer["failed"] and "nothing was changed: no hostkeys" in answer["msg"] and node.applied == []


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(sshd_port, monkeypatch)
