# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module node_facts: three readers in one start, none of which can lose another."""

from __future__ import annotations

import json
import os
import pathlib
import pwd
import sys
import time
import typing as t

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import isolated
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import facts as facts_fabric
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import facts as facts_gpu
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import facts as facts_stack
from ansible_collections.trainmesh.cluster.plugins.modules import fabric_facts, gpu_facts, node_facts, stack_facts
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import Recorded

GATHERED = ["gpu", "fabric", "stack"]
ALL = {"trainmesh_facts_gpu", "trainmesh_facts_fabric", "trainmesh_facts_stack", "trainmesh_facts_errors"}


def run(arguments: dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> dict[str, t.Any]:
    with patch_module_args({"python": sys.executable, "gather": GATHERED, **arguments}), pytest.raises(SystemExit):
        node_facts.main()
    found: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return found


def never(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
    raise AssertionError("not asked for")


@pytest.mark.parametrize("check", [False, True])
def test_all_three_come_in_one_result(check: bool, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    Recorded(tmp_path).two_a100()
    result = run({"devices_root": str(tmp_path), "peers": ["127.0.0.1"], "_ansible_check_mode": check}, capsys)
    facts = result["ansible_facts"]
    assert (set(facts), facts["trainmesh_facts_errors"], result["changed"]) == (ALL, {}, False)
    assert len(facts["trainmesh_facts_gpu"]["gpus"]) == 2
    assert list(facts["trainmesh_facts_fabric"]["routes"]) == ["127.0.0.1"]
    assert facts["trainmesh_facts_stack"]["python"]["path"] == sys.executable
    assert result["replayed_from"] == str(tmp_path)


def test_no_file_on_a_node_says_whose_devices_it_has(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Recorded(tmp_path / "recorded").two_a100()
    (tmp_path / "named").write_text(f"{tmp_path / 'recorded'}\n")
    (tmp_path / "named").chmod(0o644)
    real = os.open

    def opened(path: t.Any, *arguments: t.Any, **options: t.Any) -> int:
        return real(tmp_path / "named" if path == "/etc/trainmesh/replay_root" else path, *arguments, **options)

    monkeypatch.setattr(os, "open", opened)
    result = run({"gather": ["gpu", "fabric"]}, capsys)
    assert "replayed_from" not in result
    assert "replayed_from" not in result["ansible_facts"]["trainmesh_facts_gpu"]
    assert result["ansible_facts"]["trainmesh_facts_fabric"]["replayed_from"] is None


def test_recorded_devices_leave_the_rest_of_the_fabric_as_it_is(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Recorded(tmp_path).two_a100()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("ab" * 16 + "\n")
    result = run({"gather": ["gpu", "fabric"], "devices_root": str(tmp_path)}, capsys)
    fabric = result["ansible_facts"]["trainmesh_facts_fabric"]
    assert result["replayed_from"] == fabric["replayed_from"] == str(tmp_path)
    assert fabric["machine_id"] != "ab" * 16


def test_each_part_has_the_keys_of_its_own_module(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    Recorded(tmp_path).two_a100()
    facts = run({"devices_root": str(tmp_path)}, capsys)["ansible_facts"]
    for module, name in ((gpu_facts, "gpu"), (fabric_facts, "fabric"), (stack_facts, "stack")):
        told = yaml.safe_load(module.RETURN)["ansible_facts"]["contains"][f"trainmesh_facts_{name}"]["contains"]
        assert set(facts[f"trainmesh_facts_{name}"]) == set(told), name


def test_only_what_is_asked_for_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(facts_stack, "start", never)
    monkeypatch.setattr(facts_fabric, "read", never)
    assert set(run({"gather": ["gpu"]}, capsys)["ansible_facts"]) == {"trainmesh_facts_gpu", "trainmesh_facts_errors"}
    assert run({"gather": []}, capsys)["ansible_facts"] == {"trainmesh_facts_errors": {}}


@pytest.mark.parametrize("part", GATHERED)
def test_a_part_that_fails_loses_no_other(
    part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
        raise RuntimeError("the disk is on fire")

    readers = {"gpu": (facts_gpu, "gather"), "fabric": (facts_fabric, "gather"), "stack": (facts_stack, "gather")}
    warned: list[str] = []  # Ansible's own list drops what the process has said before
    monkeypatch.setattr(node_facts.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    monkeypatch.setattr(*readers[part], fail)
    result = run({}, capsys)
    facts = result["ansible_facts"]
    assert facts["trainmesh_facts_errors"] == {part: "RuntimeError: the disk is on fire"}
    assert set(facts) == ALL - {f"trainmesh_facts_{part}"}
    assert any(f"the {part} facts could not be read" in text for text in warned)


def test_a_part_that_is_a_flood_stays_on_the_node(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    interpreter = tmp_path / "python"
    said = "{'version': '3.11.2', 'path': [f'/{number}' for number in range(99999)], 'prefix': None, 'include': None}"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import json; print(json.dumps({said}))"\n')
    interpreter.chmod(0o755)
    facts = run({"python": str(interpreter)}, capsys)["ansible_facts"]
    assert set(facts) == ALL - {"trainmesh_facts_stack"}
    assert "expected at most 262144; the largest of it is " in facts["trainmesh_facts_errors"]["stack"]


def test_an_unknown_user_costs_the_stack_alone(capsys: pytest.CaptureFixture[str]) -> None:
    facts = run({"user": "no-such-user-here"}, capsys)["ansible_facts"]
    assert "no-such-user-here" in facts["trainmesh_facts_errors"]["stack"]
    assert set(facts) == ALL - {"trainmesh_facts_stack"}


def test_a_reader_that_hangs_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sleep(*_arguments: t.Any, **_options: t.Any) -> None:
        time.sleep(2)

    monkeypatch.setattr(isolated, "GRACE_S", 0.2)
    monkeypatch.setattr(facts_fabric, "gather", sleep)
    monkeypatch.setattr(facts_stack, "gather", sleep)
    started = time.monotonic()
    errors = run({"timeout": 0.1}, capsys)["ansible_facts"]["trainmesh_facts_errors"]
    assert time.monotonic() - started < 1.5
    assert set(errors) == {"fabric", "stack"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_reads_the_software_as_the_job_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = pwd.getpwnam("nobody")
    monkeypatch.setenv("OF_ROOT", "secret")

    def who(*_arguments: t.Any, became: bool, **_options: t.Any) -> dict[str, t.Any]:
        return {"ids": [*os.getresuid(), *os.getresgid()], "groups": os.getgroups(), "became": became, **os.environ}

    monkeypatch.setattr(facts_stack, "gather", who)
    result = run({"user": "nobody", "paths": ["~/.cache"]}, capsys)["ansible_facts"]
    found = result["trainmesh_facts_stack"]
    assert found["ids"] == [other.pw_uid] * 3 + [other.pw_gid] * 3
    assert found["groups"] == sorted(set(os.getgrouplist("nobody", other.pw_gid)))
    assert (found["became"], found["HOME"], found["USER"]) == (True, other.pw_dir, "nobody")
    assert "OF_ROOT" not in found
    assert result["trainmesh_facts_fabric"]["disks"]["~/.cache"]["path"] == f"{other.pw_dir}/.cache"
    assert os.geteuid() == 0


WHOLE = {"gather": ["user", "identity", "present"], "present": {"key": "of this run"}}


@pytest.fixture
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Where the user who runs the test is at home."""
    me = pwd.getpwuid(os.geteuid())
    account = pwd.struct_passwd((*me[:5], str(tmp_path), me[6]))
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: account)
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: account)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_look_makes_no_key_and_a_run_makes_one(home: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    looked = run(WHOLE, capsys)
    assert (looked["changed"], looked["ansible_facts"]["trainmesh_facts_identity"]["public_key"]) == (False, "")
    dry = run({**WHOLE, "create_key": True, "_ansible_check_mode": True}, capsys)
    assert dry["changed"] and not (home / ".ssh").exists()
    made = run({**WHOLE, "create_key": True, "key_comment": "trainmesh node1"}, capsys)
    identity = made["ansible_facts"]["trainmesh_facts_identity"]
    assert made["changed"] and identity["public_key"].startswith("ssh-ed25519 ")
    assert (home / ".ssh/trainmesh/id_ed25519.pub").read_text().endswith(" trainmesh node1\n")
    assert set(identity) == {"public_key", "host_keys", "user", "home", "ssh_directory"}
    again = run({**WHOLE, "create_key": True}, capsys)
    assert (again["changed"], again["ansible_facts"]["trainmesh_facts_identity"]) == (False, identity)


def test_user_and_present_state_come_with_the_rest(home: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "code.py").write_text("print()\n")
    result = run({**WHOLE, "user_paths": ["~/code.py"], "prefix": str(home / "opt")}, capsys)
    facts = result["ansible_facts"]
    assert facts["trainmesh_facts_errors"] == {}
    assert facts["trainmesh_facts_user"]["asked"]["~/code.py"]["exists"] is True
    assert facts["trainmesh_facts_present"]["of"] == [pwd.getpwuid(os.geteuid()).pw_name, str(home / "opt")]
    assert "of this run" not in json.dumps(result)


def test_a_present_state_without_a_secret_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    result = run({"gather": ["present"]}, capsys)
    assert result["failed"] and "the option present is missing" in result["msg"]


def test_a_user_who_is_not_there_has_no_keys(capsys: pytest.CaptureFixture[str]) -> None:
    result = run({**WHOLE, "user": "no-such-user-here"}, capsys)
    assert result["failed"] and "there is no user no-such-user-here" in result["msg"]


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_limit_of_no_time_is_refused(timeout: int, capsys: pytest.CaptureFixture[str]) -> None:
    result = run({"timeout": timeout}, capsys)
    assert result["failed"]
    assert "timeout must be more than 0" in result["msg"]


def test_the_options_are_those_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    documented.check(node_facts, monkeypatch)
