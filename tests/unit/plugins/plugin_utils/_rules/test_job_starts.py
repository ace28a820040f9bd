# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of jobs whose ranks were not started, or ended by what is around them: containers, Slurm, Ray, environments.

The lines are made after the formats of Docker, enroot and pyxis, Apptainer, Slurm, Ray, conda, bash and ssh.
"""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import REGISTRY, Case, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import job_logs

PLAN = {
    "order": ["node1", "node2"],
    "world_size": 4,
    "nodes": {
        f"node{at}": {"name": f"node{at}", "address": f"10.0.0.1{at}", "hostname": f"gpu{at}", "slots": 2}
        for at in (1, 2)
    },
}
TRAINS = "{'loss': 1.5, 'grad_norm': 0.3}\n" * 6


def findings(text: str, host: str = "node1") -> list[Finding]:
    """What the log of a node says."""
    return told({host: {"/job/job.log": text}})


def told(files: t.Mapping[str, t.Mapping[str, str]]) -> list[Finding]:
    """What logs say: texts by node and path."""
    user = {
        host: {"files": [{"kind": "job_log", "path": path, "text": text} for path, text in texts.items()]}
        for host, texts in files.items()
    }
    given = Case(plan=PLAN, user=user)
    ours = [rule for rule in REGISTRY if rule.judge.__module__ == job_logs.__name__]
    found = engine.merged((answer for rule in ours for answer in rule.judge(given)), given.order)
    return [answer for answer in found if isinstance(answer, Finding)]


def traceback(error: str, frame: str = "/job/train.py", tag: str = "") -> str:
    rows = ["Traceback (most recent call last):", f'  File "{frame}", line 7, in main', "    x()", *error.split("\n")]
    return "".join(f"{tag}{row}\n" for row in rows)


DOCKER = "docker: Error response from daemon: "
PYXIS = "1: slurmstepd: error: pyxis:"


@pytest.mark.parametrize(
    ("text", "rule", "hosts", "words"),
    [
        (f'{DOCKER}could not select device driver "" with capabilities: [[gpu]].\n', "gpu-none-usable", "node1",
         "nvidia-container-toolkit"),
        (f"{DOCKER}failed to create task for container: OCI runtime create failed: error running hook #0: stderr: Auto-"
         "detected mode as 'legacy'\nnvidia-container-cli: initialization error: nvml error: driver/library version "
         "mismatch: unknown.\n", "gpu-none-usable", "node1", "reboot"),
        (f"{DOCKER}no space left on device.\n", "disk-full", "node1", "df -h"),
        (f"{DOCKER}failed to create task: exec: \"x\": cannot run\n", "job-failed", "node1", "by hand"),
        (f"{DOCKER}pull access denied for trainer, repository does not "
         f"exist\n", "path-differs", "node1", "docker save"),
        ("permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock\n",
         "path-not-permitted", "node1", "docker USER"),
        (f"{PYXIS} container start failed with error code: 1\n{PYXIS}     [ERROR] Could not mount /data: No such "
         f"file or "
         f"directory\n{PYXIS} couldn't start container\nsrun: error: gpu2: task 1: Exited with exit code 1\n",
         "path-differs", "node2", ""),
        ("slurmstepd-gpu2: error: pyxis: couldn't start container\nsrun: error: gpu2: task 1: Exited with exit code "
         "1\n",
         "job-failed", "node2", "by hand"),
        ("srun: error: Task launch for StepId=9.0 failed on node gpu2: Invalid job credential\n", "job-failed", "node2",
         "munge"),
        ("srun: error: Unable to create step for job 9: More processors requested than permitted\n", "job-failed",
         "node1", "sbatch"),
        ("slurmstepd: error: couldn't chdir to `/job': No such file or directory: going to /tmp instead\npython: can't "
         "open file '/tmp/train.py': [Errno 2] No such file or directory\nsrun: error: gpu2: task 1: Exited with exit "
         "code 2\n", "path-differs", "node2", "--chdir"),
        ("slurmstepd: error: execve(): torchrun: No such file or directory\nsrun: error: gpu2: task 1: Exited with "
         "exit "
         "code 2\n", "path-differs", "node2", "full path"),
        ("/usr/bin/torchrun: cannot execute binary file: Exec format error\n", "ver-package-mismatch", "node1",
         "uname -m"),
        ("(raylet, ip=10.0.0.12) [2026-11-29 07:45:12,123 E 11 11] (raylet) node_manager.cc:3069: 1 Workers (tasks / "
         "actors) killed due to memory pressure (OOM), 0 Workers crashed due to other reasons at node (ID: 12ab, IP: "
         "10.0.0.12) over the last time period.\n", "mem-host-oom", "node2", ""),
        ("[2026-11-29 07:45:12,123 C 11 11] (raylet) main.cc:330: Failed to connect to GCS at address 10.0.0.11:6379 "
         "within 60 seconds.\n", "rdzv-connect-failed", "node1", "ray status"),
        (traceback("ray.exceptions.RuntimeEnvSetupError: Failed to set up runtime environment."), "job-failed", "node1",
         "runtime_env_setup"),
        (traceback("OSError: AF_UNIX path length cannot exceed 107 bytes: "
         "'/scratch/x'"), "job-failed", "node1", "TMPDIR"),
        (traceback("OSError: [Errno 37] No locks available"), "job-failed", "node1", "HF_HOME"),
        (traceback("ImportError: libGL.so.1: cannot open shared object file: No such file or directory"),
         "ver-package-mismatch", "node1", "apt-file"),
        ("double free or corruption (!prev)\n/job/run.sh: line 12:  4711 Aborted                 (core dumped) python "
         "train.py\n", "job-rank-killed", "node1", "pip check"),
        ("/job/run.sh: line 12:  4711 Floating point exception(core dumped) python train.py\n", "job-rank-killed",
         "node1", "journalctl"),
    ],
)  # fmt: skip
def test_what_is_around_the_ranks(text, rule, hosts, words):
    (found,) = findings(text)
    assert (found.rule, found.severity) == (rule, "fail")
    assert found.hosts == (hosts,) and words in found.remedy


@pytest.mark.parametrize(
    ("before", "failure"),
    [
        ("/job/run.sh: line 4: conda: command not found", "/job/run.sh: line 9: torchrun: command not found\n"),
        ("/job/run.sh: line 4: module: command not found", traceback("ModuleNotFoundError: No module named 'torch'")),
        ("/job/run.sh: line 3: /e/bin/activate: No such file or directory", traceback("ImportError: No module named "
         "x")),
        ("EnvironmentNameNotFound: Could not find conda environment: train",
         traceback("ImportError: cannot import name 'x' from 'y'")),
        ("CondaError: Run 'conda init' before 'conda activate'", traceback("ModuleNotFoundError: No module named 'x'")),
    ],
)  # fmt: skip
def test_an_environment_that_was_not_put_into_use_explains_what_is_missing(before, failure):
    (found,) = findings(f"{before}\n{failure}")
    assert found.rule == "env-not-activated" and before in found.evidence["node1"]
    assert findings(f"{before}\n{TRAINS}") == []
    (found,) = findings(f"{before}\n" + traceback("MemoryError"))
    assert found.rule == "mem-host-oom"  # it explains nothing else


@pytest.mark.parametrize(
    "error", ["RuntimeError: Error building extension 'fused_adam'", "RuntimeError: Unable to JIT load"]
)
def test_a_compiler_that_does_not_know_the_gpu_explains_a_build_that_failed(error):
    (found,) = findings("nvcc fatal   : Unsupported gpu architecture 'compute_120'\n" + traceback(error))
    assert found.rule == "ver-nvcc-torch-mismatch" and "compute_120" in found.evidence["node1"]


@pytest.mark.parametrize(
    ("frame", "error", "rule", "words"),
    [
        ("/e/lib/python3.12/site-packages/huggingface_hub/file_download.py", "httpx.ConnectError: [Errno -2] Name or "
         "service not known", "model-only-on-launch-node", ""),
        ("/e/lib/python3.12/site-packages/modelscope/hub/api.py", "requests.exceptions.ConnectTimeout: timed out",
         "model-only-on-launch-node", ""),
        ("/e/lib/python3.12/site-packages/wandb/sdk/wandb_init.py", "wandb.errors.errors.CommError: Run initialization "
         "has timed out after 90.0 sec.", "job-failed", "asked by wandb"),
        ("/e/lib/python3.12/site-packages/boto3/x.py", "botocore.exceptions.EndpointConnectionError: Could not connect",
         "job-failed", "asked by boto3"),
        ("/job/train.py", "httpx.ProxyError: 403 Forbidden", "job-failed", "403"),
        ("/job/train.py", "ConnectionError: The vLLM server can't be reached at http://10.0.0.12:8000 after 120.0 "
         "seconds",
         "job-failed", "10.0.0.12"),
    ],
)  # fmt: skip
def test_who_asks_a_server_of_the_web(frame, error, rule, words):
    (found,) = findings(traceback(error, frame))
    assert (found.rule, found.hosts) == (rule, ("node1",))
    assert words in found.evidence["node1"]
    assert rule != "job-failed" or "curl" in found.remedy


@pytest.mark.parametrize(
    "line",
    ["client_loop: send disconnect: Broken pipe", "Timeout, server gpu2 not responding.\r",
     "Connection to gpu2 closed by remote host.\r"],
)  # fmt: skip
def test_a_connection_of_ssh_that_broke_while_the_job_ran(line):
    log = f"gpu2: {{'loss': 1.5}}\n{line}\npdsh@gpu1: gpu2: ssh exited with exit code 255\n"
    (found,) = findings(log)
    assert (found.rule, found.hosts) == ("job-session-closed", ()) and "ServerAliveInterval" in found.remedy
    log = traceback("[rank3]: torch.OutOfMemoryError: CUDA out of memory.", tag="gpu2: ") + log
    assert [each.rule for each in findings(log)] == ["mem-gpu-oom"]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("/job/run.sh: line 12:  4711 Terminated              torchrun train.py", "job-stopped"),
        ("/job/run.sh: line 12:  4711 User defined signal 1   python train.py", "job-stopped"),
        ("/job/run.sh: line 12:  4711 CPU time limit exceeded (core dumped) python train.py", "process-limit"),
    ],
)
def test_signals_that_shells_tell(line, rule):
    assert [found.rule for found in findings(f"{{'loss': 1.5}}\n{line}\n")] == [rule]


PACKAGE = "/e/lib/python3.11/site-packages/accelerate/x.py"


@pytest.mark.parametrize(
    ("text", "rule", "hosts"),
    [
        ("[gpu2:19546:0:19546] ib_mlx5_log.c:139  Transport retry count exceeded on mlx5_0:1/IB (synd "
         "0x15)\n[gpu2:19546:0:"
         "19546] Caught signal 6 (Aborted: tkill(2) or tgkill(2))\n", "ib-retry-exceeded", ()),
        ("[gpu2:04711] *** Process received signal ***\n[gpu2:04711] Signal: Segmentation fault (11)\n",
         "job-rank-killed", ("node2",)),
        ("Abort(1091215) on node 9 (rank 9 in comm 0): Fatal error in PMPI_Init_thread: Other MPI "
         "error\n", "job-failed",
         ("node1",)),
        ('time="x" level=info msg="Pod: kubeflow.gpu2 exited with code 137" job=kubeflow.x\n', "job-rank-killed",
         ("node2",)),
        ("{'loss': 1.5}\ncommand terminated with exit code 137\n", "job-rank-killed", ("node1",)),
        ("Message: The node was low on resource: memory. Container pytorch was using "
         "100Gi\n", "mem-host-oom", ("node1",)),
        ("{'loss': 1}\n[rank: 3] Child process with PID 9 terminated with code 1. Forcefully terminating all other "
         "processes\nKilled\n", "job-failed", ("node1",)),
        ('  "message": {\n    "message": "RendezvousConnectionError: The connection to the C10d store has failed.",\n',
         "rdzv-connect-failed", ()),
        ("[x][__main__][ERROR] - Error executing job with overrides: ['a=1']\n", "job-failed", ("node1",)),
        (traceback("TypeError: fully_shard() got an unexpected keyword argument 'x'", PACKAGE), "ver-package-mismatch",
         ("node1",)),
        (traceback("AttributeError: 'LlamaConfig' object has no attribute 'x'", PACKAGE), "ver-package-mismatch",
         ("node1",)),
        (traceback("TypeError: f() got an unexpected keyword argument 'x'"), "job-failed", ("node1",)),
        (traceback("AttributeError: 'NoneType' object has no attribute 'x'", PACKAGE), "job-failed", ("node1",)),
        (traceback("torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:\nRuntimeError: Failed to "
         "find C "
                   "compiler. Please specify via CC environment variable"), "build-op-failed", ("node1",)),
        ("/tmp/x/main.c:5:10: fatal error: Python.h: No such file or directory\n"
         + traceback("subprocess.CalledProcessError: Command '['/usr/bin/gcc']' returned non-zero exit status 1."),
         "build-op-failed", ("node1",)),
        (traceback("RuntimeError: DataLoader timed out after 300 seconds"), "job-failed", ("node1",)),
    ],
)  # fmt: skip
def test_how_others_tell_of_an_end(text, rule, hosts):
    (found,) = findings(text)
    assert (found.rule, found.hosts) == (rule, hosts)


def test_a_file_that_has_the_lines_of_several_nodes_names_none_by_itself():
    rows = ["Traceback (most recent call last):", '  File "/t.py", line 3, in f']
    log = "".join(f"[rank{rank}]: {row}\n" for row in rows for rank in (1, 3))
    log += "[rank3]: torch.OutOfMemoryError: CUDA out of memory.\n[rank1]: RuntimeError: Connection closed by peer\n"
    assert [(one.rule, one.hosts) for one in findings(log)] == [("mem-gpu-oom", ("node2",))]
    (found,) = findings(log.replace("[rank3]: torch.Out", "torch.Out"))  # nobody says whose line it is
    assert (found.rule, found.hosts) == ("mem-gpu-oom", ())


SHARED = "RuntimeError: unable to open shared memory object </torch_26_1> in read-write mode: "


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        ("OSError: [Errno 28] inotify watch limit reached", "job-failed"),
        ("OSError: [Errno 24] inotify instance limit reached", "job-failed"),
        (SHARED + "Too many open files (24)", "fd-limit"),
        (SHARED + "Cannot allocate memory (12)", "mem-host-oom"),
        (SHARED + "Permission denied (13)", "path-not-permitted"),
        (SHARED + "No space left on device (28)", "shm-too-small"),
        ("ValueError: Free memory on device (10.2/79.1 GiB) on startup is less than desired GPU memory",
         "mem-gpu-oom"),
    ],
)  # fmt: skip
def test_what_a_number_of_an_error_means_depends_on_who_asked(error, rule):
    assert [found.rule for found in findings(traceback(error))] == [rule]


@pytest.mark.parametrize("tag", ["[1,mpirank:3,gpu2]<stderr>:", "(worker1, rank=1, pid=8, ip=10.0.0.12) [rank3]: "])
def test_tags_of_services_name_the_rank_and_the_node(tag):
    (found,) = findings(traceback("MemoryError", tag=tag))
    assert (found.rule, found.hosts) == ("mem-host-oom", ("node2",)) and "rank 3" in found.evidence["node2"]


def test_files_that_a_number_tells_apart_are_the_logs_of_one_job():
    lost, killed = traceback("RuntimeError: NCCL communicator was aborted on rank 0."), traceback("MemoryError")
    files = {"node1": {"/job/log.0": lost}, "node2": {"/job/log.1": killed}}
    assert [one.rule for one in told(files)] == ["mem-host-oom"]
    apart = {"node1": {"/job/log.4711": lost}, "node2": {"/job/log.4712": killed}}
    assert len(told(apart)) == 2
    turned = {"node1": {"/job/log.0": lost, "/job/log.1": killed}}  # of one node: an older one
    assert len(told(turned)) == 2


HEALTHY = {
    "a container that is not there yet": "Error response from daemon: No such container: train\n" + TRAINS,
    "a library that is loaded before others": "ERROR: ld.so: object '/usr/lib/libtcmalloc.so.4' from LD_PRELOAD "
    "cannot be"
    " preloaded (cannot open shared object file): ignored.\nLoading checkpoint shards: 100%|##| 4/4 [00:01<00:00]\n",
    "the head of Ray itself": "2026-11-29 15:19:40,592\tWARNING utils.py:1242 -- Unable to connect to GCS at "
    "10.0.0.11:6379. Check that (1) Ray GCS with matching version started successfully\n2026-11-29 15:19:43,891\tSUCC "
    "scripts.py:758 -- Ray runtime started.\n",
    "a disk that is nearly full": "(raylet, ip=10.0.0.12) [2026-11-29 07:45:12,123 E 11 40] (raylet) file_system_"
    "monitor.cc:111: /tmp/ray/session_x is over 95% full, available space: 1.2 GB\n" + TRAINS,
    "a caught exception that a logger wrote": traceback("ValueError: bad sample", tag="ERROR [data.py:33] ") + TRAINS,
    "what Slurm says of itself": "srun: job 4711 has been allocated resources\nslurmstepd: error: TMPDIR [/s/u] is not "
    "writeable\nslurmstepd: error: Setting TMPDIR to /tmp\n" + TRAINS,
    "a monitor that the script ends": TRAINS + "{'train_runtime': 7.1}\n/job/run.sh: line 40:  4711 Terminated         "
    "     python monitor.py\n",
    "a tracker that comes late": "wandb: Network error (ConnectTimeout), entering retry loop.\n" + TRAINS,
    "numa": "set_mempolicy: Operation not permitted\n" + TRAINS,
}  # fmt: skip


@pytest.mark.parametrize("text", HEALTHY.values(), ids=list(HEALTHY))
def test_a_healthy_log_says_nothing(text):
    assert findings(text) == []
