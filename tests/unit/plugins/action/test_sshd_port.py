# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sshd's change is kept by a login that is made after it, and by no other."""

from __future__ import annotations

import types

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.trainmesh.cluster.plugins.action.sshd_port import ActionModule

CHANGED = {"changed": True, "waits": True, "ports": [22], "diff": ["what"]}
KEPT = {"changed": False, "waits": False, "ports": [22, 2222], "diff": []}


def run(monkeypatch, answers, check=False):
    """(result, what happened): the module gives these answers, one after the other; an exception is raised."""
    action, seen, left = ActionModule.__new__(ActionModule), [], list(answers)
    action._task = types.SimpleNamespace(args={"port": 2222}, check_mode=check)
    action._connection = types.SimpleNamespace(reset=lambda: seen.append("reset"))

    def execute(module_args=None, **_rest):
        seen.append((module_args or action._task.args).get("keep", False))
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    monkeypatch.setattr(ActionBase, "run", lambda *_args, **_words: {})
    monkeypatch.setattr(action, "_execute_module", execute)
    return action.run(task_vars={}), seen


def test_a_change_is_kept_through_a_new_connection(monkeypatch):
    result, seen = run(monkeypatch, [CHANGED, KEPT])
    assert seen == [False, "reset", True]
    assert result == {**CHANGED, "waits": False}


def test_what_an_interrupted_run_has_left_is_kept_too(monkeypatch):
    result, seen = run(monkeypatch, [{**KEPT, "waits": True}, KEPT])
    assert (result["changed"], seen) == (False, [False, "reset", True])


@pytest.mark.parametrize("answer", [KEPT, {"failed": True, "msg": "no", "waits": False}])
def test_without_a_change_nobody_logs_in_anew(monkeypatch, answer):
    assert run(monkeypatch, [answer]) == (answer, [False])


def test_check_mode_keeps_nothing(monkeypatch):
    assert run(monkeypatch, [CHANGED], check=True)[1] == [False]


def test_a_login_that_fails_says_what_the_node_does(monkeypatch):
    with pytest.raises(AnsibleConnectionFailure, match=r"puts the old configuration back.*refused"):
        run(monkeypatch, [CHANGED, AnsibleConnectionFailure("Connection refused")])


def test_what_the_second_run_says_is_told(monkeypatch):
    result, _seen = run(monkeypatch, [CHANGED, {"failed": True, "msg": "nothing answers"}])
    assert result == {"failed": True, "msg": "nothing answers", "diff": ["what"]}
