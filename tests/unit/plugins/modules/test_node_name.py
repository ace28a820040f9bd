# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host name where the kernel takes it, and where it does not."""

from __future__ import annotations

import types

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import node_name as apply_node_name
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import kernel_name
from ansible_collections.trainmesh.cluster.plugins.modules import node_name
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented


class Done(Exception):
    """exit_json or fail_json; the result is its argument."""


class Module:
    """A node whose kernel takes a new name, or refuses it."""

    check_mode = False

    def __init__(self, kernel, takes):
        self.params, self.kernel, self.takes, self.warnings, self.calls = {"name": "node1"}, kernel, takes, [], []

    def run_command(self, argv):
        self.calls.append(argv)
        if not self.takes:
            return 1, "", "hostname: you must be root to change the host name"
        self.kernel = argv[1]
        return 0, "", ""

    def warn(self, text):
        self.warnings.append(text)

    def exit_json(self, **result):
        raise Done(result)

    def fail_json(self, **result):
        raise Done({"failed": True, **result})


def run(monkeypatch, tmp_path, kernel, file, takes, may=None):
    path, module = tmp_path / "hostname", Module(kernel, takes)
    path.write_text(f"{file}\n")
    monkeypatch.setattr(apply_node_name, "PATH", str(path))
    monkeypatch.setattr(node_name, "AnsibleModule", lambda **_spec: module)
    monkeypatch.setattr(kernel_name, "may_set", lambda _status: may)
    monkeypatch.setattr(apply_node_name, "which", lambda _name: None)
    monkeypatch.setattr(apply_node_name, "required", lambda _module, name: f"/bin/{name}")
    monkeypatch.setattr(apply_node_name.os, "uname", lambda: types.SimpleNamespace(nodename=module.kernel))
    with pytest.raises(Done) as done:
        node_name.main()
    return done.value.args[0], module, path.read_text().strip()


def test_a_kernel_that_refuses_is_a_warning_and_nothing_is_half_done(monkeypatch, tmp_path):
    for _run in range(2):
        result, module, file = run(monkeypatch, tmp_path, "p1", "p1", takes=False)
        assert (result["changed"], result.get("failed"), file) == (False, None, "p1")
        assert "trainmesh_hostname: p1" in module.warnings[0] and "--hostname node1" in module.warnings[0]


def test_check_mode_promises_nothing_that_the_container_refuses(monkeypatch, tmp_path):
    monkeypatch.setattr(Module, "check_mode", True)
    result, module, _file = run(monkeypatch, tmp_path, "p1", "p1", takes=False, may=False)
    assert (result["changed"], module.calls, len(module.warnings)) == (False, [], 1)


@pytest.mark.parametrize(
    ("status", "may"),
    [
        ("CapEff:\t000001ffffffffff\nCapBnd:\t0\n", True),
        ("CapEff:\t00000000a80425fb\n", False),  # Docker's default
        ("CapEff:\tgarbage\n", None),
        ("", None),
    ],
)
def test_the_right_to_name_the_kernel(status, may):
    assert kernel_name.may_set(status) is may


def test_only_the_file_is_wrong(monkeypatch, tmp_path):
    result, module, file = run(monkeypatch, tmp_path, "node1", "localhost", takes=False)
    assert (result["changed"], file, module.calls, module.warnings) == (True, "node1", [], [])


def test_both_names_are_set(monkeypatch, tmp_path):
    result, module, file = run(monkeypatch, tmp_path, "old", "old", takes=True)
    assert (result["changed"], file, module.kernel) == (True, "node1", "node1")


def test_a_right_name_is_left_alone(monkeypatch, tmp_path):
    result, module, _file = run(monkeypatch, tmp_path, "node1", "node1", takes=False)
    assert (result["changed"], module.calls) == (False, [])


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(node_name, monkeypatch)
