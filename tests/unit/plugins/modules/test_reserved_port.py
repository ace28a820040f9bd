# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._apply import reserved_port as apply_reserved_port
from ansible_collections.trainmesh.cluster.plugins.modules import reserved_port
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented


class Done(Exception):
    """exit_json; the result is its argument."""


class Module:
    def __init__(self, check_mode, state):
        self.params = {"port": 29500, "state": state}
        self.check_mode, self.warnings = check_mode, []

    def warn(self, text):
        self.warnings.append(text)

    def exit_json(self, **result):
        raise Done(result)

    def set_default_selinux_context(self, path, changed):
        assert not changed


def run(monkeypatch, tmp_path, have, *, check_mode=False, writable=True, state="present"):
    kernel, file, module = tmp_path / "kernel", tmp_path / "50-trainmesh.conf", Module(check_mode, state)
    if have is not None:
        kernel.write_text(f"{have}\n")
    monkeypatch.setattr(apply_reserved_port, "KERNEL", str(kernel) if writable else str(tmp_path / "no" / "kernel"))
    monkeypatch.setattr(apply_reserved_port, "FILE", str(file))
    monkeypatch.setattr(reserved_port, "AnsibleModule", lambda **_spec: module)
    with pytest.raises(Done) as done:
        reserved_port.main()
    return done.value.args[0], module, kernel.read_text().strip(), file.read_text() if file.exists() else ""


def test_kernel_and_file_get_the_port(monkeypatch, tmp_path):
    result, _module, kernel, text = run(monkeypatch, tmp_path, "8080")
    assert (result["changed"], kernel) == (True, "8080,29500")
    assert text.endswith("net.ipv4.ip_local_reserved_ports = 8080,29500\n")
    assert run(monkeypatch, tmp_path, "8080,29500")[0]["changed"] is False


def test_check_mode_tells_and_changes_nothing(monkeypatch, tmp_path):
    result, _module, kernel, text = run(monkeypatch, tmp_path, "", check_mode=True)
    assert (result["changed"], kernel, text) == (True, "", "") and "29500" in result["diff"][0]["after"]


def test_a_container_that_may_not_is_a_warning(monkeypatch, tmp_path):
    result, module, _kernel, text = run(monkeypatch, tmp_path, "", writable=False)
    assert (result["changed"], text) == (False, "") and "trainmesh_master_port" in module.warnings[0]


@pytest.mark.parametrize("writable", [True, False])
def test_what_was_reserved_here_is_given_back(monkeypatch, tmp_path, writable):
    run(monkeypatch, tmp_path, "8080")
    assert run(monkeypatch, tmp_path, None, state="absent", check_mode=True)[3] != ""
    result, _module, kernel, text = run(monkeypatch, tmp_path, None, state="absent", writable=writable)
    assert (result["changed"], text, kernel) == (True, "", "8080" if writable else "8080,29500")
    assert run(monkeypatch, tmp_path, "29500", state="absent")[0]["changed"] is False  # somebody else reserved it


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(reserved_port, monkeypatch)
