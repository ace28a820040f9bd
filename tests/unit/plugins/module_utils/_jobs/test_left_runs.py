# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check runs that an interrupted run has left, with real processes and the real trainmesh-stop."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._jobs import launch, left_runs

ROOT = pathlib.Path(__file__).resolve().parents[5]
# Of this process alone: tests that run at the same time see each other's processes.
CHECK = f"check-20260102-030405-torchrun{os.getpid()}"


@pytest.fixture
def prefix(tmp_path):
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "roles/launch_config/files/bin/trainmesh-stop", tmp_path / "bin")
    return str(tmp_path)


@pytest.fixture
def job(begun):
    """Starts processes as launchers and ranks do, and ends them."""
    started = []

    def start(*words, **environment):
        command = [sys.executable, "-c", "import time; time.sleep(600)", *words]  # has no children
        started.append(begun(command, env={"PATH": os.environ["PATH"], **environment}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def reaped(process):
    """Whether it has ended; the test is its parent, and nobody else takes its exit status."""
    try:
        return process.wait(5) != 0
    except subprocess.TimeoutExpired:
        return False


def end(prefix, process, limit=15):
    """The end of the runs, while the test's own child is taken away as init would do it."""
    original = left_runs.living

    def living(proc="/proc"):
        process.poll()
        return {run: pids for run, pids in original(proc).items() if process.pid in pids}

    left_runs.living = living
    try:
        return left_runs.end(prefix, limit)
    finally:
        left_runs.living = original


@pytest.mark.parametrize(
    ("words", "environment"),
    [((f"trainmesh-run={CHECK}",), {}), ((), {"TRAINMESH_RUN_ID": CHECK})],
)
def test_a_check_run_that_was_left_is_ended(prefix, job, words, environment):
    process = job("x", *words, **environment)
    files = pathlib.Path(prefix, "var/runs", CHECK)
    (files / "tmp/torchelastic_x").mkdir(parents=True)
    (files / "torchrun.log").touch()
    assert process.pid in left_runs.living()[CHECK]
    assert end(prefix, process) == ([CHECK], [])
    assert reaped(process)
    assert [path.name for path in files.iterdir()] == ["torchrun.log"], "what torchrun left goes, the log stays"


@pytest.mark.parametrize(
    "run", ["20260102-030405-77", "my-check-20260102-030405-x", "check-mine", "check-20260102-030405-x.y"]
)
def test_a_job_of_a_user_is_never_meant(prefix, job, run):
    process = job("x", f"trainmesh-run={run}", "--run-id", run, TRAINMESH_RUN_ID=run)
    assert not [pids for pids in left_runs.living().values() if process.pid in pids]
    assert end(prefix, process) == ([], [])
    assert process.poll() is None


def test_a_launch_script_is_waited_for_and_told_when_it_stays(prefix, job):
    process = job("trainmesh-torchrun", "--run-id", CHECK)
    assert end(prefix, process, limit=3) == ([CHECK], [process.pid]), "it is not killed: it ends with its job"


def test_a_look_at_the_log_of_a_run_is_no_part_of_it(job):
    process = job("tail", "-f", f"/opt/trainmesh/var/runs/{CHECK}/torchrun.log")
    assert not [pids for pids in left_runs.living().values() if process.pid in pids]


def test_a_node_without_our_scripts_is_only_looked_at(tmp_path, job):
    process = job("x", f"trainmesh-run={CHECK}")
    assert end(str(tmp_path), process, limit=1) == ([CHECK], [process.pid])


def test_the_names_are_those_that_launch_job_gives():
    for launcher in launch.SCRIPTS:
        assert left_runs.OWN.match(launch.new_run_id(launcher, time.localtime()))
