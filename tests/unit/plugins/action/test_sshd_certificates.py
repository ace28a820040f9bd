# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of sshd's certificates stays only after a new login, as one of its ports does."""

from __future__ import annotations

from unittest import mock

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.action.sshd_certificates import ActionModule


@pytest.fixture
def action(monkeypatch):
    monkeypatch.setattr(ActionBase, "run", lambda *_given: {})
    task = mock.Mock(args={"certificates": ["a"], "revoked": "b"}, check_mode=False)
    made = ActionModule(task, *[mock.Mock()] * 5)
    made._execute_module = mock.Mock(return_value={"changed": True, "waits": True, "problem": ""})
    return made


def test_it_logs_in_anew_and_keeps_the_change(action):
    action.run()
    action._connection.reset.assert_called_once_with()
    assert action._execute_module.call_args.kwargs["module_args"] == {**action._task.args, "keep": True}


def test_a_login_that_fails_is_told_with_what_happens_next(action):
    action._connection.reset.side_effect = AnsibleConnectionFailure("no route")
    with pytest.raises(AnsibleConnectionFailure, match="the node puts the old configuration back"):
        action.run()
