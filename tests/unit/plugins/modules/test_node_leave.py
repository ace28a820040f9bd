# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node leaves when no job of the cluster runs on it."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.trainmesh.cluster.plugins.modules import node_leave
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented


@pytest.fixture(name="run")
def run_fixture(tmp_path, monkeypatch, capsys):
    prefix, cache = tmp_path / "trainmesh", tmp_path / "cache"
    (prefix / "env").mkdir(parents=True)
    cache.mkdir()
    monkeypatch.setattr(node_leave, "CACHE", str(cache))
    monkeypatch.setattr(node_leave.sshd, "DROP_IN", str(tmp_path / "50-trainmesh.conf"))
    jobs = []
    monkeypatch.setattr(node_leave, "processes", lambda *_words: jobs)

    def run(**more):
        with patch_module_args({"prefix": str(prefix), **more}), pytest.raises(SystemExit):
            node_leave.main()
        return json.loads(capsys.readouterr().out)

    run.prefix, run.cache, run.jobs, run.drop_in = prefix, cache, jobs, tmp_path / "50-trainmesh.conf"
    return run


def test_all_goes_and_then_there_is_nothing_to_do(run):
    assert run(_ansible_check_mode=True)["changed"] is True and run.prefix.exists()
    result = run()
    assert result["removed"] == [f"{run.prefix}/env", str(run.prefix), str(run.cache)]
    assert not run.prefix.exists() and not run.cache.exists()
    assert run()["changed"] is False


def test_while_a_job_runs_nothing_goes(run):
    run.jobs += [
        {"pid": 7, "user": "joe", "command": "python train.py", "ours": True},
        {"pid": 8, "user": "ann", "command": "python other.py", "ours": False},
    ]
    result = run()
    assert result["failed"] and "7 of joe" in result["msg"] and "ann" not in result["msg"]
    assert "trainmesh-stop --all" in result["msg"] and run.prefix.exists()
    run.jobs.pop(0)
    assert run()["changed"] is True  # somebody else's training is not ours


def test_the_ports_of_sshd_stay_and_that_is_told(run, monkeypatch):
    warned = []
    monkeypatch.setattr(node_leave.AnsibleModule, "warn", lambda _self, text: warned.append(text))
    run.drop_in.write_text("Port 22\nPort 2222\n")
    run()
    assert str(run.drop_in) in warned[0] and run.drop_in.exists()


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(node_leave, monkeypatch)
