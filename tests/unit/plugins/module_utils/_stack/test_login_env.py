# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of a non-interactive login: where it is taken from, and what is never shown."""

from __future__ import annotations

import pathlib
import stat
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import login_env


def process(root: pathlib.Path, pid: str, name: str, parent: int) -> None:
    (root / "proc" / pid).mkdir(parents=True)
    (root / "proc" / pid / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0 -1")


def never(*_arguments: t.Any, **_options: t.Any) -> command.Outcome:
    raise AssertionError("no command is needed")


def silent(*_arguments: t.Any, **_options: t.Any) -> command.Outcome:
    return command.Outcome(None, "", "", True, False, 1.0)


def test_an_ssh_session_of_the_very_user_is_taken_as_it_is(tmp_path: pathlib.Path) -> None:
    process(tmp_path, "self", "python3", 900)
    process(tmp_path, "900", "sh (deleted) ) S", 1)
    environ = {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22", "PATH": "/usr/bin"}
    source, _shell, found = login_env.read(Tree(str(tmp_path)), environ, never, 1)
    assert (source, found) == ("session", environ)


@pytest.mark.parametrize("name", ["sudo", "su", "doas", "runuser"])
def test_after_becoming_another_user_the_login_shell_is_asked(tmp_path: pathlib.Path, name: str) -> None:
    process(tmp_path, "self", "python3", 900)
    process(tmp_path, "900", name, 800)
    process(tmp_path, "800", "sshd-session", 1)
    assert login_env.became_another_user(Tree(str(tmp_path)))
    asked = []

    def run(argv: t.Sequence[str], _limit: float, **options: t.Any) -> command.Outcome:
        asked.append((argv, options))
        return command.Outcome(0, "Welcome!\ntrainmesh-environment\nPATH=/opt/bin\0A=x=y\nz\0", "", False, False, 0.1)

    environ = {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"}
    source, _shell, found = login_env.read(Tree(str(tmp_path)), environ, run, 1)
    assert (source, found) == ("shell", {"PATH": "/opt/bin", "A": "x=y\nz"})
    assert asked[0][0][-2] == "-c"


def test_a_process_that_gave_root_up_asks_the_shell_of_whom_it_is_now(tmp_path: pathlib.Path) -> None:
    process(tmp_path, "self", "python3", 900)
    process(tmp_path, "900", "sshd-session", 1)

    def run(*_arguments: t.Any, **_options: t.Any) -> command.Outcome:
        return command.Outcome(0, "trainmesh-environment\nPATH=/opt/bin\0", "", False, False, 0.1)

    environ = {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22", "PATH": "/root/bin"}
    source, _shell, found = login_env.read(Tree(str(tmp_path)), environ, run, 1, became=True)
    assert (source, found) == ("shell", {"PATH": "/opt/bin"})


def test_values_never_travel_in_the_arguments_of_a_command(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/environment").write_text("https_proxy=http://alice:s3cret@proxy.example.com:3128\n")
    seen: list[str] = []

    def run(argv: t.Sequence[str], _limit: float, **options: t.Any) -> command.Outcome:
        seen.extend(argv)
        assert "s3cret" in options["env"]["https_proxy"]
        return silent()

    source, _shell, _found = login_env.read(Tree(str(tmp_path)), {}, run, 1)
    assert source == "unknown"
    assert "s3cret" not in " ".join(seen)


def test_the_real_login_shell_answers_without_the_callers_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_OF_THE_CALLER", "1")
    source, shell, found = login_env.read(Tree(), {}, command.run, 20)
    assert shell.startswith("/")
    if source == "shell":  # a build user may have no shell at all
        assert found["PATH"]
        assert "NCCL_OF_THE_CALLER" not in found


def test_a_shell_that_hangs_is_left_at_the_limit(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\nexec sleep 60\n")
    shell.chmod(shell.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(login_env, "_login_shell", lambda: str(shell))
    source, _shell, found = login_env.read(Tree(), {"PATH": "/usr/bin"}, command.run, 0.5)
    assert (source, found) == ("unknown", {"PATH": "/usr/bin"})


def test_secrets_are_named_and_withheld() -> None:
    shown, hidden = login_env.chosen(
        {
            "PATH": "/usr/bin",
            "HF_TOKEN": "hf_x",
            "HF_HOME": "/data/hf",
            "UV_INDEX_PASSWORD": "x",
            "NCCL_IB_PKEY": "1",
            "AWS_SECRET_ACCESS_KEY": "x",
            "EDITOR": "vi",
        }
    )
    assert shown == {"PATH": "/usr/bin", "HF_HOME": "/data/hf", "NCCL_IB_PKEY": "1"}
    assert hidden == ["HF_TOKEN", "UV_INDEX_PASSWORD"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("https_proxy", "http://alice:s3cret@proxy.example.com:3128", "http://***@proxy.example.com:3128"),
        ("https_proxy", "http://alice:s3/cr@et@proxy.example.com:3128", "http://***@proxy.example.com:3128"),
        ("HTTP_PROXY", "alice:s3cret@proxy.example.com", "***@proxy.example.com"),
        ("http_proxy", "http://proxy.example.com:3128", "http://proxy.example.com:3128"),
        ("no_proxy", "localhost,.example.com", "localhost,.example.com"),
        ("PIP_INDEX_URL", "https://bob:tok@mirror.example.com/simple", "https://***@mirror.example.com/simple"),
        ("PATH", "/home/a@b/bin", "/home/a@b/bin"),
    ],
)
def test_logins_in_urls_are_masked(name: str, value: str, expected: str) -> None:
    assert login_env.without_login(name, value) == expected


def test_etc_environment_is_read_like_pam_does() -> None:
    text = 'PATH="/usr/bin:/bin"\n# comment\nexport LANG=C.UTF-8\nbroken\n1x=2\n'
    assert login_env.etc_environment(text) == {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def test_output_without_the_mark_is_no_environment() -> None:
    assert login_env.parse("This account is currently not available.\n") == {}
    assert login_env.parse("") == {}
