# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import types

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import node_name

FULL = "Name:\tpython3\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n"
DOCKER = "Name:\tpython3\nCapEff:\t00000000a80425fb\n"


class Module:
    """As much of AnsibleModule as naming takes; ``hostname`` answers with ``rc``."""

    def __init__(self, rc: int):
        self.rc, self.commands = rc, []

    def get_bin_path(self, name, required=False):
        return None if name == "hostnamectl" else name

    def run_command(self, argv):
        self.commands.append(argv)
        return self.rc, "", "hostname: you must be root to change the host name\n"


@pytest.fixture
def names(monkeypatch, tmp_path):
    """The kernel says ``kernel``; the file is one of ours."""
    path = tmp_path / "hostname"
    path.write_text("old\n")
    monkeypatch.setattr(node_name, "PATH", str(path))
    monkeypatch.setattr(node_name.os, "uname", lambda: types.SimpleNamespace(nodename="kernel"))
    return path


def test_where_the_kernel_refuses_nothing_is_half_done(names):
    assert "kernel's name" in node_name.set_name(Module(1), "node1")
    assert names.read_text() == "old\n"


def test_a_kernel_name_that_is_right_is_not_set_again(names):
    module = Module(1)
    assert node_name.set_name(module, "kernel") == ""
    assert (module.commands, names.read_text()) == ([], "kernel\n")


def test_both_names_are_set(names):
    module = Module(0)
    assert node_name.set_name(module, "node1") == ""
    assert (module.commands, names.read_text()) == ([["hostname", "node1"]], "node1\n")


@pytest.mark.parametrize(("status", "may"), [(FULL, True), (DOCKER, False), ("", True), ("CapEff:\tgarbage\n", True)])
def test_the_right_to_name_the_kernel(status, may):
    assert node_name.may_set_kernel_name(status) is may
