# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker Engine: used, else started, else installed, else one sentence; never taken from others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes import docker
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import LocalNodesError, reason


class FakeHost:
    """A machine with these tools, on which an engine answers from the moment it is started."""

    def __init__(
        self,
        *,
        answers: bool = False,
        may_be_root: bool = True,
        tools: str = "dockerd docker",
        packs: str = "dockerd docker",
        containers: str = "",
        ours: str = "",
    ) -> None:
        self.answers = answers
        self.root_prefix: list[str] | None = [] if may_be_root else None
        self.tools, self.packs = tools.split(), packs.split()
        self.containers, self.ours = containers, ours
        self.calls: list[str] = []

    def engine_version(self, limit: float = 20) -> str | None:
        return "20.10" if self.answers and "docker" in self.tools else None

    def root(self, *argv: str, limit: float = 60, stdin: str = "", env: dict[str, str] | None = None) -> Outcome:
        self.calls.append(" ".join(argv))
        if argv[0] in ("setsid", "systemctl"):
            self.answers = True
        if "install" in argv:
            self.tools += ["docker"] if argv[-1] == "docker-cli" else self.packs
        return Outcome(0, "", "", False, False, 0.0)

    def need(self, doing: str, *argv: str, limit: float = 60, stdin: str = "") -> str:
        return self.ours if "--filter" in argv else self.containers


class InspectedHost(docker.Host):
    """A client that says one thing."""

    def __init__(self, rc: int | None, out: str, err: str) -> None:
        self.said = Outcome(rc, out, err, rc is None, False, 0.0)

    def docker(self, *argv: str, limit: float = 60, stdin: str = "") -> Outcome:
        return self.said


@pytest.mark.parametrize(
    "err",
    [
        "Error: No such object: 4f1c\n",
        "Error: No such container: 4f1c\nerror: no such object: 77aa\n",
        "Error response from daemon: network 4f1c not found\n",
    ],
)
def test_what_was_removed_since_it_was_listed_is_no_fault(err: str) -> None:
    assert InspectedHost(1, '[{"Name": "/a"}]', err).inspect("read", "inspect", "4f1c") == '[{"Name": "/a"}]'


@pytest.mark.parametrize(
    ("rc", "err", "why"),
    [
        (1, "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "Cannot connect"),
        (1, "Error: No such object: 4f1c\npermission denied", "permission denied"),
        (1, "sudo: docker: command not found", "command not found"),
        (1, "", "exit status 1"),
        (None, "", "did not end within 60 s"),
    ],
)
def test_an_engine_that_does_not_tell_is_one(rc: int | None, err: str, why: str) -> None:
    with pytest.raises(LocalNodesError, match=f"could not read: .*{why}"):
        InspectedHost(rc, "[]", err).inspect("read", "inspect", "4f1c")


def ensure(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, systemd: bool = False, apply: bool = True
) -> tuple[bool, str]:
    monkeypatch.setattr(docker, "RECORD", str(tmp_path / "engine.json"))
    monkeypatch.setattr(docker, "find_tool", lambda name: f"/usr/sbin/{name}" if name in host.tools else None)
    monkeypatch.setattr(docker.os.path, "isdir", lambda path: systemd)
    return docker.ensure_engine(host, apply=apply)


@pytest.mark.parametrize(
    ("tools", "packs", "systemd", "expected"),
    [
        ("dockerd docker", "", True, [r"systemctl start docker\.service"]),
        ("dockerd docker", "", False, ["setsid --fork .* /usr/sbin/dockerd"]),
        ("apt-get", "dockerd docker", False, ["apt-get .* update", "apt-get .* install .* docker.io", "setsid .*"]),
        ("dnf", "dockerd docker", True, ["dnf install -y moby-engine", "systemctl .*"]),
        ("apt-get", "dockerd", True, [".* update", ".* docker.io", ".* update", ".* docker-cli", "systemctl .*"]),
        ("dnf dockerd", "", True, ["dnf install -y docker-cli", "systemctl .*"]),
    ],
)
def test_what_is_missing_is_installed_and_started_and_that_is_remembered_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tools: str, packs: str, systemd: bool, expected: list[str]
) -> None:
    host = FakeHost(tools=tools, packs=packs)
    assert ensure(host, monkeypatch, tmp_path, systemd=systemd) == (True, "20.10")
    assert host.calls[1].startswith("tee ")
    assert len(host.calls) == 2 + len(expected)
    assert all(re.fullmatch(pattern, call) for pattern, call in zip(expected, host.calls[2:]))


@pytest.mark.parametrize("apply", [True, False])
def test_a_machine_without_a_known_package_manager_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, apply: bool
) -> None:
    with pytest.raises(LocalNodesError, match="neither apt-get nor dnf"):
        ensure(FakeHost(tools=""), monkeypatch, tmp_path, apply=apply)


def test_a_running_engine_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = FakeHost(answers=True, tools="docker")
    assert ensure(host, monkeypatch, tmp_path) == (False, "20.10")
    assert host.calls == []


def test_check_mode_starts_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = FakeHost()
    assert ensure(host, monkeypatch, tmp_path, apply=False) == (True, "")
    assert host.calls == []


def test_a_user_without_rights_gets_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(LocalNodesError, match="may not install or start one"):
        ensure(FakeHost(may_be_root=False), monkeypatch, tmp_path)


class SudoHost(docker.Host):
    """A user whom only sudo lets talk to the engine."""

    def __init__(self, prefix: list[str] | None, answering: list[str] | None) -> None:
        self.root_prefix, self.docker_prefix, self.answering = prefix, [], answering

    def docker(self, *argv: str, limit: float = 60, stdin: str = "") -> Outcome:
        answers = self.docker_prefix == self.answering
        return Outcome(0 if answers else 1, "20.10\n" if answers else "", "", False, False, 0.0)


@pytest.mark.parametrize(
    ("prefix", "answering", "version", "then"),
    [
        ([], [], "20.10", []),
        (["sudo", "-n"], [], "20.10", []),
        (["sudo", "-n"], ["sudo", "-n"], "20.10", ["sudo", "-n"]),
        (["sudo", "-n"], None, None, []),
        (None, ["sudo", "-n"], None, []),
    ],
)
def test_the_engine_is_asked_through_sudo_where_only_that_answers(
    prefix: list[str] | None, answering: list[str] | None, version: str | None, then: list[str]
) -> None:
    host = SudoHost(prefix, answering)
    for _twice in range(2):
        assert (host.engine_version(), host.docker_prefix) == (version, then)


def test_an_engine_that_was_not_started_here_is_never_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(docker, "RECORD", str(tmp_path / "none.json"))
    host = FakeHost(answers=True)
    assert docker.stop_engine(host, apply=True) == (False, "")
    assert host.calls == []


def test_an_engine_that_others_use_keeps_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = tmp_path / "engine.json"
    record.write_text(json.dumps({"installed": "", "started": "background"}))
    monkeypatch.setattr(docker, "RECORD", str(record))
    host = FakeHost(answers=True, containers="aaa\nbbb\n", ours="aaa\n")
    changed, remark = docker.stop_engine(host, apply=True)
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
