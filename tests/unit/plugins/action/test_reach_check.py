# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the check of all hosts answers; how a host is tried is tested in plugin_utils/_preflight."""

from __future__ import annotations

import importlib.util
from unittest import mock

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.trainmesh.cluster.plugins.action import reach_check
from ansible_collections.trainmesh.cluster.plugins.action.reach_check import NO_PARAMIKO, ActionModule

ROWS = {
    "a": {"ok": True, "step": "", "evidence": ""},
    "b": {"ok": False, "step": "tcp_refused", "evidence": "\x1b[2Jrefused", "seconds": 0.1},
    "c": {"ok": False, "step": "auth", "evidence": "denied", "seconds": 0.2},
    "d": {"ok": None, "step": "untested", "evidence": "", "seconds": 0.0},
}


@pytest.fixture
def run(monkeypatch):
    """Runs the action over four hosts that answer with ROWS; gives its answer, and what was tried and shown."""
    seen = mock.Mock(targets=[], shown=[])

    def check(targets, limit, workers):
        seen.targets, seen.limits = targets, (limit, workers)
        return ROWS

    def start(**args):
        names = list(ROWS)
        hostvars = {name: {"ansible_host": f"192.0.2.{number}"} for number, name in enumerate(names, 1)}
        task = mock.Mock(args=args, async_val=0, check_mode=False, diff=False, remote_user=None, port=None)
        action = ActionModule(task, *[mock.Mock()] * 5)
        return action.run(task_vars={"hostvars": hostvars, "groups": {"all": names, "two": names[:2]}}), seen

    monkeypatch.setattr(reach_check.check, "check", check)
    monkeypatch.setattr(reach_check.check, "table", ", ".join)
    monkeypatch.setattr(reach_check.action, "show", seen.shown.append)
    monkeypatch.setattr(reach_check, "target", lambda name, _values, _play: name)
    return start


def test_the_answer_tells_failed_and_dead_hosts_and_fails_only_where_it_is_asked_to(run):
    answer, seen = run()
    assert (answer["changed"], answer["failed_hosts"], answer["dead"]) == (False, ["b", "c"], ["b"])
    assert "failed" not in answer and len(seen.shown) == 1 and seen.limits == (10.0, 64)
    assert run(fail="yes")[0]["msg"] == "2 of 4 hosts can't be used: b, c"


def test_what_a_host_says_does_nothing_to_the_terminal(run):
    assert "\x1b" not in run()[0]["hosts"]["b"]["evidence"]


def test_only_the_hosts_of_the_group_are_tried(run):
    assert run(group="two", timeout=3, workers=2)[1].targets == ["a", "b"]


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"workers": -1}, {"group": "none"}])
def test_a_wish_that_is_none_is_refused_before_anything_is_tried(run, wrong):
    answer, seen = run(**wrong)
    assert answer["failed"] and answer["msg"] and seen.targets == []


def test_what_is_no_number_is_refused_by_name(run):
    with pytest.raises(AnsibleActionFail, match="timeout"):
        run(timeout="soon")


def test_without_the_library_every_host_is_untested(run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    targets = run()[1].targets
    assert [target.untested for target in targets] == [NO_PARAMIKO] * 4
