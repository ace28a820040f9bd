# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Behaviour of the launch scripts, with stand-ins for the launchers, for pdsh and for Python."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Node

FILES = pathlib.Path(__file__).parents[3] / "roles/launch_config/files"
NASTY = ["two words", "$HOME `x`", "it's", "%n", "*", "", "--master-port", "ünï\nnewline"]


@pytest.fixture
def prefix(install):
    """An installation of one node whose interpreter and launchers print what they were given."""
    return install(Node("node1", 0, "10.0.0.11", 22, 2, "eth7", "node1", "node1")).root


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)


def call(prefix, *words, **options):
    return subprocess.run(
        [str(word) for word in words],
        cwd=prefix / "workspace",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **options,
    )


def shown(result):
    assert result.returncode == 0, result.stderr
    return json.loads(re.sub(r"\A(?:node1: )?\[rank\d+\]: ", "", result.stdout))


def rank_of(prefix, launcher_argv, **variables):
    """What the user's script gets when a launcher runs the rank wrapper as it was told."""
    start = next(at for at, word in enumerate(launcher_argv) if word.endswith("libexec/trainmesh-rank"))
    wrapper, *rest = launcher_argv[start:]
    return shown(call(prefix, wrapper, *rest, env={"PATH": "/usr/bin:/bin", "NCCL_SOCKET_IFNAME": "x", **variables}))


@pytest.mark.parametrize("launcher", ["deepspeed", "accelerate", "accelerate-standard", "torchrun"])
def test_arguments_directory_and_variables_reach_the_script_unharmed(prefix, launcher):
    words = ["--env", "FOO=a b$c;%h", "train.py", *NASTY]
    options = ["--node-only"] if launcher in ("torchrun", "accelerate-standard") else []
    launched = shown(call(prefix, prefix / f"bin/trainmesh-{launcher}", *options, *words))
    got = rank_of(prefix, launched["argv"], RANK="0", LD_LIBRARY_PATH="/usr/local/cuda")
    assert got["argv"] == ["-u", f"{prefix}/workspace/train.py", *NASTY]
    assert got["cwd"] == f"{prefix}/workspace"
    env = got["env"]
    assert (env["FOO"], env["FROM_PLAYBOOK"], env["GLOO_SOCKET_IFNAME"]) == ("a b$c;%h", "a b", "eth7")
    assert env["TRAINMESH_LAUNCHER"] == launcher.replace("-", "_")
    assert env["PYTHONPATH"] == f"{prefix}/workspace:{prefix}/share/cpu"
    assert "LD_LIBRARY_PATH" not in env


def test_the_launcher_sees_nothing_of_the_callers_shell(prefix):
    env = {"PATH": "/usr/bin:/bin", "NCCL_DEBUG": "INFO", "HF_TOKEN": "secret", "HOME": "/home/u"}
    launched = shown(call(prefix, prefix / "bin/trainmesh-deepspeed", "train.py", env=env))
    assert not {"NCCL_DEBUG", "HF_TOKEN", "GLOO_SOCKET_IFNAME"} & set(launched["env"])
    assert launched["env"]["DS_ENV_FILE"] == f"{prefix}/etc/deepspeed_env"
    assert launched["argv"][:6] == [
        *("--hostfile", f"{prefix}/etc/hostfile"),
        *("--master_addr", "10.0.0.11", "--master_port", "29500"),
    ]


def test_accelerates_environment_file_is_new_for_every_run_and_gone_after_it(prefix):
    launched = shown(call(prefix, prefix / "bin/trainmesh-accelerate", "--run-id", "r1", "train.py"))
    assert launched["env"]["DS_ENV_FILE"] == f"{prefix}/var/runs/r1/deepspeed_env"
    assert sorted(path.name for path in (prefix / "var/runs/r1").iterdir()) == ["log", "run.json"]


def test_deepspeeds_local_rank_comes_first_among_the_scripts_arguments(prefix):
    launched = shown(call(prefix, prefix / "bin/trainmesh-deepspeed", "train.py", "--lr", "1"))["argv"]
    launched.insert(launched.index(f"{prefix}/libexec/trainmesh-rank") + 1, "--local_rank=1")
    assert rank_of(prefix, launched)["argv"][2:] == ["--local_rank=1", "--lr", "1"]


def test_open_mpis_ranks_become_torchs(prefix):
    launched = shown(call(prefix, prefix / "bin/trainmesh-torchrun", "--node-only", "-m", "pkg.train"))["argv"]
    mpi = {"RANK": "5", "SIZE": "8", "LOCAL_RANK": "1", "LOCAL_SIZE": "2"}
    got = rank_of(
        prefix, launched, MASTER_PORT="29600", **{f"OMPI_COMM_WORLD_{key}": value for key, value in mpi.items()}
    )
    assert got["argv"] == ["-u", "-m", "pkg.train"]
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert [got["env"][name] for name in names] == ["5", "8", "1", "2", "10.0.0.11", "29600"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which script"),
        (["missing.py"], "there is no file missing.py"),
        (["--master-port", "22", "train.py"], "from 1024"),
        (["--master-port", "x", "train.py"], "from 1024"),
        (["--env", "A B=1", "train.py"], "KEY=VALUE"),
        (["--run-id", "../x", "train.py"], "letters, digits"),
        (["--epochs", "3", "train.py"], "unknown option --epochs"),
    ],
)
def test_wrong_calls_are_explained_in_one_line(prefix, words, message):
    result = call(prefix, prefix / "bin/trainmesh-torchrun", *words)
    assert result.returncode == 64
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_sshds_port_is_refused_for_the_rendezvous(prefix):
    path = prefix / "etc/cluster.env"
    path.write_text(path.read_text().replace("SSH_PORTS=22", "SSH_PORTS=22,2222"))
    assert "sshd's" in call(prefix, prefix / "bin/trainmesh-torchrun", "--master-port", "2222", "train.py").stderr


def test_other_nodes_than_the_head_name_the_head(prefix):
    path = prefix / "etc/node.env"
    path.write_text(path.read_text().replace("NODE_RANK=0", "NODE_RANK=1"))
    result = call(prefix, prefix / "bin/trainmesh-deepspeed", "train.py")
    assert (result.returncode, "start it on the head, node1" in result.stderr) == (64, True)


def in_a_star(prefix, rank):
    """Make the installation that of a node of a star."""
    for file, old, new in (("cluster", "TOPOLOGY=mesh", "TOPOLOGY=head"), ("node", "NODE_RANK=0", f"NODE_RANK={rank}")):
        path = prefix / f"etc/{file}.env"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("launcher", ["deepspeed", "accelerate", "accelerate-standard", "torchrun", "mpirun"])
def test_on_a_worker_of_a_star_each_launcher_names_the_head(prefix, launcher):
    in_a_star(prefix, 1)
    result = call(prefix, prefix / f"bin/trainmesh-{launcher}", "train.py")
    assert (result.returncode, len(result.stderr.splitlines())) == (64, 1)
    assert "start it on the head, node1" in result.stderr


@pytest.mark.parametrize("star", [True, False])
def test_in_a_star_the_head_alone_starts_open_mpis_daemons(prefix, star):
    if star:
        in_a_star(prefix, 0)
    argv = shown(call(prefix, prefix / "bin/trainmesh-mpirun", "train.py"))["argv"]
    options = [argv[at + 1 : at + 3] for at, word in enumerate(argv) if word == "--mca"]
    assert (["plm_rsh_no_tree_spawn", "1"] in options) is star
    assert ["plm_rsh_args", "-oBatchMode=yes -oConnectTimeout=10"] in options


@pytest.mark.parametrize(("topology", "rank", "asks"), [("mesh", 1, True), ("head", 0, True), ("head", 1, False)])
def test_a_run_is_stopped_from_where_somebody_logs_in(prefix, tmp_path, topology, rank, asks):
    shutil.copy(FILES / "bin/trainmesh-stop", prefix / "bin/trainmesh-stop")
    in_a_star(prefix, rank)
    path = prefix / "etc/cluster.env"
    path.write_text(path.read_text().replace("TOPOLOGY=head", f"TOPOLOGY={topology}"))
    (prefix / "etc/hosts").write_text("node1\nnode2\n")
    executable(tmp_path / "pdsh", '#!/bin/sh\necho "$@"\n')
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    result = call(prefix, prefix / "bin/trainmesh-stop", "no-such-run", env=env)
    assert (result.returncode, "bin/trainmesh-stop --here" in result.stdout) == ((0, True) if asks else (64, False))
    one = result.stderr.splitlines()
    assert one == [] if asks else len(one) == 1 and "only the head, node1, logs in" in one[0] and "--here" in one[0]
    assert call(prefix, prefix / "bin/trainmesh-stop", "--here", "no-such-run", env=env).returncode == 0
    if asks:
        (prefix / "etc/hosts").unlink()
        alone = call(prefix, prefix / "bin/trainmesh-stop", "no-such-run", env=env)
        assert (alone.returncode, "only this node is stopped" in alone.stderr) == (66, True)


def test_a_failure_stops_the_run_on_every_node(prefix):
    executable(prefix / "env/bin/deepspeed", "#!/bin/sh\nexit 7\n")
    result = call(prefix, prefix / "bin/trainmesh-deepspeed", "--run-id", "r1", "train.py")
    assert result.returncode == 7
    assert (prefix / "stopped").read_text() == "--quiet r1\n"


def test_a_missing_directory_on_a_node_is_named(prefix):
    launched = shown(call(prefix, prefix / "bin/trainmesh-deepspeed", "train.py"))["argv"]
    (prefix / "workspace/train.py").unlink()
    wrapper = launched[launched.index(f"{prefix}/libexec/trainmesh-rank") :]
    assert "node1 has no file" in call(prefix, *wrapper, env={"PATH": "/usr/bin:/bin"}).stderr


def test_the_pdsh_stand_in_ends_soon_after_a_node_failed(prefix, tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    line = "pdsh@head: node2: ssh exited with exit code 3"
    executable(real / "pdsh", f'#!/bin/bash\necho "{line}" >&2\nexec sleep 25\n')
    path = f"{prefix}/libexec/path:{real}:/usr/bin:/bin"
    result = call(prefix, prefix / "libexec/path/pdsh", "-w", "x", env={"PATH": path})
    assert result.returncode == 1
    assert line in result.stderr


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 9", 9), ("kill -KILL $$", 137)])
def test_the_pdsh_stand_in_passes_the_status_on(prefix, tmp_path, script, status):
    real = tmp_path / "real"
    real.mkdir()
    executable(real / "pdsh", f"#!/bin/bash\n{script}\n")
    path = f"{prefix}/libexec/path:{real}:/usr/bin:/bin"
    assert call(prefix, prefix / "libexec/path/pdsh", env={"PATH": path}).returncode == status


def test_the_pdsh_stand_in_ends_with_the_leader_of_the_run(prefix, tmp_path, begun):
    real = tmp_path / "real"
    real.mkdir()
    # as pdsh does, which leaves its connections when a signal ends it
    executable(
        real / "pdsh", f"#!/bin/bash\nsetsid sleep 25 &\necho $! >{tmp_path}/ssh\necho $$ >{tmp_path}/pid\nwait\n"
    )
    leader = begun(["sleep", "60"])
    variables = {"PATH": f"{prefix}/libexec/path:{real}:/usr/bin:/bin", "TRAINMESH_LEADER": str(leader.pid)}
    process = begun([str(prefix / "libexec/path/pdsh")], env=variables)
    end = time.monotonic() + 20
    while not (tmp_path / "pid").exists() and time.monotonic() < end:
        time.sleep(0.05)
    leader.kill()
    leader.wait()
    assert process.wait(20) == 143
    for name in ("pid", "ssh"):
        status = pathlib.Path("/proc", (tmp_path / name).read_text().strip(), "status")
        while status.exists() and "\tZ (" not in status.read_text():
            assert time.monotonic() < end, f"{name} is still there"
            time.sleep(0.05)


def test_stop_ends_the_processes_of_the_run_and_no_others(prefix, begun):
    shutil.copy(FILES / "bin/trainmesh-stop", prefix / "bin/trainmesh-stop")
    marked = begun(["sleep", "60"], env={"TRAINMESH_RUN_ID": "test-a", "PATH": "/usr/bin:/bin"})
    named = begun(["sh", "-c", "sleep 60; :", "trainmesh-run=test-a"])
    other = begun(["sleep", "60"], env={"TRAINMESH_RUN_ID": "test-ab", "PATH": "/usr/bin:/bin"})
    try:
        result = call(prefix, prefix / "bin/trainmesh-stop", "--here", "test-a")
        assert "stopped 2 processes" in result.stdout
        assert (marked.wait(5), named.wait(5)) == (-15, -15)
        assert other.poll() is None
    finally:
        for process in (marked, named, other):
            process.kill()
            process.wait()


@pytest.mark.parametrize(("run", "own"), [("check-20260102-030405-torchrun", True), ("mine", False)])
def test_torchruns_own_files_of_a_check_go_with_its_records(prefix, run, own):
    launched = shown(call(prefix, prefix / "bin/trainmesh-torchrun", "--node-only", "--run-id", run, "train.py"))
    place = f"{prefix}/var/runs/{run}/tmp"
    assert launched["env"].get("TMPDIR") == (place if own else None)
    assert os.path.isdir(place) is own


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes directories of other users")
@pytest.mark.parametrize("script", ["trainmesh-torchrun", "trainmesh-deepspeed", "trainmesh-stop"])
def test_another_than_the_job_user_is_refused(prefix, script):
    shutil.copy(FILES / "bin/trainmesh-stop", prefix / "bin")
    words = ["--here", "nothing-runs"] if script == "trainmesh-stop" else ["--dry-run", "train.py"]
    (prefix / "var").mkdir(exist_ok=True)
    assert call(prefix, prefix / "bin" / script, *words).returncode == 0
    shutil.chown(prefix / "var", "nobody")
    refused = call(prefix, prefix / "bin" / script, *words)
    assert refused.returncode == 64 and "those of nobody: run it as that user" in refused.stderr


@pytest.mark.parametrize("name", ["pip", "pip3"])
@pytest.mark.parametrize(
    ("words", "alone"), [(["install", "x"], True), (["-q", "uninstall", "x"], True), (["list"], False)]
)
def test_pip_says_that_the_other_nodes_lack_what_it_installs(prefix, name, words, alone):
    done = call(prefix, prefix / "libexec/path" / name, *words)
    assert shown(done)["argv"] == ["-m", "pip", *words]
    assert ("trainmesh_extra_packages" in done.stderr) is alone


def test_a_pip_that_failed_says_nothing_more(prefix):
    executable(prefix / "env/bin/python", "#!/bin/sh\nexit 3\n")
    done = call(prefix, prefix / "libexec/path/pip", "install", "x")
    assert (done.returncode, done.stderr) == (3, "")
