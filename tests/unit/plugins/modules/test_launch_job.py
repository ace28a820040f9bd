# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's end is told whatever it is, and nothing starts in check mode."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import launch_job
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

JOB = {"launcher": "torchrun", "run_id": "mine"}


@pytest.fixture
def prefix(tmp_path):
    """An installation whose launch script tells its words and ends with 3."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "workspace").mkdir()
    script = tmp_path / "bin/trainmesh-torchrun"
    script.write_text('#!/bin/sh\necho "$PWD: $*"\nexit 3\n')
    script.chmod(0o755)
    return tmp_path


def test_a_job_that_fails_is_an_answer_and_no_failed_module(prefix, capsys):
    answer = modules.run(launch_job, capsys, prefix=str(prefix), arguments=["train.py", "--lr", "1"], **JOB)
    assert (answer["failed"], answer["changed"], answer["rc"], answer["timed_out"]) == (False, False, 3, False)
    assert answer["log_tail"] == f"{prefix}/workspace: --run-id mine train.py --lr 1\n"
    assert answer["command"] == [f"{prefix}/bin/trainmesh-torchrun", "--run-id", "mine", "train.py", "--lr", "1"]
    assert answer["log"] == f"{prefix}/var/runs/mine/torchrun.log"


def test_check_mode_starts_nothing(prefix, capsys):
    answer = modules.run(launch_job, capsys, prefix=str(prefix), check=True, **JOB)
    assert (answer["rc"], answer["changed"]) == (None, False) and "no job was run" in answer["skip_reason"]
    assert not (prefix / "var").exists()


def test_where_nothing_is_installed_nothing_is_laid_down(tmp_path, capsys):
    answer = modules.run(launch_job, capsys, prefix=str(tmp_path), **JOB)
    assert answer["failed"] and "could not be started" in answer["msg"] and list(tmp_path.iterdir()) == []


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(launch_job, monkeypatch)
