# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lock's action answers in each mode; the lock itself is tested in plugin_utils/_wheels."""

from __future__ import annotations

import contextlib
from unittest import mock

import pytest

from ansible_collections.trainmesh.cluster.plugins.action import wheel_lock
from ansible_collections.trainmesh.cluster.plugins.action.wheel_lock import ActionModule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import ToolError

NEW, OLD = (f"numpy=={version} --hash=sha256:{'a' * 64}\n" for version in ("2.0", "1.9"))
WISH = {"python_version": "3.11", "platform": "x86_64-manylinux_2_28", "requirements": ["numpy"]}


class Lock:
    """A store whose lock is what ``there`` says, and becomes ``made``."""

    wheelhouse, notes = "", ()

    def __init__(self, there, place):
        self.there, self.calls, self.lock_path = there, [], str(place / "requirements.txt")

    @contextlib.contextmanager
    def alone(self):
        self.calls.append("alone")
        yield

    def lock_text(self):
        return self.there

    def make(self, check, update):
        self.calls.append(("make", check, update))
        if not check:
            self.there = NEW
        return NEW

    def offline(self, _lock, notify=False):
        return False

    def complete(self):
        self.calls.append("complete")
        return "", False

    def built(self, _lock):
        return []


@pytest.fixture
def run(monkeypatch, tmp_path):
    def start(there, check_mode=False, **args):
        store = Lock(there, tmp_path)
        (tmp_path / "requirements.txt").write_text(NEW)
        monkeypatch.setattr(ActionModule, "_store", lambda _self, _args: store)
        task = mock.Mock(args={**WISH, "state_dir": str(tmp_path), **args}, async_val=0, check_mode=check_mode)
        action = ActionModule(task, *[mock.Mock()] * 5)
        return action.run(task_vars={"hostvars": {}, "ansible_play_hosts_all": []}), store.calls

    return start


def test_a_lock_that_is_there_is_used_as_it_is(run):
    answer, calls = run(OLD)
    assert (answer["changed"], answer["packages"], calls) == (False, {"numpy": "1.9"}, ["alone"])


def test_a_lock_that_is_missing_is_made_and_shown(run):
    answer, calls = run("")
    assert (answer["changed"], answer["diff"]["after"], calls) == (
        True,
        NEW,
        ["alone", ("make", False, False)],
    )


def test_an_update_makes_it_anew_and_is_a_change_where_it_differs(run):
    assert run(OLD, update=True)[0]["changed"]
    assert not run(NEW, update=True)[0]["changed"]


def test_check_mode_keeps_and_fetches_nothing(run):
    answer, calls = run("", check_mode=True)
    assert (answer["changed"], calls) == (True, [("make", True, False)])
    answer, calls = run("", check_mode=True, state="filled")
    assert (answer["changed"], answer["files"], calls) == (True, [], [])
    assert run(NEW, check_mode=True, state="filled")[1] == []


def test_what_a_node_needs_is_named_with_its_size(run, tmp_path):
    answer, calls = run(NEW, state="filled")
    assert (answer["files"], answer["megabytes"], answer["changed"]) == ([str(tmp_path / "requirements.txt")], 0, False)
    assert calls == ["alone", "complete"]


def test_a_tool_that_fails_is_a_failed_task_with_its_words(run, monkeypatch):
    def fail(*_arguments):
        raise ToolError("no index answers")

    monkeypatch.setattr(Lock, "make", fail)
    answer, _calls = run("")
    assert (answer["failed"], answer["msg"]) == (True, "no index answers")


def test_notes_are_warnings(run, monkeypatch):
    warned = []
    monkeypatch.setattr(wheel_lock.action, "warn", warned.append)
    monkeypatch.setattr(Lock, "notes", ("the lock was moved aside",))
    run(NEW)
    assert warned == ["the lock was moved aside"]
