# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role is told of files that an interrupted run was handed and nobody took away."""

from __future__ import annotations

import os
import pwd
import sys
import types

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import python_stack
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented


class Done(Exception):
    """exit_json; the result is its argument."""


def leave(**result):
    raise Done(result)


@pytest.mark.parametrize("there", [True, False])
def test_a_directory_left_by_an_interrupted_run_is_told_and_not_read(tmp_path, monkeypatch, there):
    handed = tmp_path / "wheels"
    if there:
        handed.mkdir()
        (handed / "index.json").write_text("half a fi")
    params = {
        "prefix": str(tmp_path / "prefix"),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "packages": {},
        "python_version": "3.11",
        "torch_build": "",
        "state": "read",
        "directory": str(handed),
        "offline": False,
        "timeout": 60,
    }
    module = types.SimpleNamespace(params=params, check_mode=False, exit_json=leave, fail_json=pytest.fail)
    monkeypatch.setattr(python_stack, "AnsibleModule", lambda **_spec: module)
    with pytest.raises(Done) as done:
        python_stack.main()
    assert done.value.args[0]["directory_exists"] is there
    assert not done.value.args[0]["changed"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_package_of_the_user_that_joined_the_lock_is_only_noted(tmp_path, monkeypatch, check_mode):
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for name in ("numpy-2.4", "wandb-0.21"):
        place = tmp_path / f"env/lib/python{version}/site-packages/{name}.dist-info"
        place.mkdir(parents=True)
        (place / "RECORD").touch()
    (tmp_path / "env/bin").mkdir()
    (tmp_path / "env/bin/python").symlink_to(sys.executable)
    (tmp_path / "var").mkdir()
    record = tmp_path / "var/stack-packages"
    record.write_text("numpy\n")
    params = {
        "prefix": str(tmp_path),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "packages": {"numpy": "2.4", "wandb": "0.21"},
        "python_version": version,
        "torch_build": "",
        "state": "read",
        "directory": None,
        "offline": False,
        "timeout": 60,
    }
    module = types.SimpleNamespace(params=params, check_mode=check_mode, exit_json=leave, fail_json=pytest.fail)
    monkeypatch.setattr(python_stack, "AnsibleModule", lambda **_spec: module)

    def told():
        with pytest.raises(Done) as done:
            python_stack.main()
        return done.value.args[0]

    first = told()
    assert (first["changed"], first["equal"], first["summary"]) == (True, True, "wandb joined the lock")
    assert record.read_text() == ("numpy\n" if check_mode else "numpy\nwandb\n")
    assert told()["changed"] is check_mode


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(python_stack, monkeypatch)
