# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module user_facts itself: its options, its result, its documentation."""

from __future__ import annotations

import json
import os
import pathlib
import time
import typing as t

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import isolated
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import facts as facts_user
from ansible_collections.trainmesh.cluster.plugins.modules import user_facts
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented

SUB = ("sshd", "ssh_client", "known_hosts", "managed")


def run(arguments: dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> dict[str, t.Any]:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        user_facts.main()
    found: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("check", [False, True])
def test_it_only_reads_and_works_the_same_in_check_mode(
    check: bool, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "run.sh").write_text("export HF_TOKEN=geheim\n")
    given = {"paths": [str(tmp_path)], "files": [{"kind": "launch_script", "path": str(tmp_path / "run.sh")}]}
    result = run({**given, "prefix": str(tmp_path), "_ansible_check_mode": check}, capsys)
    facts = result["ansible_facts"]["trainmesh_facts_user"]
    assert result["changed"] is False
    assert (facts["uid"], facts["problem"]) == (os.geteuid(), None)
    assert facts["asked"][str(tmp_path)]["kind"] == "dir"
    assert facts["files"][0]["text"] == "export HF_TOKEN=<hidden>\n"
    assert facts["managed"] == {"exists": False, "files": {}}
    assert os.listdir(tmp_path) == ["run.sh"]


def test_every_fact_is_documented_and_always_there(capsys: pytest.CaptureFixture[str]) -> None:
    facts = run({}, capsys)["ansible_facts"]["trainmesh_facts_user"]
    contents = yaml.safe_load(user_facts.RETURN)["ansible_facts"]["contains"]["trainmesh_facts_user"]["contains"]
    assert set(contents) == set(facts) == set(facts_user.blank("x"))
    for name in SUB:
        assert set(contents[name]["sample"]) == set(facts[name]), name
    assert set(facts["paths"]) == {"home", "ssh_dir", "authorized_keys", "config", "identity"}
    assert set(facts["caches"]) == {"home", "tmp", "hf", "triton", "torch_extensions", "pip"}


def test_a_user_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    facts = run({"user": "no-such-user-here"}, capsys)["ansible_facts"]["trainmesh_facts_user"]
    assert "there is no user no-such-user-here" in facts["problem"]
    assert set(facts) == set(facts_user.blank("x"))


def test_only_root_looks_for_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    facts = run({"user": "root"}, capsys)["ansible_facts"]["trainmesh_facts_user"]
    assert facts["problem"] == "only root can look for root: run this task with become"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_access_is_that_of_the_user(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("x")
    os.chmod(tmp_path / "mine", 0o600)
    facts = run({"user": "nobody", "paths": [str(tmp_path / "mine"), "/tmp"]}, capsys)["ansible_facts"][
        "trainmesh_facts_user"
    ]
    assert facts["asked"]["/tmp"]["writable"] is True
    assert facts["asked"][str(tmp_path / "mine")]["readable"] is not True


def test_a_home_that_does_not_answer_costs_no_more_than_its_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(isolated, "GRACE_S", 0.1)
    monkeypatch.setattr(facts_user, "_home", lambda _reader, _sshd: time.sleep(60))
    started = time.monotonic()
    facts = run({"timeout": 1, "paths": [str(tmp_path)]}, capsys)["ansible_facts"]["trainmesh_facts_user"]
    assert time.monotonic() - started < 20
    assert "could not be read: no answer within" in facts["problem"]
    assert set(facts) == set(facts_user.blank("x"))
    assert facts["asked"][str(tmp_path)]["kind"] == "dir"


def test_a_limit_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    result = run({"timeout": 0}, capsys)
    assert result["failed"]
    assert "timeout" in result["msg"]


def test_the_options_are_those_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    documented.check(user_facts, monkeypatch)
