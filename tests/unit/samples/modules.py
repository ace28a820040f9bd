# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module in this process as Ansible does."""

from __future__ import annotations

import json
import types
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args


def run(
    module: types.ModuleType, capsys: pytest.CaptureFixture[str], check: bool = False, **arguments: t.Any
) -> dict[str, t.Any]:
    """What the module answers to these arguments; ``check=True`` is check mode."""
    given = {"_ansible_check_mode": check, "_ansible_diff": True, **arguments}
    capsys.readouterr()
    with patch_module_args(given), pytest.raises(SystemExit):
        module.main()
    answer: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return answer
