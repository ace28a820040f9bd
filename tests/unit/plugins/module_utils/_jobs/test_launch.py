# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Behaviour of running a job and of reading its records."""

from __future__ import annotations

import json
import os
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._jobs import launch as launch_job
from ansible_collections.trainmesh.cluster.plugins.module_utils._jobs import left_runs, records


def install(prefix, script, stop="#!/bin/sh\necho stopped $* > $(dirname $0)/../stopped\n"):
    (prefix / "bin").mkdir()
    for name, text in (("trainmesh-torchrun", script), ("trainmesh-stop", stop)):
        path = prefix / "bin" / name
        path.write_text(text)
        path.chmod(0o755)


def job(prefix, launcher="torchrun", timeout=20.0, arguments=("train.py",)):
    return launch_job.Job(
        str(prefix), launcher, "run-1", list(arguments), ["--master-port", "29600"], str(prefix), timeout
    )


def test_output_goes_to_the_log_and_the_status_comes_back(tmp_path):
    install(tmp_path, '#!/bin/sh\necho "$@"; echo bad >&2; exit 3\n')
    result = launch_job.run_job(job(tmp_path))
    assert (result.rc, result.timed_out) == (3, False)
    assert result.tail == "--run-id run-1 --master-port 29600 train.py\nbad\n"
    assert result.log == f"{tmp_path}/var/runs/run-1/torchrun.log"


def test_a_job_over_its_limit_is_stopped_everywhere(tmp_path):
    install(tmp_path, "#!/bin/sh\necho begun; sleep 60\n")
    started = time.monotonic()
    result = launch_job.run_job(job(tmp_path, timeout=1.0))
    assert time.monotonic() - started < 15
    assert (result.rc, result.timed_out, result.tail) == (None, True, "begun\n")
    assert (tmp_path / "stopped").read_text() == "stopped --quiet run-1\n"


def test_a_script_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="trainmesh-torchrun"):
        launch_job.run_job(job(tmp_path))


def test_only_the_end_of_a_long_log_comes_back(tmp_path):
    (tmp_path / "log").write_text("é" * 9000 + "end")
    install(tmp_path, f"#!/bin/sh\ncat {tmp_path}/log\n")
    assert launch_job.run_job(job(tmp_path)).tail == "é" * 3997 + "end"


def test_who_was_killed_is_read_from_the_beginning_of_the_log_too(tmp_path):
    first = "node3: E1129 07:45:12 api.py:869] failed (exitcode: -9) local_rank: 0 (pid: 26) of binary: /x/python"
    (tmp_path / "log").write_text(f"{first}\n" + "node1: Traceback\n" * 9000)
    install(tmp_path, f"#!/bin/sh\ncat {tmp_path}/log; exit 1\n")
    assert launch_job.run_job(job(tmp_path)).killed == [("node3", 9)]


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        (["node2: Traceback (most recent call last):", "node2: ValueError: x"],
         ("exception", True, "node2", "ValueError: x")),
        (["a", "node2: ssh: connect to host node2 port 22: No route to host", "bye"],
         ("ssh_refused", True, "node2", "ssh: connect to host node2 port 22: No route to host")),
        (["node3: [INFO] spawned: ['/p/libexec/trainmesh-rank', 'trainmesh-run=a']",
          "node2: trainmesh-rank: node2 has no file /x/train.py: bring it to every node"],
         ("file_missing", True, "node2", "trainmesh-rank: node2 has no file /x/train.py: bring it to every node")),
        (["all is well"], None),
    ],
)  # fmt: skip
def test_what_failed_first_is_read_from_the_log(tmp_path, rows, want):
    (tmp_path / "log").write_text("\n".join(rows) + "\n")
    install(tmp_path, f"#!/bin/sh\ncat {tmp_path}/log; exit 1\n")
    found = launch_job.run_job(job(tmp_path)).first_error
    assert (found and tuple(found[key] for key in ("kind", "own", "node", "text"))) == want


def test_of_a_job_that_was_stopped_nobody_was_killed_before(tmp_path):
    line = "node3: failed (exitcode: -9) local_rank: 0 (pid: 26) of binary: /x/python"
    install(tmp_path, f"#!/bin/sh\necho '{line}'; sleep 60\n")
    assert launch_job.run_job(job(tmp_path, timeout=1.0)).killed == []


@pytest.mark.parametrize(
    ("launcher", "engine"), [("deepspeed", "deepspeed"), ("accelerate_standard", "accelerate"), ("mpirun", "ddp")]
)
def test_without_arguments_the_small_job_of_the_launcher_runs(tmp_path, launcher, engine):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/cluster.json").write_text('{"zero_stage": 3}')
    words = launch_job.command(job(tmp_path, launcher, 100.0, ()))
    assert words[words.index("--engine") + 1] == engine
    assert words[words.index("--timeout") + 1] == "50"
    assert (f"{tmp_path}/etc/deepspeed/zero3.json" in words) == (engine == "deepspeed")


def test_our_own_names_of_runs_are_those_that_are_cleaned_up():
    name = launch_job.new_run_id("accelerate_standard", time.localtime(0))
    assert records.RUN_ID.match(name) and left_runs.OWN.match(name)


def write(prefix, run, launcher, rank, text):
    directory = prefix / "var/runs" / run / launcher
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"rank-{rank}.json").write_text(text)


def test_records_come_in_order_with_the_names_of_their_place(tmp_path):
    for rank in (10, 2):
        write(tmp_path, "r", "torchrun", rank, json.dumps({"rank": rank, "launcher": "?", "ok": True}))
    write(tmp_path, "r", "torchrun", 3, "{")
    (tmp_path / "var/runs/r/torchrun.log").write_text("log")
    (tmp_path / "var/runs/r/torchrun/rank-4.json.123").write_text("half")
    found = records.read_records(str(tmp_path), ["r", "none"])
    assert [(item["launcher"], item["rank"]) for item in found] == [("torchrun", 2), ("torchrun", 3), ("torchrun", 10)]
    assert "rank-3.json" in found[1]["error"]


def test_a_name_that_leaves_the_directory_is_refused(tmp_path):
    for name in ("../x", "a/b", "", ".hidden"):
        with pytest.raises(ValueError, match="letters"):
            records.read_records(str(tmp_path), [name])


def test_only_our_own_oldest_runs_are_removed(tmp_path):
    names = [f"check-20260101-00000{number}-torchrun" for number in range(4)]
    for age, name in enumerate([*names, "mine"]):
        write(tmp_path, name, "torchrun", 0, "{}")
        os.utime(tmp_path / "var/runs" / name, (1000 + age, 1000 + age))
    old = records.old_runs(str(tmp_path), 1, [names[0]])
    assert [os.path.basename(path) for path in old] == [names[2], names[1]]
    records.remove(old)
    assert sorted(os.listdir(tmp_path / "var/runs")) == [names[0], names[3], "mine"]


def test_what_torchrun_leaves_of_ended_checks_is_removed(tmp_path, begun):
    ended, living = "check-20260101-000001-collective", f"check-20260101-000002-torchrun{os.getpid()}"
    for name in (ended, living, "mine"):
        (tmp_path / "var/runs" / name / "tmp/torchelastic_x/none_y").mkdir(parents=True)
    (tmp_path / "var/runs" / ended / "torchrun.log").touch()
    with begun(["sleep", "60"], env={"PATH": os.environ["PATH"], "TRAINMESH_RUN_ID": living}) as process:
        records.remove(records.torchruns_own(str(tmp_path)))
        process.kill()
    assert os.listdir(tmp_path / "var/runs" / ended) == ["torchrun.log"]
    assert (tmp_path / "var/runs" / living / "tmp").is_dir(), "it still runs"
    assert (tmp_path / "var/runs/mine/tmp").is_dir(), "it is the user's"
