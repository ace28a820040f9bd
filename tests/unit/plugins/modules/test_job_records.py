# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of runs are read, and our own old runs removed."""

from __future__ import annotations

import json
import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import job_records
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

NOW, OLD, OLDEST, USERS = (f"check-20260103-00000{n}-torchrun" for n in (3, 2, 1, "x"))


@pytest.fixture
def runs(tmp_path):
    """Three runs of our own, the newest first, and one that has another name."""
    place = tmp_path / "var/runs"
    for age, name in enumerate((NOW, OLD, OLDEST, USERS)):
        (place / name / "torchrun").mkdir(parents=True)
        (place / name / "torchrun/rank-0.json").write_text(json.dumps({"loss": 0.5, "rank": 7}))
        os.utime(place / name, (1000 - age, 1000 - age))
    return place


def names(runs):
    return {path.name for path in runs.iterdir()}


def test_a_record_is_that_of_the_place_where_it_lies(runs, tmp_path, capsys):
    answer = modules.run(job_records, capsys, prefix=str(tmp_path), runs=[NOW], keep=-1)
    assert answer["records"] == [{"loss": 0.5, "rank": 0, "launcher": "torchrun", "run_id": NOW}]
    assert (answer["changed"], names(runs)) == (False, {NOW, OLD, OLDEST, USERS}), "-1 keeps all"


def test_old_runs_of_our_own_go_and_those_asked_for_stay(runs, tmp_path, capsys):
    modules.run(job_records, capsys, prefix=str(tmp_path), runs=[OLDEST], keep=1)
    assert names(runs) == {NOW, OLDEST, USERS}


def test_check_mode_removes_nothing(runs, tmp_path, capsys):
    answer = modules.run(job_records, capsys, prefix=str(tmp_path), runs=[NOW], keep=0, check=True)
    assert len(answer["records"]) == 1 and names(runs) == {NOW, OLD, OLDEST, USERS}


def test_a_name_that_leads_elsewhere_is_refused(runs, tmp_path, capsys):
    answer = modules.run(job_records, capsys, prefix=str(tmp_path), runs=["../../etc"], keep=0)
    assert answer["failed"] and "../../etc" in answer["msg"] and names(runs) == {NOW, OLD, OLDEST, USERS}


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(job_records, monkeypatch)
