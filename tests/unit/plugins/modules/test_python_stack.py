# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role is told of files that an interrupted run was handed and nobody took away."""

from __future__ import annotations

import os
import pwd
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


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(python_stack, monkeypatch)
