# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.threads import WORKERS, in_threads


def test_an_exception_is_the_result_of_its_job():
    found = in_threads({"good": lambda: 1, "bad": lambda: int("x")}, 30)
    assert found["good"] == 1 and isinstance(found["bad"], ValueError)


def test_a_job_that_never_ends_is_missing_and_the_others_are_there():
    release = threading.Event()
    found = in_threads({"stuck": release.wait, "good": lambda: 1}, 2)
    release.set()
    assert found == {"good": 1}


def test_more_jobs_than_threads_are_all_done():
    jobs = {str(number): lambda number=number: number for number in range(3 * WORKERS)}
    assert in_threads(jobs, 30) == {str(number): number for number in range(3 * WORKERS)}


def test_no_more_threads_run_than_are_allowed():
    names = in_threads({str(number): threading.get_ident for number in range(20)}, 30, workers=1)
    assert len(names) == 20 and len(set(names.values())) == 1


def test_no_jobs_cost_no_time():
    assert in_threads({}, 0) == {}
