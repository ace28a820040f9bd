# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time on one inventory, with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import run_lock

NOW = 1_700_000_000.0
TEMPORARY = "/nonexistent"  # no run of these keeps anything there


@pytest.fixture
def other(begun):
    """A process that stands for the other ansible-playbook."""
    with begun(["sleep", "60"]) as process:
        yield process
        process.kill()


def run_of(pid, **changes):
    return run_lock.own(NOW, "ansible-playbook site.yml", pid)._replace(**changes)


def test_a_living_run_keeps_the_others_out_and_is_named(tmp_path, other):
    path = str(tmp_path / "state" / "run.json")
    theirs, mine = run_of(other.pid), run_of(os.getpid())
    assert run_lock.take(path, theirs, TEMPORARY) is False
    with pytest.raises(run_lock.BusyError) as caught:
        run_lock.take(path, mine, TEMPORARY)
    said = str(caught.value)
    assert f"another run on this inventory: pid {other.pid} on {theirs.host} (ansible-playbook site.yml) since " in said
    assert f"wait for it, or stop it (kill -INT {other.pid})" in said
    assert run_lock.take(path, theirs, TEMPORARY) is False, "a second check in the same run"


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_run_leaves_nothing_in_the_way(tmp_path, other, reaped):
    path = str(tmp_path / "run.json")
    run_lock.take(path, run_of(other.pid), TEMPORARY)
    other.kill()
    if reaped:
        other.wait()
    else:  # a zombie: its parent has not asked for it yet
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert run_lock.take(path, run_of(os.getpid()), TEMPORARY) is True, "what it left on the nodes is to be looked for"
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["pid"] == os.getpid()


def test_what_a_killed_run_kept_on_the_controller_goes(tmp_path, other):
    state, temporary = tmp_path / "state", tmp_path / "tmp"
    run_lock.take(str(state / "run.json"), run_of(other.pid), str(temporary))
    own = temporary / f"ansible-local-{other.pid}abcd_123"
    others = [f"ansible-local-{other.pid}0abcd_123", f"ansible-local-{other.pid}", "ansible-local-1abcd_123"]
    for name in (own.name, *others):
        (temporary / name / "ansiballz_cache").mkdir(parents=True)
    (state / ".trainmesh-abcd_123").write_text("half a file")
    for name in (".trainmesh-files.json", "cluster.json"):
        (state / name).touch()
    other.kill()
    other.wait()
    run_lock.take(str(state / "run.json"), run_of(os.getpid()), str(temporary))
    assert sorted(path.name for path in temporary.iterdir()) == sorted(others)
    assert sorted(path.name for path in state.iterdir()) == [".trainmesh-files.json", "cluster.json", "run.json"]


@pytest.mark.parametrize("change", [{"started": "1"}, {"host": "elsewhere", "since": 0.0}, {"pid": "*"}])
def test_a_directory_that_may_be_another_process_s_stays(tmp_path, other, change):
    theirs = run_of(other.pid)._replace(**change)
    (tmp_path / "run.json").write_text(json.dumps(theirs._asdict()))
    kept = tmp_path / f"ansible-local-{other.pid}abcd_123"
    kept.mkdir()
    assert run_lock.take(str(tmp_path / "run.json"), run_of(os.getpid()), str(tmp_path)) is True
    assert kept.exists()


def test_a_pid_that_is_used_again_is_another_process(tmp_path, other):
    path = str(tmp_path / "run.json")
    run_lock.take(path, run_of(other.pid, started="1"), TEMPORARY)
    assert run_lock.holder(path, run_of(os.getpid())) is None


@pytest.mark.parametrize(("age", "held"), [(60, True), (run_lock.ELSEWHERE_S + 1, False), (-60, False)])
def test_of_a_run_on_another_controller_only_the_age_tells(tmp_path, age, held):
    path = str(tmp_path / "run.json")
    run_lock.take(path, run_of(os.getpid(), host="elsewhere"), TEMPORARY)
    found = run_lock.holder(path, run_of(os.getpid(), since=NOW + age))
    assert bool(found) is held
    if found:
        assert f"remove {path}" in run_lock.words(found, path, run_of(os.getpid()))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "started": "", "host": "h", "since": 0}'])
def test_a_damaged_file_holds_nobody(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    run_lock.take(str(path), run_of(os.getpid()), TEMPORARY)


def test_only_the_owner_gives_it_back(tmp_path, other):
    path = tmp_path / "run.json"
    theirs = run_of(other.pid)
    run_lock.take(str(path), theirs, TEMPORARY)
    run_lock.release(str(path), run_of(os.getpid()))
    assert path.exists()
    run_lock.release(str(path), theirs)
    assert not path.exists()
    run_lock.release(str(path), theirs)


def test_an_action_plugins_run_is_its_parent():
    mine = run_lock.own(time.time())
    assert (mine.pid, mine.started) == (os.getppid(), run_lock.started(os.getppid()))


# A run that is killed before its worker asks whose run this is.
ASKS = """
import multiprocessing, os, time
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import run_lock
main = os.getpid()
def work():
    print("begun", flush=True)
    while os.getppid() == main:
        time.sleep(0.01)
    print(run_lock.own(0).pid, flush=True)
multiprocessing.get_context("fork").Process(target=work).start()
time.sleep(60)
"""


def test_a_worker_whose_run_was_killed_takes_nothing_in_the_name_of_process_1():
    with subprocess.Popen([sys.executable, "-c", ASKS], stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout.readline() == "begun\n"
        main.kill()
        assert int(main.stdout.readline()) == main.pid


# A run whose worker outlives it: the worker is a fork and looks as its parent does.
FORKS = "import os, time; pid = os.fork(); pid and print(pid, flush=True); time.sleep(60)"


def test_a_worker_that_outlives_its_killed_run_is_ended(tmp_path):
    path = str(tmp_path / "run.json")
    with subprocess.Popen([sys.executable, "-c", FORKS], stdout=subprocess.PIPE, text=True) as main:
        worker = int(main.stdout.readline())
        left, mine = run_of(main.pid), run_of(os.getpid())
        run_lock.take(path, left, TEMPORARY)
        main.kill()
        main.wait()
        assert run_lock.orphans(left, mine) == [worker]
        assert run_lock.take(path, mine, TEMPORARY) is True
    deadline = time.monotonic() + 5
    while run_lock.started(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run_lock.started(worker) is None


def test_the_same_command_in_another_terminal_is_no_worker_of_a_killed_run(begun):
    """Another inventory by the environment, or a second one that is about to ask for the lock."""
    with begun(["sleep", "61"]) as main:
        left = run_of(main.pid)
        main.kill()
    with begun(["sleep", "61"]) as another:
        later, found = run_lock._is_later(another.pid, left), run_lock.orphans(left, run_of(os.getppid()))
        another.kill()
    assert (later, found) == (True, [])


def test_where_equal_commands_can_not_be_told_apart_nobody_is_ended(monkeypatch, other):
    monkeypatch.setattr(run_lock, "_is_random", lambda: False)
    assert run_lock.command(other.pid) == ""


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"command": ""}, {"command": "0" * 64}, {"started": "x"}])
def test_processes_that_only_look_alike_are_left_alone(other, change):
    assert run_lock.orphans(run_of(other.pid)._replace(**change), run_of(os.getpid())) == []


def test_the_same_command_begun_before_the_run_is_none_of_its_workers(other):
    left = run_of(other.pid)._replace(pid=1, started=str(int(run_lock.started(other.pid)) + 1))
    assert run_lock.orphans(left, run_of(os.getpid())) == []
