# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker Engine: used, else started, else installed, else one sentence; never taken from others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes import engine
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import LocalNodesError, reason


class FakeHost:
    """A machine on which an engine answers from the moment it is started."""

    def __init__(self, *, answers: bool, may_be_root: bool = True, containers: str = "", ours: str = "") -> None:
        self.answers = answers
        self.root_prefix: list[str] | None = [] if may_be_root else None
        self.containers, self.ours = containers, ours
        self.calls: list[str] = []

    def engine_version(self, limit: float = 20) -> str | None:
        return "20.10" if self.answers else None

    def root(self, *argv: str, limit: float = 60, stdin: str = "", env: dict[str, str] | None = None) -> Outcome:
        self.calls.append(" ".join(argv))
        if argv[0] in ("setsid", "systemctl"):
            self.answers = True
        return Outcome(0, "", "", False, False, 0.0)

    def need(self, doing: str, *argv: str, limit: float = 60, stdin: str = "") -> str:
        return self.ours if "--filter" in argv else self.containers


@pytest.mark.parametrize(
    ("answers", "installed", "systemd", "expected"),
    [
        (True, True, True, (None, None)),
        (False, True, True, (None, "systemd")),
        (False, True, False, (None, "background")),
        (False, False, False, ("apt-get", "background")),
    ],
)
def test_what_is_missing_is_planned(
    answers: bool, installed: bool, systemd: bool, expected: tuple[str | None, str | None]
) -> None:
    plan = engine.plan_engine(answers=answers, installed=installed, manager="apt-get", systemd=systemd)
    assert tuple(plan) == expected


def test_a_machine_without_a_known_package_manager_is_told_so() -> None:
    with pytest.raises(LocalNodesError, match="neither apt-get nor dnf"):
        engine.plan_engine(answers=False, installed=False, manager=None, systemd=True)


def test_a_running_engine_is_used_as_it_is() -> None:
    host = FakeHost(answers=True)
    assert engine.ensure_engine(host, apply=True) == (False, "20.10")
    assert host.calls == []


def test_a_stopped_engine_is_started_and_that_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "RECORD", str(tmp_path / "engine.json"))
    monkeypatch.setattr(engine, "find_tool", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(engine.os.path, "isdir", lambda path: False)
    host = FakeHost(answers=False)
    assert engine.ensure_engine(host, apply=True) == (True, "20.10")
    assert host.calls[1].startswith("tee ")
    assert host.calls[2].startswith("setsid --fork")


def test_check_mode_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_tool", lambda name: f"/usr/sbin/{name}")
    host = FakeHost(answers=False)
    assert engine.ensure_engine(host, apply=False) == (True, "")
    assert host.calls == []


def test_a_user_without_rights_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_tool", lambda name: f"/usr/sbin/{name}")
    with pytest.raises(LocalNodesError, match="may not install or start one"):
        engine.ensure_engine(FakeHost(answers=False, may_be_root=False), apply=True)


def test_an_engine_that_was_not_started_here_is_never_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "RECORD", str(tmp_path / "none.json"))
    host = FakeHost(answers=True)
    assert engine.stop_engine(host, apply=True) == (False, "")
    assert host.calls == []


def test_an_engine_that_others_use_keeps_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = tmp_path / "engine.json"
    record.write_text(json.dumps({"installed": "", "started": "background"}))
    monkeypatch.setattr(engine, "RECORD", str(record))
    host = FakeHost(answers=True, containers="aaa\nbbb\n", ours="aaa\n")
    changed, remark = engine.stop_engine(host, apply=True)
    assert not changed
    assert "1 other containers use it" in remark
    assert host.calls == []


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome(None, "", "", True, False, 3.0), "it did not end within 3 s"),
        (Outcome(1, "a\n", "Error: no space\n\n", False, False, 0.1), "Error: no space"),
        (Outcome(7, "", "", False, False, 0.1), "exit status 7"),
    ],
)
def test_the_reason_is_one_line(outcome: Outcome, text: str) -> None:
    assert reason(outcome, 3) == text
