# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of jobs: the root cause with its rank and node, the consequences in its evidence, nothing for healthy ones.

The lines are made after the formats of torchrun, DeepSpeed, Accelerate, Open MPI, pdsh and Slurm.
"""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import REGISTRY, Case, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import job_logs

ORDER = ["node1", "node2"]
PLAN = {
    "order": ORDER,
    "world_size": 4,
    "nodes": {
        f"node{at}": {"name": f"node{at}", "address": f"10.0.0.1{at}", "hostname": f"gpu{at}", "slots": 2}
        for at in (1, 2)
    },
}
CASES = pathlib.Path(os.environ.get("TRAINMESH_FIXTURES", "/nonexistent")).parent / "cases"


def case(files: t.Mapping[str, str | t.Mapping[str, str]], **more: t.Any) -> Case:
    """A cluster with logs: a node to its text at one path, or to texts by path."""
    user: dict[str, t.Any] = {}
    for name, given in files.items():
        texts = {"/job/job.log": given} if isinstance(given, str) else given
        user[name] = {"files": [{"kind": "job_log", "path": path, "text": text} for path, text in texts.items()]}
    for name, facts in more.items():
        user.setdefault(name, {}).update(facts)
    return Case(plan=PLAN, user=user)


def findings(given: Case) -> list[Finding]:
    ours = [rule for rule in REGISTRY if rule.judge.__module__ == job_logs.__name__]
    found = engine.merged((answer for rule in ours for answer in rule.judge(given)), given.order)
    return [answer for answer in found if isinstance(answer, Finding)]


def told(given: Case) -> list[tuple[str, tuple[str, ...], str]]:
    return [(finding.rule, finding.hosts, finding.severity) for finding in findings(given)]


def traceback(error: str, tag: str = "") -> str:
    rows = ["Traceback (most recent call last):", '  File "/job/train.py", line 7, in <module>', "    main()", error]
    return "".join(f"{tag}{row}\n" for row in rows)


def agent(code: int, local: int = 0, tag: str = "", stamp: str = "E1129 07:45:12.345000") -> str:
    place = "torch/distributed/elastic/multiprocessing/api.py:869]"
    return f"{tag}{stamp} 2606 {place} failed (exitcode: {code}) local_rank: {local} (pid: 26) of binary: /x/python\n"


def table(rank: int, local: int, code: int, host: str, tag: str = "", when: str = "2026-11-29_07:45:12") -> str:
    words = f"Signal {-code} received by PID 26" if code < 0 else "To enable traceback see: https://pytorch.org/x.html"
    rows = [
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:",
        "=" * 60,
        "train.py FAILED",
        "-" * 60,
        "Failures:",
        "  <NO_OTHER_FAILURES>",
        "-" * 60,
        "Root Cause (first observed failure):",
        "[0]:",
        f"  time      : {when}",
        f"  host      : {host}",
        f"  rank      : {rank} (local_rank: {local})",
        f"  exitcode  : {code} (pid: 26)",
        "  error_file: <N/A>",
        f"  traceback : {words}",
        "=" * 60,
    ]
    return "".join(f"{tag}{row}\n" for row in rows)


def watchdog(rank: int, number: int = 9, what: str = "ALLREDUCE", numel: int = 64, tag: str = "") -> str:
    work = f"WorkNCCL(SeqNum={number}, OpType={what}, NumelIn={numel}, NumelOut={numel}, Timeout(ms)=600000)"
    return (
        f"{tag}[rank{rank}]:[E1129 07:55:12.1 ProcessGroupNCCL.cpp:607] [Rank {rank}] Watchdog caught "
        f"collective operation "
        f"timeout: {work} ran for 600060 milliseconds before timing out.\n"
        f"{tag}[rank{rank}]:[E1129 07:55:12.2 ProcessGroupNCCL.cpp:1664] [PG 0 Rank {rank}] Exception (either "
        f"an error or "
        f"timeout) detected by watchdog at work: {number}, last enqueued NCCL work: {number}, last completed "
        f"NCCL work: "
        f"{number - 1}.\n"
    )


def deepspeed(tag: str, code: int) -> str:
    info, error = (
        f"{tag}[2026-11-29 07:45:12,345] [{level}] [launch.py:32:sigkill_handler]" for level in ("INFO", "ERROR")
    )
    return f"{info} Killing subprocess 4711\n{error} ['/x/python', '-u', 'train.py'] exits with return code = {code}\n"


OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 79 GiB"
LOST = (
    "torch.distributed.DistBackendError: NCCL error in: ../ProcessGroupNCCL.cpp:1970, remote process exited or there "
)
LOST += "was a network error, NCCL version 2.21.5\nncclRemoteError: A call failed possibly due to a network error"


@pytest.mark.parametrize(
    ("tag", "hosts"),
    [
        ("2026-11-29T07:45:12.000Z gpu2 ", ("node2",)),
        ("2026-11-29T07:45:12.123456789+01:00 ", ("node2",)),
        ("[pod/gpu2/pytorch] ", ("node2",)),
        ("Nov 29 07:45:12 gpu2 torchrun[4711]: ", ("node2",)),
        ("worker-1  | ", ("node2",)),  # by its rank
    ],
)
def test_what_collects_logs_puts_something_before_each_line(tag: str, hosts: tuple[str, ...]) -> None:
    text = traceback("[rank3]: step 7", tag) + traceback(f"[rank3]: {OOM}", tag)
    assert told(case({"node2": text})) == [("mem-gpu-oom", hosts, "fail")]


def docker(text: str) -> str:
    return "".join(json.dumps({"log": f"{row}\n", "stream": "stderr"}) + "\n" for row in text.splitlines())


def before(stamp: str) -> t.Callable[[str], str]:
    return lambda text: "".join(f"{stamp}{row}\n" for row in text.splitlines())


@pytest.mark.parametrize(
    "kept",
    [
        docker,
        before("2026-11-29T07:45:12.123456789Z stderr F "),
        before("2026-11-29T07:45:12.123Z\t"),
        before("[2026-11-29 07:45:12] "),
        before("Nov 29 07:45:12 "),
        before("[07:45:12] "),
        before("gpu2\t"),
        before("gpu2: [2026-11-29 07:45:12] "),
    ],
)
@pytest.mark.parametrize(
    ("error", "rule"),
    [("ModuleNotFoundError: No module named 'peft'", "ver-python-torch-differs"), ("ValueError: x", "job-failed")],
)
def test_an_exception_behind_what_keeps_lines(kept: t.Callable[[str], str], error: str, rule: str) -> None:
    assert told(case({"node2": kept("step 1\n" + traceback(error))})) == [(rule, ("node2",), "fail")]


def test_a_training_that_goes_on_in_objects_is_not_accused() -> None:
    steps = "".join(json.dumps({"event": "train", "loss": 1.5, "step": at}) + "\n" for at in range(9))
    for error in (f"{traceback('ValueError: x')}", "run.sh: line 3: python: command not found\n"):
        assert told(case({"node2": docker(error) + steps})) == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("run.sh: line 3: torchrun: command not found", "path-differs"),
        ("sh: 1: deepspeed: not found", "path-differs"),
        ("zsh: command not found: accelerate", "path-differs"),
        ("run.sh: Zeile 3: /opt/x/torchrun: Kommando nicht gefunden.", "path-differs"),
        ("run.sh：行 3：torchrun：未找到命令", "path-differs"),
        ("bash: run.sh: No such file or directory", "path-differs"),
        ("bash: ./run.sh: Permission denied", "path-not-permitted"),
        ("bash: ./run.sh: 权限不够", "path-not-permitted"),
        ("run.sh: line 2: $'\\r': command not found", "file-unparsable"),
        ("bash: ./run.sh: /bin/bash^M: bad interpreter: No such file or directory", "file-unparsable"),
        ("/usr/bin/env: \u2018bash\\r\u2019: No such file or directory", "file-unparsable"),
        ("t.py: error: argument --port: invalid int value: '29500\\r'", "file-unparsable"),
        ("run.sh: Zeile 3:  4711 Getötet                torchrun train.py", "job-rank-killed"),
        ("run.sh: 行 3:  4711 段错误               （核心已转储） python train.py", "job-rank-killed"),
        ("OSError: [Errno 28] Auf dem Gerät ist kein Speicherplatz mehr verfügbar", "disk-full"),
        ("OSError: [Errno 98] 地址已在使用", "rdzv-errno-98"),
    ],
)
def test_what_shells_say_in_any_language(line: str, rule: str) -> None:
    assert told(case({"node2": f"starting\n{line}\n"})) == [(rule, ("node2",), "fail")]


@pytest.mark.parametrize(
    "line",
    ["setup.sh: line 9: nvidia-settings: command not found", "ls: cannot access '/x.sh': No such file or directory",
     "Got 权限不够 once", "3 of 4 Killed processes were ours", "bash: /root/.profile: Permission denied"],
)  # fmt: skip
def test_what_shells_say_of_other_things(line: str) -> None:
    assert told(case({"node2": f"{line}\nstep 1\n"})) == []


def test_who_was_out_of_memory_is_the_node_that_slurm_or_ray_names() -> None:
    slurm = (
        "1: step 7 loss 2.1\n3: slurmstepd: error: Detected 1 oom_kill event in StepId=47.0.\n"
        "srun: error: gpu2: tasks 2-3: Out Of Memory\nsrun: Terminating StepId=47.0\n"
        "slurmstepd: error: *** STEP 47.0 ON gpu1 CANCELLED AT 2026-11-29T07:45:12 ***\n"
    )
    assert told(case({"node1": slurm})) == [("mem-host-oom", ("node2",), "fail")]
    ray = (
        "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.\n"
        "Memory on the node (IP: 10.0.0.12, ID: ab) where the task (pid=12, memory used=200GB) was running was 0.95\n"
    )
    assert told(case({"node1": ray})) == [("mem-host-oom", ("node2",), "fail")]
    assert told(case({"node1": traceback(f"[rank0]: {OOM}")})) == [("mem-gpu-oom", ("node1",), "fail")]


def test_a_rank_out_of_memory_and_what_follows_from_it() -> None:
    one = watchdog(0) + watchdog(1) + agent(-6) + table(0, 0, -6, "gpu1", when="2026-11-29_07:55:20")
    two = traceback(f"[rank3]: {OOM}") + agent(1, 1) + table(3, 1, 1, "gpu2")
    found = findings(case({"node1": one, "node2": two}))
    assert [(each.rule, each.hosts) for each in found] == [("mem-gpu-oom", ("node2",))]
    said = found[0].evidence["node2"]
    assert "rank 3" in said and "/job/job.log line 4" in said and "NCCL timeouts of ranks 0, 1 on node1" in said
    assert "ended by SIGTERM or SIGABRT" in said


@pytest.mark.parametrize("tag", ["", "gpu2: ", "[1,3]<stderr>:", "[prterun-gpu1-77@1,3]<stderr>: ", "[default1]:"])
def test_tags_of_launchers(tag: str) -> None:
    log = traceback("ModuleNotFoundError: No module named 'flash_attn'", tag) + table(3, 1, 1, "gpu2", tag)
    found = findings(case({"node1": log + "gpu1: [2026-11-29 07:45:12,345] [INFO] x\n"}))
    assert [(each.rule, each.hosts) for each in found] == [("ver-python-torch-differs", ("node2",))]
    assert "rank 3" in found[0].evidence["node2"]


def test_one_file_with_both_nodes_under_pdsh() -> None:
    log = traceback("FileNotFoundError: [Errno 2] No such file or directory: '/data/model/config.json'", "gpu2: ")
    log += deepspeed("gpu2: ", 1) + "pdsh@gpu1: gpu2: ssh exited with exit code 1\n"
    log += traceback("RuntimeError: [3] is setting up NCCL communicator: Connection reset by peer", "gpu1: ")
    log += deepspeed("gpu1: ", -15)
    assert told(case({"node1": log})) == [("model-only-on-launch-node", ("node2",), "fail")]


def test_a_rank_that_the_kernel_killed_for_want_of_memory() -> None:
    log = deepspeed("gpu1: ", 1) + deepspeed("gpu2: ", -9)
    assert told(case({"node1": log})) == [("job-rank-killed", ("node2",), "fail")]
    assert told(case({"node1": log}, node2={"oom_kills": [{}]})) == [("mem-host-oom", ("node2",), "fail")]
    slurm = "srun: error: gpu2: task 3: Out Of Memory\nslurmstepd: error: Detected 1 oom_kill event in StepId=7.0.\n"
    assert told(case({"node1": slurm}))[0][0] == "mem-host-oom"


def test_ranks_that_their_launcher_killed_are_no_cause() -> None:
    log = traceback("[rank1]: ValueError: Expected more than 1 value per channel") + agent(1, 1)
    log += table(1, 1, 1, "gpu1").replace(
        "  <NO_OTHER_FAILURES>", "[1]:\n  rank : 0 (local_rank: 0)\n  exitcode : -9 (pid: 9)"
    )
    found = findings(case({"node1": log}))
    assert [(each.rule, each.hosts) for each in found] == [("job-failed", ("node1",))]
    assert "rank1" in found[0].evidence["node1"] or "rank 1" in found[0].evidence["node1"]
    assert found[0].remedy.startswith("less +4 /job/job.log")


@pytest.mark.parametrize(
    ("error", "identity"),
    [
        ("RuntimeError: DataLoader worker (pid 4711) is killed by signal: Bus error. It is possible that dataloader's "
         "workers are out of shared memory.", "shm-too-small"),
        ("RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed.", "mem-host-oom"),
        ("OSError: [Errno 28] No space left on device: '/job/out/step-9'", "disk-full"),
        ("RuntimeError: [enforce fail at inline_container.cc:659] . PytorchStreamWriter failed writing file "
         "data/9: file "
         "write failed", "disk-full"),
        ("RuntimeError: Error(s) in loading state_dict for LlamaForCausalLM:\n[rank3]: \tsize mismatch for "
         "lm_head.weight: copying a "
         "param with shape torch.Size([32000, 8]) from checkpoint", "app-shape-mismatch"),
        ("RuntimeError: CUDA error: device-side assert triggered", "app-shape-mismatch"),
        ("IndexError: index out of range in self", "app-shape-mismatch"),
        ("RuntimeError: The server socket has failed to listen on any local network address. The server socket "
         "has failed "
         "to bind to [::]:29500 (errno: 98 - Address already in use).", "rdzv-errno-98"),
        ("ConnectionError: Tried to launch distributed communication on port `29500`, but another process is "
         "utilizing it.",
         "rdzv-errno-98"),
        ("socket.gaierror: [Errno -2] Name or service not known", "name-hosts-typo"),
        ("PermissionError: [Errno 13] Permission denied: '/data/cache'", "path-not-permitted"),
        ("SyntaxError: invalid syntax", "ver-python-torch-differs"),
        ("RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", "drv-too-old"),
        ("RuntimeError: No CUDA GPUs are available", "gpu-none-usable"),
        ("AssertionError: Torch not compiled with CUDA enabled", "ver-wheel-index-wrong"),
        ("RuntimeError: Error building extension 'fused_adam'", "build-op-failed"),
        ("RuntimeError: Ninja is required to load C++ extensions", "build-ninja-missing"),
        ("RuntimeError: CUDA error: invalid device ordinal", "hostfile-slots-exceed-gpus"),
        ("OSError: /data/llama is not a local folder and is not a valid model identifier listed on 'https://huggingface.co'",
         "model-only-on-launch-node"),
        ("OSError: We couldn't connect to 'https://huggingface.co' to load the files", "model-only-on-launch-node"),
        ("RuntimeError: can't start new thread", "job-failed"),
        ("ImportError: cannot import name 'x' from 'transformers' (/x/__init__.py)", "ver-package-mismatch"),
        ("ValueError: unsupported pickle protocol: 5", "ver-python-torch-differs"),
        ("safetensors_rust.SafetensorError: Error: HeaderTooLarge", "model-only-on-launch-node"),
        ("_pickle.UnpicklingError: invalid load key, 'v'.", "model-only-on-launch-node"),
        ("ValueError: Cuda is not available.", "gpu-none-usable"),
        ("ValueError: Some specified arguments are not used by the HfArgumentParser: ['--x']", "app-arguments"),
        ("RuntimeError: CUDA error: out of memory", "mem-gpu-oom"),
        ("RuntimeError: DataLoader worker (pid(s) 7, 8) exited unexpectedly", "job-failed"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "job-failed"),
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", "gpu-ecc"),
        ("RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable", "gpu-compute-mode"),
        ("ImportError: /x/flash_attn_2_cuda.so: undefined symbol: _ZN3c10", "ver-package-mismatch"),
        ("RuntimeError: DDP expects same model across all ranks, but Rank 3 has 2 params, while rank 0 has "
         "inconsistent 3 "
         "params.", "code-out-of-sync"),
        ("KeyError: Caught KeyError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
         '  File "x.py", line 3, in f\nKeyError: \'text\'', "job-failed"),
    ],
)  # fmt: skip
def test_what_one_rank_raises(error: str, identity: str) -> None:
    two = traceback("[rank3]: " + error) + agent(1, 1) + table(3, 1, 1, "gpu2")
    one = traceback(LOST) + agent(1) + table(0, 0, 1, "gpu1", when="2026-11-29_07:45:14")
    found = findings(case({"node1": one, "node2": two}))
    assert [(each.rule, each.hosts, each.severity) for each in found] == [(identity, ("node2",), "fail")]
    assert "rank 3" in found[0].evidence["node2"]


def test_arguments_that_the_script_does_not_know() -> None:
    log = "usage: train.py [-h] [--epochs EPOCHS]\ntrain.py: error: unrecognized arguments: --local-rank=0\n" + agent(2)
    found = findings(case({"node1": log}))
    assert [(each.rule, each.hosts) for each in found] == [("app-arguments", ("node1",))]
    assert "--local-rank=0" in found[0].evidence["node1"]


def test_what_all_nodes_lack_is_no_difference_between_them() -> None:
    log = traceback("ModuleNotFoundError: No module named 'peft'", "gpu1: ")
    assert told(case({"node1": log})) == [("ver-python-torch-differs", ("node1",), "fail")]
    log += traceback("ModuleNotFoundError: No module named 'peft'", "gpu2: ")
    found = findings(case({"node1": log}))
    assert [(each.rule, each.hosts) for each in found] == [("job-failed", ("node1", "node2"))]
    assert found[0].cause.startswith("On every node alike")


def test_crashes_by_signals() -> None:
    assert told(case({"node2": agent(-11, 1) + table(3, 1, -11, "gpu2")})) == [("job-rank-killed", ("node2",), "fail")]
    assert told(case({"node2": agent(-7, 1)})) == [("shm-too-small", ("node2",), "fail")]
    assert told(case({"node2": "run.sh: line 3:  4711 Segmentation fault      (core dumped) python train.py\n"})) == [
        ("job-rank-killed", ("node2",), "fail")
    ]
    assert told(case({"node2": "run.sh: line 3:  4711 Killed                  torchrun train.py\n"})) == [
        ("job-rank-killed", ("node2",), "fail")
    ]


def test_other_ways_to_tell_a_signal() -> None:
    for line in (
        "subprocess.CalledProcessError: Command '['/x/python', 'train.py']' died with <Signals.SIGKILL: 9>.",
        "torch.multiprocessing.spawn.ProcessExitedException: process 1 terminated with signal SIGKILL",
        "=   PID 4711 RUNNING AT gpu2\n=   EXIT CODE: 9",
        "mpirun noticed that process rank 3 with PID 4711 on node gpu2 exited on signal 9 (Killed).",
    ):
        assert told(case({"node2": line + "\n"})) == [("job-rank-killed", ("node2",), "fail")], line


def test_an_exception_that_was_caught_long_before_another_end() -> None:
    log = traceback(OOM) + "step 9 loss: 1.5\n" * 9 + traceback("KeyError: 'text'") + agent(1)
    assert "KeyError" in findings(case({"node1": log}))[0].evidence["node1"]


def test_a_training_that_was_stopped_by_hand_is_not_accused() -> None:
    warned = (
        "[W1129 07:45:12 socket.cpp:601] [c10d] The client socket has failed to connect to [gpu1]:29500 (errno: 111 - "
    )
    log = (
        warned
        + "Connection refused).\n{'loss': 1.5, 'epoch': 1}\nTraceback (most recent call last):\nKeyboardInterrupt\n"
    )
    assert told(case({"node1": log})) == [("job-stopped", ("node1",), "info")]
    bars = "".join(f"\r {at}%|#   | {at}/100 [00:01<00:03, 1.0it/s]" for at in range(9))
    log = warned + f"Connection refused).\n{bars}\nTraceback (most recent call last):\nKeyboardInterrupt\n"
    assert told(case({"node1": log})) == [("job-stopped", ("node1",), "info")]
    log = warned + "Connection refused).\nTraceback (most recent call last):\nKeyboardInterrupt\n"
    assert told(case({"node2": log})) == [("rdzv-errno-111", ("node1",), "fail")]


@pytest.mark.parametrize("tag", ["stderr: gpu2: ", "(Worker pid=77, ip=10.0.0.12) ", "\x1b[31mgpu2: \x1b[0m"])
def test_other_wrappings_of_lines(tag: str) -> None:
    log = "stdout: gpu1: Num processes: 4\n" + traceback("ModuleNotFoundError: No module named 'peft'", tag)
    assert told(case({"node1": log})) == [("ver-python-torch-differs", ("node2",), "fail")]


def test_a_process_that_was_spawned() -> None:
    log = "torch.multiprocessing.spawn.ProcessRaisedException: \n\n-- Process 1 terminated with the following error:\n"
    found = findings(case({"node2": log + traceback("FileNotFoundError: [Errno 2] No such file: '/data/x.bin'")}))
    assert [(each.rule, each.hosts) for each in found] == [("model-only-on-launch-node", ("node2",))]


def test_the_first_in_time_is_the_cause_between_logs() -> None:
    def log(error: str, rank: int, host: str, when: str) -> str:
        return traceback(error) + table(rank, 0, 1, host, when=when)

    one = log("ValueError: batch is empty", 0, "gpu1", "2026-11-29_08:00:01")
    two = log("ZeroDivisionError: division by zero", 2, "gpu2", "2026-11-29_07:59:58")
    found = findings(case({"node1": one, "node2": two}))
    assert [(each.rule, each.hosts) for each in found] == [("job-failed", ("node2",))]
    assert "ZeroDivisionError" in found[0].evidence["node2"]


def test_the_session_was_closed() -> None:
    log = (
        "  1%|          | 11/750 [05:05<5:36:58, 27.36s/it]W0828 22:53:47.001000 13982 "
        "torch/distributed/elastic/agent/server/"
    )
    log += "api.py:688] Received {} death signal, shutting down workers\n"
    for words in ("Signals.SIGHUP", "1"):
        one = (
            log.format(words)
            + "torch.distributed.elastic.multiprocessing.api.SignalException: Process 7 got signal: 1\n"
        )
        two = watchdog(2) + watchdog(3) + agent(-6)
        found = findings(case({"node1": one, "node2": two}))
        assert [(each.rule, each.hosts) for each in found] == [("job-session-closed", ("node1",))]
        assert "NCCL timeouts of ranks 2, 3 on node2" in found[0].evidence["node1"]
    stopped = findings(case({"node1": log.format("Signals.SIGTERM")}))
    assert [(each.rule, each.severity) for each in stopped] == [("job-stopped", "info")]


def elastic(run: str, endpoint: str = "10.0.0.11:29400") -> str:
    rows = [
        "Starting elastic_operator with launch configs:",
        f"  run_id           : {run}",
        f"  rdzv_endpoint    : {endpoint}",
    ]
    return "\n".join(rows) + "\ntorch.distributed.elastic.rendezvous.api.RendezvousTimeoutError\n"


def test_two_rendezvous_instead_of_one() -> None:
    assert told(case({"node1": elastic("71"), "node2": elastic("93")})) == [("rdzv-id-differs", ORDER_T, "fail")]
    one_place = {"/l/job-gpu1.log": elastic("71"), "/l/job-gpu2.log": elastic("93")}
    assert told(case({"node1": one_place})) == [("rdzv-id-differs", ORDER_T, "fail")]
    assert told(case({"node1": elastic("71"), "node2": elastic("71")})) == [("rdzv-store-barrier", (), "fail")]
    assert told(case({"node1": elastic("71")})) == [("rdzv-store-barrier", (), "fail")]


ORDER_T = ("node1", "node2")


def test_two_nodes_with_the_same_node_rank() -> None:
    def log(rank: int) -> str:
        told = f"Multi-node training enabled: num nodes: 2, node rank: {rank}"
        return f"{told}\ntorch.distributed.DistStoreError: Socket Timeout\n"

    assert told(case({"node1": log(0), "node2": log(0) + "\n"})) == [("node-rank-duplicate", ("node2",), "fail")]
    assert told(case({"node1": log(0), "node2": log(1)})) == [("rdzv-store-barrier", (), "fail")]
    alone = "[INFO] Initializing 2 distributed tasks at: 10.0.0.11:29500\n" + log(0).replace(
        "torch", "[W1 c10d] waitForInput: poll for socket SocketImpl(fd=6, addr=[::ffff:10.0.0.12]:5, "
        "remote=[::ffff:10.0.0.11]:29500) returned 0, likely a timeout\ntorch"
    )  # fmt: skip
    assert told(case({"node2": alone})) == [("node-rank-duplicate", ("node2",), "fail")]


def test_a_lock_that_a_killed_build_has_left() -> None:
    using = "Using /home/u/.cache/torch_extensions/py311_cu121 as PyTorch extensions root...\n"
    log = (
        f"gpu2: {using}gpu1: {using}gpu1: Loading extension module fused_adam...\ngpu1: Time to load "
        f"fused_adam op: 0.1 s\n"
    )
    found = findings(case({"node1": log}))
    assert [(each.rule, each.hosts, each.severity) for each in found] == [("build-lock-stale", ("node2",), "warn")]
    assert "rm -f /home/u/.cache/torch_extensions/py311_cu121/fused_adam/lock" in found[0].remedy
    assert told(case({"node1": log + "gpu2: Building extension module fused_adam...\n"})) == []
    assert told(case({"node1": log + "gpu2: Loading extension module fused_adam...\n"})) == []
    stack = '  File "/x/torch/utils/file_baton.py", line 42, in wait\n    time.sleep(self.wait)\nKeyboardInterrupt\n'
    assert told(case({"node2": stack})) == [("build-lock-stale", ("node2",), "fail")]


def test_other_locks_and_waits_that_somebody_ended() -> None:
    lock = "/home/u/.cache/huggingface/hub/.locks/models--x/9.lock"
    log = f"Still waiting to acquire lock on {lock} (elapsed: 60.2 seconds)\n"
    found = findings(case({"node2": log}))
    assert [(each.rule, each.hosts, each.severity) for each in found] == [("build-lock-stale", ("node2",), "warn")]
    assert found[0].remedy.startswith(f"fuser -v {lock}")
    assert told(case({"node2": log + "Downloading shards: done\n"})) == []
    using = "Using /home/u/.cache/torch_extensions/py311_cu121 as PyTorch extensions root...\n"
    assert told(case({"node2": using})) == [], "it may have begun a moment ago"
    ended = using + "^CTraceback (most recent call last):\nKeyboardInterrupt\n"
    assert told(case({"node2": ended})) == [("build-lock-stale", ("node2",), "warn")]


def test_nodes_that_train_alone_have_the_same_number() -> None:
    log = "[2026-11-29 0{}:00:00,000] [INFO] [launch.py:165:main] nnodes=1, num_local_procs=2, node_rank=0\n"
    texts = {"node1": log.format(1), "node2": log.format(2)}
    assert told(case(texts)) == []
    wait = "torch.distributed.DistStoreError: Timed out after 1801 seconds waiting for clients. 1/2 clients joined.\n"
    twice = {name: text.replace("nnodes=1", "nnodes=2") + wait for name, text in texts.items()}
    assert told(case(twice)) == [("node-rank-duplicate", ("node2",), "fail")]
    tagged = "".join(f"gpu{at}: {text}" for at, text in enumerate(twice.values(), 1))
    assert told(case({"node1": tagged})) == [("node-rank-duplicate", ("node2",), "fail")]


def test_hangups_of_shells_and_mpirun() -> None:
    for line in (
        "run.sh: line 9:  4711 Hangup                  torchrun train.py",
        "mpirun noticed that process rank 3 with PID 4711 on node gpu2 exited on signal 1 (Hangup).",
        "[2026-11-29 07:45:12,345] [ERROR] [launch.py:325:sigkill_handler] ['x'] exits with return code = -1",
    ):
        assert told(case({"node2": line + "\n"})) == [("job-session-closed", ("node2",), "fail")], line


def test_a_tag_of_mpirun_names_no_node_and_the_plan_does_where_the_sizes_agree() -> None:
    log = traceback("KeyError: 'x'", "[1,2]<stderr>:")
    assert told(case({"node1": log})) == [("job-failed", (), "fail")]
    assert told(case({"node1": log + "[1,3]<stdout>:hello\n"})) == [("job-failed", ("node2",), "fail")]


def test_a_scheduler_that_ends_the_rest_and_one_whose_time_is_up() -> None:
    over = "slurmstepd: error: *** STEP 7.0 ON gpu1 CANCELLED AT 2026-11-29T07:45:12{} ***\n"
    log = "srun: error: gpu2: task 1: Exited with exit code 1\n" + over.format("")
    assert told(case({"node1": log})) == [("job-failed", ("node2",), "fail")]
    assert told(case({"node1": over.format(" DUE TO TIME LIMIT")})) == [("job-stopped", ("node1",), "info")]


def test_ranks_that_wait_while_another_has_finished() -> None:
    log = watchdog(0) + watchdog(1) + watchdog(2) + "{'train_runtime': 7.1}\n"
    assert told(case({"node1": log})) == [("nccl-watchdog-timeout", (), "fail")]


def test_what_torch_quotes_of_nccl_accuses_the_peer() -> None:
    rows = [
        "torch.distributed.DistBackendError: NCCL error in: x.cpp:1970, unhandled system error",
        "ncclSystemError: x",
    ]
    rows += ["Last error:", "socketStartConnect: Connect to 10.0.0.12<43215> failed : No route to host"]
    found = findings(case({"node1": "".join(f"[rank0]: {row}\n" for row in rows) + agent(1)}))
    assert [(each.rule, each.hosts) for each in found] == [("nccl-system-error-first-collective", ("node2",))]
    assert "No route to host" in found[0].evidence["node2"]


def test_a_warning_before_the_training_is_not_taken_for_its_end() -> None:
    log = "ERROR: could not load, [Errno 2] No such file or directory: '/x'\n{'loss': 1.0}\n" + agent(1)
    assert told(case({"node1": log})) == [("job-failed", ("node1",), "fail")]


def test_gloo_that_does_not_say_whom_it_called() -> None:
    log = traceback("RuntimeError: Gloo connectFullMesh failed with [../gloo/transport/tcp/pair.cc:144] no error")
    assert told(case({"node1": log})) == [("gloo-ifname-unset", (), "fail")]


def test_timeouts_that_show_who_did_something_else() -> None:
    log = watchdog(0) + watchdog(1) + watchdog(2) + watchdog(3, what="BROADCAST")
    found = findings(case({"node1": log}))
    assert [each.rule for each in found] == ["nccl-collective-mismatch"]
    assert "rank 3: BROADCAST of 64" in str(found[0].evidence)
    behind = watchdog(0) + watchdog(1) + watchdog(2) + watchdog(3, number=7)
    found = findings(case({"node1": behind}))
    assert [each.rule for each in found] == ["nccl-watchdog-timeout"]
    assert "rank 3 came as far as collective 7" in str(found[0].evidence)


@pytest.mark.parametrize(
    ("words", "identity", "hosts"),
    [
        ("(errno: 113 - No route to host)", "rdzv-errno-113", ("node1",)),
        ("(errno: 111 - Connection refused)", "rdzv-errno-111", ("node1",)),
        ("(errno: 110 - Connection timed out)", "rdzv-errno-110", ("node1",)),
    ],
)
def test_a_rendezvous_that_cannot_be_reached(words: str, identity: str, hosts: tuple[str, ...]) -> None:
    warned = (
        f"[W1129 07:45:12 socket.cpp:601] [c10d] The client socket has failed to connect to [gpu1]:29500 {words}.\n"
    )
    error = (
        "torch.distributed.elastic.rendezvous.api.RendezvousConnectionError: The connection to the C10d store failed."
    )
    log = warned * 3 + traceback(error)
    found = findings(case({"node2": log}))
    assert [(each.rule, each.hosts, each.severity) for each in found] == [(identity, hosts, "fail")]
    assert told(case({"node2": warned * 3 + "{'loss': 1.5, 'epoch': 1}\n{'train_runtime': 9}\n"})) == []


SOCKET = "[rank2]: torch.distributed.DistNetworkError: The client socket has "


@pytest.mark.parametrize(
    ("warned", "error", "want"),
    [
        ("", "timed out after 60000ms while trying to connect to (gpu1, 29500).",
         ("rdzv-errno-110", ("node1",), "fail")),
        ("[W1129 07:45:12 socket.cpp:601] [c10d] The client socket has failed to connect to [gpu1]:29500 (errno: 113 - "
         "No route to host).\n", "timed out after 600s while trying to connect to (gpu1, 29500).",
         ("rdzv-errno-113", ("node1",), "fail")),
        ("[W1129 07:45:12 socket.cpp:601] [c10d] The IPv6 network addresses of (gpu9, 29500) cannot be retrieved (gai "
         "error: -2 - Name or service not known).\n", "timed out after 600s while trying to connect to (gpu9, 29500).",
         ("name-hosts-typo", ("node2",), "fail")),
        ("", "failed to connect to any network address of (127.0.0.1, 29500). The client socket failed to connect to "
         "127.0.0.1:29500 (errno: 111 - Connection refused).", ("master-addr-malformed", ("node2",), "fail")),
    ],
)  # fmt: skip
def test_a_master_that_does_not_answer(warned: str, error: str, want: tuple[str, tuple[str, ...], str]) -> None:
    assert told(case({"node2": warned * 3 + traceback(SOCKET + error)})) == [want]


def test_gloo_that_connects_to_the_loopback_address() -> None:
    error = (
        "RuntimeError: Gloo connectFullMesh failed with [../gloo/transport/tcp/pair.cc:144] no error, "
        "remote=[127.0.1.1]:4242"
    )
    assert told(case({"node1": traceback("[rank0]: " + error)})) == [("name-loopback-127-0-1-1", ("node2",), "fail")]


def test_ssh_and_pdsh_that_start_no_rank() -> None:
    log = "gpu2: Permission denied (publickey,password).\npdsh@gpu1: gpu2: ssh exited with exit code 255\n"
    assert told(case({"node1": log})) == [("ssh-key-missing-pair", ("node2",), "fail")]
    log = (
        "gpu2: ssh: connect to host gpu2 port 22: Connection refused\npdsh@gpu1: gpu2: ssh exited with exit code 255\n"
    )
    assert told(case({"node1": log})) == [("sshd-not-listening", ("node2",), "fail")]
    log = "ssh: Could not resolve hostname slots=8: Name or service not known\n"
    assert told(case({"node1": log})) == [("hostfile-read-as-words", ("node1",), "fail")]
    log = (
        "gpu2: bash: line 1: /x/bin/python: No such file or directory\npdsh@gpu1: gpu2: ssh exited with exit code 127\n"
    )
    assert told(case({"node1": log})) == [("path-differs", ("node2",), "fail")]

    log = "trainer@gpu2: Permission denied (publickey).\n"
    assert told(case({"node1": log})) == [("ssh-key-missing-pair", ("node2",), "fail")]
    log = "gpu2: @@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@\ngpu2: Host key verification failed.\n"
    assert told(case({"node1": log})) == [("ssh-hostkey-changed", ("node1",), "fail")]


def test_nccls_own_words_in_a_job_log() -> None:
    log = "gpu2:77:99 [1] transport/net_socket.cc:72 NCCL WARN Bootstrap : no socket interface found\n"
    log += traceback("[rank3]: torch.distributed.DistBackendError: NCCL error in: x.cpp:1, unhandled system error")
    log += table(3, 1, 1, "gpu2")
    assert told(case({"node2": log})) == []
    assert of_nccl(case({"node2": log})) == [("nccl-ifname-absent-on-node", ("node2",), "fail")]


def of_nccl(given: Case) -> list[tuple[str, tuple[str, ...], str]]:
    ours = [rule for rule in REGISTRY if rule.judge.__module__.endswith(("._rules.logs", "._rules.nccl_worlds"))]
    found = engine.merged((answer for rule in ours for answer in rule.judge(given)), given.order)
    return [(each.rule, each.hosts, each.severity) for each in found if isinstance(each, Finding)]


def test_where_nccl_tells_more_its_own_rules_speak_and_nobody_else() -> None:
    line = "gpu{0}: gpu{0}:77:9{0} [0] NCCL {1}\n"
    started = "".join(line.format(at, f"INFO comm 0x1 rank {at} nranks 3 cudaDev 0 - Init START") for at in (1, 2))
    retried = line.format(2, "INFO socketPollConnect: connect returned No route to host, retrying (34/34) after sleep")
    for text in (started, started + retried, retried + watchdog(0)):
        given = case({"node1": text})
        assert told(given) == [] and len(of_nccl(given)) == 1, text
    both = case({"node1": started + retried + traceback("[rank1]: KeyError: 'x'") + agent(1)})
    assert [each[0] for each in told(both)] == ["job-failed"] and of_nccl(both) == []
    trained = case({"node1": started + "{'loss': 1.5, 'epoch': 1}\n"})
    assert told(trained) == [] and of_nccl(trained) == []
    shortened = case({"node1": started + "[trainmesh: lines 3 to 900 are left out]\nx\n"})
    assert told(shortened) == [] and of_nccl(shortened) == []


def test_whose_packages_they_are() -> None:
    library = '  File "/home/u/.local/lib/python3.10/site-packages/torch/__init__.py", line 1, in <module>'
    log = f"[stderr]{library}\n[stderr]ModuleNotFoundError: No module named 'tensorboard'\n"
    found = findings(case({"node2": log}))
    assert [(each.rule, each.hosts) for each in found] == [("ver-python-torch-differs", ("node2",))]
    assert "the packages are those of /home/u/.local/lib/python3.10" in found[0].evidence["node2"]


def test_where_nothing_says_why_nothing_is_guessed() -> None:
    found = findings(case({"node1": agent(1) + table(1, 1, 1, "gpu1")}))
    assert [(each.rule, each.hosts) for each in found] == [("job-failed", ("node1",))]
    assert "rank 1" in found[0].evidence["node1"] and "no line of the log says why" in found[0].evidence["node1"]
    found = findings(case({"node1": traceback("[rank0]: RuntimeError: Connection closed by peer [10.0.0.12]:4242")}))
    assert [(each.rule, each.hosts) for each in found] == [("job-failed", ())]


HEALTHY = {
    "nothing": "",
    "a loss that is not a number": "{'loss': nan, 'grad_norm': nan, 'epoch': 1.0}\n" * 9 + "{'train_runtime': 7.1}\n",
    "warnings": "UserWarning: No module named 'triton', some optimizations will be disabled\nwandb: Network "
    "error (ConnectionError)"
    ", entering retry loop.\n[W1129 07:45:12 socket.cpp:601] [c10d] The client socket has failed to connect to "
    "[gpu1]:29500 "
    "(errno: 111 - Connection refused).\nError: this is only a word\n{'loss': 1.5}\n",
    "an exception that was caught": traceback(OOM) + "retrying with a smaller batch\n" + "step 9 loss: 1.5\n" * 9,
    "the end of a good run": "{'train_runtime': 7.1}\n[rank1]:[W1129 07:45:12 TCPStore.cpp:125] [c10d] "
    "recvValue failed on "
    "SocketImpl(fd=6): failed to recv, got 0 bytes\n[2026-11-29 07:45:12,345] [INFO] [launch.py:347:main] "
    "Process 7 exits "
    "successfully.\n",
    "an exception that Python ignores": "{'loss': 1.5}\nException ignored in: <function Pool.__del__ at 0x7f1>\n"
    + traceback("OSError: [Errno 9] Bad file descriptor") + "{'loss': 1.5}\n",
    "a logger that fails": "--- Logging error ---\n" + traceback("ValueError: I/O operation on closed file"),
    "a package that is not needed": traceback("ModuleNotFoundError: No module named 'x'") + "{'loss': 1.5}\n" * 2,
    "a cluster that comes late": "Waiting for creating a placement group of specs for 310 seconds. specs=[]\n"
    + "step 9 loss: 1.5\n" * 5,
    "barrier keys": "Added key: store_based_barrier_key:1 to store for rank: 0\nRank 0: Completed store-based "
    "barrier for "
    "key:store_based_barrier_key:1 with 4 nodes.\n",
    "ninja": "gpu1: Detected CUDA files, patching ldflags\ngpu1: ninja: no work to do.\ngpu1: Time to load "
    "fused_adam op: 0.1 s\n",
}  # fmt: skip


@pytest.mark.parametrize("text", HEALTHY.values(), ids=list(HEALTHY))
def test_a_healthy_log_says_nothing(text: str) -> None:
    assert told(case({"node1": text, "node2": text})) == []


def test_of_two_runs_in_one_file_the_last_one_counts() -> None:
    start = (
        "W1129 0{}:00:00.000000 9 torch/distributed/run.py:792] Setting OMP_NUM_THREADS environment "
        "variable for each process\n"
    )
    first = start.format(6) + traceback(OOM) + agent(1)
    second = start.format(7) + traceback("ModuleNotFoundError: No module named 'peft'") + agent(1)
    found = findings(case({"node1": first + second}))
    assert [each.rule for each in found] == ["ver-python-torch-differs"]
    assert "the last run of /job/job.log counts, from line 7" in found[0].evidence["node1"]
    assert told(case({"node1": first + start.format(7) + "{'loss': 1.5}\n{'train_runtime': 7.1}\n"})) == []


RESTART = (
    "I1129 07:45:13.000000 7 torch/distributed/elastic/agent/server/api.py:850] [default] Worker group FAILED. 2/3 "
    "attempts left; will restart worker group\n"
)


def test_ranks_that_are_started_anew_and_then_train_have_no_failure() -> None:
    before = traceback(OOM) + agent(1) + RESTART
    assert told(case({"node1": before + "{'loss': 1.5}\n" * 9})) == []
    assert [each[0] for each in told(case({"node1": before + "{'loss': 1.5}\n"}))] == ["mem-gpu-oom"]
    again = before + "{'loss': 1.5}\n" * 9 + traceback("KeyError: 'x'") + agent(1)
    assert [each[0] for each in told(case({"node1": again}))] == ["job-failed"]


def test_what_ended_the_first_try_is_the_cause_where_the_next_does_not_train() -> None:
    late = traceback(
        "torch.distributed.DistNetworkError: The server socket has failed to listen on any address. (errno: 98)"
    )
    assert "mem-gpu-oom" in [
        each[0] for each in told(case({"node1": traceback(OOM) + agent(1) + RESTART + late + agent(1)}))
    ]


@pytest.mark.parametrize(
    ("error", "wanted", "hosts"),
    [
        ("Exception: no such mode", "job-failed", ("node1",)),
        ("Exception: Timed out waiting for tasks to start. Check the servers.", "rdzv-connect-failed", ()),
        (
            "RuntimeError: You set `--ntasks=8` in your script, which is not supported.",
            "app-world-size-hardcoded",
            None,
        ),
        ("ValueError: invalid literal for int() with base 10: '4(x2)'", "job-failed", None),
    ],
)
def test_errors_at_the_start(error: str, wanted: str, hosts: tuple[str, ...] | None) -> None:
    (found,) = findings(case({"node1": traceback(error)}))
    assert found.rule == wanted and (hosts is None or found.hosts == hosts)
    assert error in "".join(found.evidence.values())


LAUNCHER = (
    "[2026-11-29 07:45:{:02}] [INFO] [runner.py:508:main] cmd = pdsh -w gpu1,gpu2 x\n"
    "gpu2: bash: /env/bin/python: No such file or directory\npdsh@gpu1: gpu2: ssh exited with exit code 127\n"
    "gpu1: [2026-11-29 07:45:{:02}] [INFO] [launch.py:148:main] WORLD INFO DICT: {{'gpu1': [0, 1], 'gpu2': [0, 1]}}\n"
)


def test_a_node_that_starts_after_another_has_failed_begins_no_new_run() -> None:
    assert [each[:2] for each in told(case({"node1": LAUNCHER.format(1, 4)}))] == [("path-differs", ("node2",))]
    later = (
        LAUNCHER.format(1, 4) + "gpu1: {'loss': 1.5}\n" + LAUNCHER.format(30, 34).replace("/env/bin/python", "/x/y.py")
    )
    assert "/x/y.py" in findings(case({"node1": later}))[0].evidence["node2"]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("trainer@gpu2: Permission denied (publickey).\n", "ssh-key-missing-pair"),
        (
            "Error: failed to run torchrun --nnodes=2 x.py on gpu2, is localhost: False, exception: No authentication "
            "methods available\n",
            "ssh-login-failed",
        ),
        ("[INFO] [runner.py:417:main] Using IP address of  for node gpu1\n", "master-addr-malformed"),
    ],
)
def test_what_a_launcher_says_before_its_first_node_starts_counts(line: str, wanted: str) -> None:
    start = "W1129 07:45:13.000000 9 torch/run.py:792] Setting OMP_NUM_THREADS environment variable for each process\n"
    assert [each[0] for each in told(case({"node1": line + start}))] == [wanted]


@pytest.mark.parametrize("call", ["os.remove(path)", "os.rename(path, done)", "pathlib.Path(path).unlink()"])
def test_a_file_that_another_process_has_deleted_before_is_missing_nowhere(call: str) -> None:
    rows = [
        "Traceback (most recent call last):",
        '  File "/job/train.py", line 7, in <module>',
        f"    {call}",
        "    ^^^^^",
    ]
    log = "".join(f"gpu2: {row}\n" for row in [*rows, "FileNotFoundError: [Errno 2] No such file: '/data/.done'"])
    (found,) = findings(case({"node1": log + agent(1, 0, "gpu2: ")}))
    assert (found.rule, found.hosts) == ("job-failed", ("node2",)) and "deletes or renames" in found.cause
    (found,) = findings(case({"node1": log.replace(call, "open(path)") + agent(1, 0, "gpu2: ")}))
    assert found.rule == "model-only-on-launch-node"


def test_a_log_that_was_read_in_part_says_so() -> None:
    log = "a\n[trainmesh: lines 2 to 900 are left out]\n" + traceback(OOM) + agent(1)
    found = findings(case({"node1": log}))
    assert "line 904" in found[0].evidence["node1"] and "899 lines in the midst" in found[0].evidence["node1"]


def test_two_jobs_are_two_findings() -> None:
    texts = {"/a/train.log": traceback(OOM) + agent(1), "/b/eval.log": traceback("KeyError: 'x'") + agent(1)}
    assert [each[0] for each in told(case({"node1": texts}))] == ["mem-gpu-oom", "job-failed"]


WANTED = {
    "B01": ({"node2": ["job.log"]}, ("node-rank-duplicate", ("node2",), "fail")),
    "B03": ({"node1": ["job-gpu1.log"], "node2": ["job-gpu2.log"]}, ("rdzv-id-differs", ORDER_T, "fail")),
    "B16": ({"node1": ["job.log"]}, ("job-session-closed", ("node1",), "fail")),
    "B17": ({"node1": ["job.log"]}, ("build-lock-stale", ("node2",), "warn")),
}


@pytest.mark.parametrize("name", WANTED)
def test_logs_of_real_reports(name: str) -> None:
    files, wanted = WANTED[name]
    if not (CASES / name).is_dir():
        pytest.skip("no recordings here")
    texts = {node: {f"/{each}": (CASES / name / each).read_text() for each in paths} for node, paths in files.items()}
    assert told(case(texts)) == [wanted]


def test_an_exception_that_only_the_table_of_failures_has() -> None:
    rows = table(3, 1, 1, "gpu2").splitlines()
    at = next(number for number, row in enumerate(rows) if "traceback :" in row)
    inner = [
        "  traceback : Traceback (most recent call last):",
        '    File "/job/train.py", line 7, in main',
        f"  {OOM}",
        "",
    ]
    log = agent(1, 1) + "\n".join([*rows[:at], *inner, *rows[at + 1 :], ""])
    assert told(case({"node1": log})) == [("mem-gpu-oom", ("node2",), "fail")]
    assert "rank 3" in findings(case({"node1": log}))[0].evidence["node2"]


def test_an_exception_whose_name_does_not_say_so() -> None:
    log = traceback("triton.runtime.errors.OutOfResources: out of resource: shared memory") + agent(1)
    assert [(each.rule, "OutOfResources" in each.evidence["node1"]) for each in findings(case({"node1": log}))] == [
        ("job-failed", True)
    ]
    mixed = "  File \"/job/train.py\", line 7, in <module>\nLoading data: 3\n{'loss': 1.5, 'epoch': 1}\n" * 9
    assert told(case({"node1": mixed})) == []


def test_what_pydantic_refuses_is_named() -> None:
    log = traceback("pydantic_core._pydantic_core.ValidationError: 2 validation errors for DeepSpeedBF16Config")
    log += "hysteresis\n  Extra inputs are not permitted [type=extra_forbidden, input_value=2, input_type=int]\n"
    log += "    For further information visit https://errors.pydantic.dev/2.11/v/extra_forbidden\nloss_scale\n"
    found = findings(case({"node1": log + agent(1)}))
    assert [each.rule for each in found] == ["ds-unknown-key"]
    assert "hysteresis: Extra inputs are not permitted; loss_scale" in found[0].evidence["node1"]


def test_the_rank_that_the_others_wait_for_is_no_fault_of_theirs() -> None:
    error = (
        "torch.distributed.DistBackendError: [3] is setting up NCCL communicator and retrieving ncclUniqueId from [0] "
    )
    error += "via c10d key-value store by key '0', but store->get('0') got error: "
    late = traceback(f"[rank3]: {error}Socket Timeout")
    found = findings(case({"node2": late}))
    assert [(each.rule, each.hosts) for each in found] == [("rdzv-store-barrier", ())]
    assert "the one that the message names" in found[0].cause
    gone = findings(case({"node2": traceback(f"[rank3]: {error}Connection reset by peer")}))
    assert [each.rule for each in gone] == ["nccl-system-error-first-collective"]
    barrier = (
        "[rank2]: RuntimeError: Rank 2 successfully reached monitoredBarrier, but received errors while waiting for "
    )
    barrier += "send/recv from rank 0. Please check rank 0 logs for faulty rank."
    assert told(case({"node2": traceback(barrier)})) == [("rdzv-store-barrier", (), "fail")]


DRAWN = "WARNING:torch.distributed.launcher.api:config has no run_id, generated a random run_id: "


def test_a_run_id_that_torchrun_draws_itself() -> None:
    end = traceback("torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError")
    assert told(case({"node1": f"{DRAWN}304504\n{end}"})) == [("rdzv-id-differs", ("node1",), "fail")]
    both = {"node1": f"{DRAWN}304504\n{end}", "node2": f"{DRAWN}77111\n{end}"}
    assert told(case(both)) == [("rdzv-id-differs", ("node1", "node2"), "fail")]
    assert told(case({"node1": f"{DRAWN}304504\n{{'loss': 1.5}}\n"})) == []


def member(rank: int, world: int, word: str = "Initializing distributed") -> str:
    return f"{word}: GLOBAL_RANK: {rank}, MEMBER: {rank + 1}/{world}\n"


def test_ranks_that_two_nodes_have_taken() -> None:
    half = "".join(member(rank, 8) for rank in range(4))
    late = traceback(
        "torch.distributed.DistStoreError: Timed out after 1801 seconds waiting for clients. 4/8 clients joined."
    )
    both = {"node1": half + late, "node2": half + "\n" + late}
    assert told(case(both)) == [("node-rank-duplicate", ("node2",), "fail")]
    old = "".join(member(rank, 8, "initializing ddp") * 2 for rank in range(4))
    assert told(case({"node1": old + late})) == [("node-rank-duplicate", (), "fail")]
    every = "".join(member(rank, 4) * 2 for rank in range(4))  # two handlers of one logger
    assert told(case({"node1": every + late})) == [("rdzv-store-barrier", (), "fail")]
    assert told(case({"node1": half, "node2": "".join(member(rank, 8) for rank in range(4, 8))})) == []
    came = "RuntimeError: Timed out initializing process group in store based barrier on rank: 3, for key: "
    came += "store_based_barrier_key:1 (world_size=8, worker_count={}, timeout=0:30:00)"
    assert told(case({"node1": traceback(came.format(16))})) == [("node-rank-duplicate", (), "fail")]
    assert told(case({"node1": traceback(came.format(7))})) == [("rdzv-store-barrier", (), "fail")]


def stuck(rank: int, number: int, last: int, what: str = "ALLREDUCE", group: str = "0(default_pg)") -> str:
    head = f"[rank{rank}]:[E918 19:29:24.4 ProcessGroupNCCL.cpp"
    return (
        f"{head}:689] [Rank {rank}] Watchdog caught collective operation timeout: WorkNCCL(SeqNum={number}, "
        f"OpType={what}, NumelIn=64, NumelOut=64, Timeout(ms)=600000) ran for 600097 milliseconds before timing out.\n"
        f"{head}:2303] [PG ID 0 PG GUID {group} Rank {rank}]  failure detected by watchdog at work sequence id: "
        f"{number} PG status: last enqueued work: {last}, last completed work: {number - 1}\n"
    )


def test_timeouts_in_the_words_of_newer_torch() -> None:
    behind = "".join(stuck(rank, 90 if rank == 2 else 100, 90 if rank == 2 else 100) for rank in range(4))
    found = findings(case({"node1": behind}))
    assert [each.rule for each in found] == ["nccl-watchdog-timeout"]
    assert "rank 2 came as far as collective 90, the others wait in 100" in next(iter(found[0].evidence.values()))
    unlike = stuck(0, 122, 127, "_REDUCE_SCATTER_BASE") + stuck(1, 126, 128, "_ALLGATHER_BASE")
    assert [each.rule for each in findings(case({"node1": unlike}))] == ["nccl-collective-mismatch"]


def test_collectives_of_other_groups_are_not_compared() -> None:
    log = stuck(0, 7, 7) + stuck(1, 7, 7) + stuck(2, 7, 7, "BROADCAST", "5(TENSOR_MODEL_PARALLEL_GROUP)")
    assert [each.rule for each in findings(case({"node1": log}))] == ["nccl-watchdog-timeout"]


def test_a_watchdog_that_got_stuck_itself() -> None:
    line = (
        "[rank{0}]:[F ProcessGroupNCCL.cpp:1169] [PG 0 Rank {0}] ProcessGroupNCCL's watchdog got stuck for 600 seconds "
    )
    log = "".join((line + "without making progress\n").format(rank) for rank in (0, 1)) + agent(-6)
    assert told(case({"node1": log})) == [("nccl-watchdog-timeout", (), "fail")]


def test_where_rays_actors_were() -> None:
    died = "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.\n"
    died += "\tclass_name: WorkerDict\n\tactor_id: f20d\n\tpid: 5226\n\tip: 10.0.0.12\n"
    assert told(case({"node1": died})) == [("job-rank-killed", ("node2",), "fail")]
    gone = died + "The actor is dead because its node has died. Node Id: 677d\n"
    assert told(case({"node1": gone})) == [("job-rank-killed", ("node2",), "fail")]
    task = "ray.exceptions.RayTaskError(KeyError): ray::WorkerDict.load() (pid=77, ip=10.0.0.12, actor_id=1)\n"
    task += "  File \"/job/load.py\", line 7, in load\nKeyError: 'x'\n"
    assert told(case({"node1": task})) == [("job-failed", ("node2",), "fail")]
    marked = "The node with node id: 12ab and address: 10.0.0.12 and node name: 10.0.0.12 has been marked dead because "
    assert told(case({"node1": f"{marked}the detector has missed too many heartbeats from it.\n"})) == [
        ("job-rank-killed", ("node2",), "fail")
    ]


@pytest.mark.parametrize(
    ("lines", "identity", "hosts"),
    [
        (["gpu2: @ WARNING: UNPROTECTED PRIVATE KEY FILE! @", "gpu2: u@gpu2: Permission denied (publickey)."],
         "ssh-perms-too-open", ("node1",)),
        (["gpu2: Bad owner or permissions on /home/u/.ssh/config"], "ssh-perms-too-open", ("node1",)),
        (["gpu2: /home/u/.ssh/config: line 7: Bad configuration option: hostnam"], "ssh-config-invalid", ("node1",)),
        (["gpu2: kex_exchange_identification: read: Connection reset by peer",
          "gpu2: Connection reset by 10.0.0.12 port 22"], "ssh-login-failed", ("node2",)),
        (["gpu2: Received disconnect from 10.0.0.12 port 22:2: Too many authentication failures"],
         "ssh-login-failed", ("node1",)),
        (["gpu2: This account is currently not available."], "sshd-refuses-user", ("node2",)),
    ],
)  # fmt: skip
def test_ssh_that_does_not_come_as_far_as_a_login(lines: list[str], identity: str, hosts: tuple[str, ...]) -> None:
    log = "".join(f"{line}\n" for line in [*lines, "pdsh@gpu1: gpu2: ssh exited with exit code 255"])
    assert told(case({"node1": log})) == [(identity, hosts, "fail")]


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("-----\nThere are not enough slots available in the system to satisfy the 16\nslots that were requested\n",
         "job-failed"),
        ("mpirun has detected an attempt to run as root.\n", "job-failed"),
        ("bash: line 1: orted: command not found\nORTE was unable to reliably start one or more daemons.\n",
         "path-differs"),
        ("ORTE was unable to reliably start one or more daemons.\n", "rdzv-connect-failed"),
        ("PRTE detected a mismatch in versions between two processes.  This\n", "mpi-version-differs"),
        ("At least one pair of MPI processes are unable to reach each other for\nMPI communications.\n",
         "rdzv-connect-failed"),
    ],
)  # fmt: skip
def test_mpirun_that_starts_nothing(text: str, identity: str) -> None:
    found = findings(case({"node1": text}))
    assert [each.rule for each in found] == [identity]
    assert found[0].cause != "The rank that failed first ended with an error of its own, which no check knows"


def test_a_connection_that_was_reset_at_the_rendezvous() -> None:
    log = traceback("torch.distributed.DistNetworkError: Connection reset by peer")
    log += "\nThe above exception was the direct cause of the following exception:\n\n"
    log += traceback("torch.distributed.elastic.rendezvous.api.RendezvousConnectionError: The connection has failed.")
    assert told(case({"node2": log})) == [("rdzv-connect-failed", (), "fail")]


def test_a_node_that_slurm_has_lost() -> None:
    log = "srun: error: Node failure on gpu2\nslurmstepd: error: *** STEP 1.0 ON gpu1 CANCELLED AT 2026-11-29T07:45:12 "
    log += "DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***\nsrun: error: gpu1: tasks 0-1: Killed\n"
    assert [each[:2] for each in told(case({"node1": log}))] == [("job-rank-killed", ("node2",))]


def test_progress_before_an_error_tells_nothing_of_the_rank_that_has_it() -> None:
    log = "{'loss': 1.5, 'epoch': 0.1}\n" + traceback("KeyError: 'x'") + "{'loss': 1.5, 'epoch': 0.2}\n" * 2
    assert told(case({"node1": log})) == [("job-failed", ("node1",), "fail")]


def test_a_job_that_waits_for_rays_gpus() -> None:
    log = "Waiting for creating a placement group of specs for 310 seconds. specs=[{'GPU': 1.0}]. Check `ray status`\n"
    assert told(case({"node1": log})) == [("rdzv-store-barrier", (), "fail")]


LIBFABRIC = "libfabric:71:16589045::efa:mr:efa_mr_reg_impl():900<warn> Unable to register MR of 4194304 bytes: {}\n"
ABORT = (
    "Libfabric EFA provider has encountered an internal error:\n\nLibfabric error: ({}) {}\nEFA internal error: ({}) "
)
ABORT += "{}\n\nYour application will now abort().\n"


@pytest.mark.parametrize(
    ("said", "identity", "words"),
    [
        (LIBFABRIC.format("Cannot allocate memory, ibv pd: 0x55"), "ib-memlock", "ulimit -l"),
        (ABORT.format(-12, "Cannot allocate memory", 4112, "Failure to post internal receive buffers"), "ib-memlock",
         "REG_MR"),
        (ABORT.format(-113, "No route to host", 4107, "Unreachable remote"), "nccl-system-error-first-collective",
         "security group"),
        (ABORT.format(-113, "No route to host", 4120, "Unresponsive receiver (reachable by EFA device)"),
         "nccl-system-error-first-collective", "security group"),
    ],
)  # fmt: skip
def test_what_libfabric_says_before_a_rank_ends(said: str, identity: str, words: str) -> None:
    tagged = "".join(f"gpu2: {line}\n" for line in said.splitlines())
    ends = traceback("torch.distributed.DistBackendError: NCCL error in: x.cpp:1, unhandled system error", "gpu2: ")
    given = case({"node1": tagged + ends + agent(1, tag="gpu2: ")})
    assert told(given) == [(identity, ("node2",), "fail")]
    assert words in findings(given)[0].remedy


def test_libfabric_s_warning_in_a_job_that_goes_on() -> None:
    assert (
        told(case({"node1": LIBFABRIC.format("Cannot allocate memory") + "step 10 loss 2.0\nstep 20 loss 1.9\n"})) == []
    )


def test_a_fork_without_memory() -> None:
    given = case({"node1": traceback("OSError: [Errno 12] Cannot allocate memory") + agent(1)})
    assert told(given) == [("mem-host-oom", ("node1",), "fail")]
    assert findings(given)[0].remedy.startswith("FI_EFA_USE_HUGE_PAGE=0")
