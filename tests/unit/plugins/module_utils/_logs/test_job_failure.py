# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What single lines say went wrong."""

from __future__ import annotations

import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import (
    job_excerpt,
    job_failure,
    job_log,
    job_start_failure,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_failure import (
    CONNECT,
    ENDED,
    LOST,
    ROOT,
    WAIT,
    classify,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _job_causes


@pytest.mark.parametrize(
    ("text", "kind", "weight", "fatal"),
    [
        ("KeyError: 'x'", "exception", ROOT, True),
        ("my.package.CustomTimeout: late", "exception", ROOT, True),
        ("No module named 'triton', some optimizations are off", "module_missing", ROOT, False),
        ("ModuleNotFoundError: No module named 'triton'", "module_missing", ROOT, True),
        ("train.py: error: unrecognized arguments: --x", "arguments", ROOT, True),
        ("[W1129 07:45:12 socket.cpp] failed to connect (errno: 111 - Connection refused).", "refused", CONNECT, False),
        ("[E1129 07:45:12 socket.cpp] failed to bind (errno: 98 - Address already in use).", "port_in_use", ROOT, True),
        ("requests.exceptions.ConnectionError: host='huggingface.co': Max retries",
         "hub_unreachable", ROOT, True),
        ("urllib3: https://api.wandb.ai: Name or service not known", None, None, None),
        ("RuntimeError: Connection closed by peer [10.0.0.3]:4242", "lost", LOST, True),
        ("RuntimeError: Timed out waiting 1800000ms for recv operation to complete", "wait_gloo", WAIT, True),
        ("torch.distributed.elastic.multiprocessing.errors.ChildFailedError:", "ended", ENDED, True),
        ("torch.distributed.DistBackendError: NCCL error in: x.cpp:1, unhandled system error",
         "nccl:system_error", LOST, True),
        ("x.cc:1 NCCL WARN Mismatched NCCL version detected", "nccl:version_mismatch", ROOT, True),
        ("gpu1:7:7 [0] NCCL INFO connect returned Connection refused, retrying", None, None, None),
        ("loss: nan", None, None, None),
        ("FileNotFoundError: [Errno 2] No such file or directory: './ds_config.json'", "file_missing", ROOT, True),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'ninja'", "no_ninja", ROOT, True),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'mpirun'", "command_missing", ROOT, True),
        ("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)", "exception", ROOT, True),
        ("/etc/ssh/ssh_config line 5: Unsupported option \"rsaauthentication\"", None, None, None),
        ("X11 forwarding request failed on channel 0", None, None, None),
        ("UserWarning: this error of yours is no exception", None, None, None),
        ("Added key: store_based_barrier_key:1 to store for rank: 0", None, None, None),
    ],
)  # fmt: skip
def test_a_line_is_of_one_kind(text, kind, weight, fatal):
    said = classify(text)
    assert (said and tuple(said)) == (kind and (kind, weight, fatal))


SAMPLES = {
    "ended": "subprocess.CalledProcessError: Command 'x' returned non-zero exit status 1.",
    "session_closed": "Received 1 death signal, shutting down workers",
    "interrupted": "KeyboardInterrupt",
    "stopped": "Received Signals.SIGTERM death signal, shutting down workers",
    "build_lock": '  File "/x/torch/utils/file_baton.py", line 42, in wait',
    "gpu_memory": "torch.cuda.OutOfMemoryError: CUDA out of memory.",
    "shm_full": "Unexpected bus error encountered in worker.",
    "oom_killer": "Out of memory: Killed process 7 (python)",
    "loader_killed": "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.",
    "host_memory": "MemoryError",
    "fork_memory": "OSError: [Errno 12] Cannot allocate memory",
    "efa_memory": "Libfabric error: (-12) Cannot allocate memory",
    "efa_unreachable": "EFA internal error: (4107) Unreachable remote",
    "process_limit": "bash: fork: retry: Resource temporarily unavailable",
    "disk_full": "OSError: [Errno 122] Disk quota exceeded",
    "port_in_use": "OSError: [Errno 98] Address already in use",
    "port_privileged": "failed to bind (errno: 13 - Permission denied).",
    "address_not_own": "OSError: [Errno 99] Cannot assign requested address",
    "loopback": "Gloo: connect to 127.0.1.1 refused",
    "gloo_mesh": "RuntimeError: Gloo connectFullMesh failed with no error",
    "gloo_interface": "Unable to find address for: eth9",
    "no_libuv": "use_libuv was requested but PyTorch was built without libuv support",
    "hub_unreachable": "OfflineModeIsEnabled: Cannot reach the Hub",
    "name_unknown": "socket.gaierror: [Errno -3] Temporary failure in name resolution",
    "clients_missing": "torch.distributed.DistStoreError: Socket Timeout",
    "no_route": "OSError: [Errno 113] No route to host",
    "ssh_denied": "u@gpu2: Permission denied (publickey).",
    "ssh_key_changed": "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @",
    "ssh_host_key": "Host key verification failed.",
    "horovod_meets": "NoValidAddressesFound: Horovod was unable to connect to the service on any address: {}.",
    "slurm_tasks": "ValueError: You set `devices=4` in Lightning, but the number of tasks per node is 1.",
    "slurm_variables": "KeyError: 'SLURM_NTASKS'",
    "ssh_fabric": "Error: failed to run torchrun x.py on h, is localhost: False, exception: Authentication failed.",
    "no_address": "[INFO] [runner.py:417:main] Using IP address of  for node h",
    "ssh_failed": "RuntimeError: Using hostfile at f but host=h was not reachable via ssh.",
    "ssh_refused": "ssh: connect to host gpu2 port 22: Connection refused",
    "ssh_timeout": "ssh: connect to host gpu2 port 22: Connection timed out",
    "pdsh_missing": "RuntimeError: launcher 'pdsh' not installed.",
    "pdsh_module": 'pdsh@gpu1: No such rcmd module "ssh"',
    "hostfile_words": "ssh: Could not resolve hostname slots=8: Name or service not known",
    "hostfile_line": "ValueError: Hostfile contains a bad entry: a 8, unable to proceed with launching",
    "hostfile_twice": "ValueError: Hostfile contains multiple entries for a",
    "accelerate_key": "ValueError: The config file at /x.yaml had unknown keys (['y'])",
    "accelerate_twice": "ValueError: the following accelerate config variables will be ignored: ['zero_stage']",
    "batch_sizes": "AssertionError: Check batch related parameters.",
    "both_precisions": "AssertionError: bfloat16 and fp16 modes cannot be simultaneously enabled",
    "no_bf16": "ValueError: Your setup doesn't support bf16/gpu.",
    "arguments": "Error: No such option: --epoch",
    "code_differs": "RuntimeError: [1]: params[0] in this process with sizes [2] appears not to match sizes",
    "uneven": "RuntimeError: Detected at least one rank that exhausted inputs.",
    "more_ranks_than_gpus": "RuntimeError: CUDA error: invalid device ordinal",
    "driver_old": "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
    "fabric_manager": "RuntimeError: Unexpected error. Error 802: system not yet initialized",
    "torch_without_cuda": "AssertionError: Torch not compiled with CUDA enabled",
    "no_gpu": "RuntimeError: No CUDA GPUs are available",
    "gpu_busy": "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    "gpu_ecc": "RuntimeError: CUDA error: uncorrectable ECC error encountered",
    "gpu_nvlink": "RuntimeError: CUDA error: uncorrectable NVLink error detected during the execution",
    "gpu_crash": "RuntimeError: CUDA error: an illegal memory access was encountered",
    "gpu_lost": "Unable to determine the device handle for GPU0000:1B:00.0: Unknown Error",
    "no_kernel": "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    "gpu_assert": "IndexError: index out of range in self",
    "nvshmem": "/src/host/transport/transport.cpp:nvshmemi_transport_init:275: init failed for transport: IBGDA",
    "cuda_other": "deepspeed.ops.op_builder.builder.CUDAMismatchException: >- DeepSpeed Op Builder: Installed CUDA",
    "ops_other_torch": "RuntimeError: PyTorch version mismatch! DeepSpeed ops were compiled and installed with another",
    "no_ninja": "RuntimeError: Unable to load the x op due to ninja not being installed.",
    "cpu_adam": "RuntimeError: Error building extension 'cpu_adam'",
    "build_failed": "ninja: build stopped: subcommand failed.",
    "cuda_library": "OSError: libcudart.so.12: cannot open shared object file: No such file or directory",
    "binary_other": "ImportError: /x/y.so: undefined symbol: z",
    "packages": "ImportError: cannot import name 'x' from 'y' (/x/y.py)",
    "python_other": "ValueError: unsupported pickle protocol: 5",
    "module_missing": "ModuleNotFoundError: No module named 'x'",
    "syntax": "IndentationError: unexpected indent",
    "shapes": "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)",
    "model_damaged": "EOFError: Ran out of input",
    "model_missing": "OSError: Can't load tokenizer for '/x'.",
    "file_missing": "python: can't open file '/job/train.py': [Errno 2] No such file or directory",
    "command_missing": "run.sh: line 3: torchrun: command not found",
    "line_ends": "run.sh: line 2: $'\\r': command not found",
    "not_permitted": "PermissionError: [Errno 13] Permission denied: '/x'",
    "loss_scale": "Exception: Current loss scale already at minimum - cannot decrease scale anymore.",
    "wait_gloo": "RuntimeError: [x] Timed out waiting 1800000ms for recv operation to complete",
    "refused": "ConnectionRefusedError: [Errno 111] Connection refused",
    "master_local": "The client socket has failed to connect to any network address of (127.0.0.1, 29500).",
    "master_silent": "The client socket has timed out after 60000ms while trying to connect to (gpu1, 29500).",
    "connect_timeout": "TimeoutError: [Errno 110] Connection timed out",
    "store_connection": "RendezvousConnectionError: The connection to the C10d store has failed.",
    "node_failed": "srun: error: Node failure on gpu2",
    "cache_race": "FileNotFoundError: [Errno 2] No such file or directory: '/n/.triton/cache/a/k.ttir.tmp' -> "
    "'/n/.triton/cache/a/k'",
    "open_files": "RuntimeError: received 0 items of ancdata",
    "share_lost": "OSError: [Errno 116] Stale file handle: '/n/data.bin'",
    "io_error": "OSError: [Errno 5] Input/output error",
    "ssh_own_files": "@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @",
    "ssh_config": "/home/u/.ssh/config: line 7: Bad configuration option: hostnam",
    "ssh_tries": "Received disconnect from 10.0.0.12 port 22:2: Too many authentication failures",
    "ssh_negotiate": "Unable to negotiate with 10.0.0.12 port 22: no matching host key type found. Their offer: "
    "ssh-rsa",
    "ssh_account": "System is booting up. Unprivileged users are not permitted to log in yet.",
    "ssh_hung_up": "kex_exchange_identification: Connection closed by remote host",
    "sudo_asks": "sudo: a terminal is required to read the password; either use the -S option",
    "mpi_slots": "There are not enough slots available in the system to satisfy the 16",
    "mpi_root": "mpirun has detected an attempt to run as root.",
    "mpi_daemon": "ORTE was unable to reliably start one or more daemons.",
    "mpi_versions": "PRTE detected a mismatch in versions between two processes.  This",
    "mpi_reach": "At least one pair of MPI processes are unable to reach each other for",
    "first_rank_waits": "[4] is setting up NCCL communicator and retrieving ncclUniqueId from [0] via c10d key-value "
    "store by key '0', but store->get('0') got error: Socket Timeout",
    "no_launcher": "ValueError: Error initializing torch.distributed using env:// rendezvous: environment variable "
    "RANK expected, but not set",
    "local_rank_argument": "train.py: error: unrecognized arguments: --local-rank=3",
    "deepspeed_key": "pydantic_core._pydantic_core.ValidationError: 2 validation errors for DeepSpeedZeroConfig",
    "deepspeed_arguments": "ValueError: Please correct the following DeepSpeed config values that mismatch "
    "TrainingArguments values:",
    "unparsable": "json.decoder.JSONDecodeError: Expecting ',' delimiter: line 8 column 9 (char 170)",
    "parallel_sizes": "RuntimeError: world_size (1) is not divisible by 2",
    "resumed_otherwise": "ZeRORuntimeException: The checkpoint being loaded used a DP world size of 16 but the current "
    "world size is 8.",
    "ray_gpus": "ValueError: Total available GPUs 8.0 is less than total desired GPUs 16",
    "ray_waits": "INFO ray_utils.py:214] Waiting for creating a placement group of specs for 310 seconds. specs=[]",
    "ray_agent": "RuntimeError: Request failed with status code 500: No available agent to submit job.",
    "ray_versions": "RuntimeError: Version mismatch: The cluster was started with: Ray: 2.9.0 Python: 3.10.12",
    "ray_none": "ConnectionError: Could not find any running Ray instance.",
    "collective_mismatch": "RuntimeError: Detected mismatch between collectives on ranks.",
    "rank_beyond": "Invalid rank requested : 2/2",
    "rtx40": "NotImplementedError: Using RTX 4000 series doesn't support faster communication broadband via P2P or IB.",
    "checkpoint_shard": "FileNotFoundError: [Errno 2] No such file or directory: "
    "'/o/global_step5/zero_pp_rank_9_mp_rank_00_optim_states.pt'",
    "checkpoint_race": "OSError: [Errno 39] Directory not empty: 'o/tmp-checkpoint-5' -> 'o/checkpoint-5'",
    "hub_refuses": "huggingface_hub.errors.GatedRepoError: 401 Client Error.",
    "wandb_login": "wandb.errors.UsageError: api_key not configured (no-tty). call wandb.login(key=[your_api_key])",
    "watchdog_stuck": "[PG 0 Rank 1] ProcessGroupNCCL's watchdog got stuck for 600 seconds without making progress",
    "lost": "ConnectionResetError: [Errno 104] Connection reset by peer",
    "container_gpu": 'docker: Error response from daemon: could not select device driver "" with capabilities: '
    "[[gpu]].",
    "container_daemon": "docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
    "container_image": "FATAL:   could not open image /s/t.sif: failed to retrieve path for /s/t.sif",
    "container_name": 'docker: Error response from daemon: Conflict. The container name "/t" is already in use by "9".',
    "container_port": "docker: Error response from daemon: Bind for 0.0.0.0:29500 failed: port is already allocated.",
    "container_start": "docker: Error response from daemon: failed to create task for container",
    "container_call": "set_mempolicy: Operation not permitted",
    "slurm_launch": "srun: error: Task launch for StepId=96.0 failed on node n1: Socket timed out on send/recv "
    "operation",
    "slurm_refuses": "srun: error: Unable to create step for job 123: More processors requested than permitted",
    "slurm_directory": "slurmstepd: error: couldn't chdir to `/job': No such file or directory: going to /tmp instead",
    "mpi_pmi": "but OMPI was not built with SLURM's PMI support and therefore cannot",
    "ray_worker_died": "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.",
    "ray_head": "RuntimeError: Failed to connect to GCS. Please check `gcs_server.out` for more details.",
    "ray_environment": "ray.exceptions.RuntimeEnvSetupError: Failed to set up runtime environment.",
    "ray_disk": "(raylet) file_system_monitor.cc:111: /tmp/ray/session_1 is over 95% full, available space: 1.2 GB",
    "socket_path": "OSError: AF_UNIX path too long",
    "environment_missing": "/job/run.sh: line 4: conda: command not found",
    "compiler_old": "nvcc fatal   : Unsupported gpu architecture 'compute_120'",
    "python_home": "ModuleNotFoundError: No module named 'encodings'",
    "exec_format": "OSError: [Errno 8] Exec format error: '/env/bin/python'",
    "system_library": "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
    "heap": "free(): invalid pointer",
    "no_locks": "OSError: [Errno 37] No locks available",
    "ssh_lost": "client_loop: send disconnect: Broken pipe",
    "web_unreachable": "httpx.ConnectError: [Errno -2] Name or service not known",
    "mpi_init": "Abort(1091215) on node 9 (rank 9 in comm 0): Fatal error in PMPI_Init_thread: Other MPI error",
    "rdma_retries": "ib_mlx5_log.c:139  Transport retry count exceeded on mlx5_0:1/IB (synd 0x15 vend 0x81)",
    "loader_slow": "RuntimeError: DataLoader timed out after 300 seconds",
    "inotify": "OSError: [Errno 28] inotify watch limit reached",
    "gpu_full": "RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "foreign_store": "RuntimeError: Ping failed, invalid value returned from server. Expected: 1, Got: 2",
    "kernel_size": "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 180224",
    "index_cache": "FileNotFoundError: [Errno 2] No such file or directory: "
    "'/c/GPTDataset_indices/6-document_index.npy'",
}


def test_each_kind_has_a_line_and_a_meaning():
    assert set(SAMPLES) == {kind.name for kind in job_failure.KINDS}
    assert {name: getattr(classify(text), "kind", None) for name, text in SAMPLES.items()} == {
        name: name for name in SAMPLES
    }
    assert set(SAMPLES) - set(_job_causes.CAUSES) == {"ended"}


def test_each_such_line_is_kept_of_a_long_log(tmp_path):
    noise = "".join(f"step {at} takes its time and has {at % 7} things to tell\n" for at in range(500))
    path = tmp_path / "job.log"
    lost = []
    for name, line in SAMPLES.items():
        path.write_text(f"{noise}{line}\n{noise}", encoding="utf-8")
        if line not in job_excerpt.of_file(str(path)):
            lost.append(name)
    assert lost == []


def test_what_explains_others_explains_kinds_that_there_are():
    named = {kind for kinds in job_start_failure.EXPLAINS.values() for kind in kinds}
    assert named | set(job_start_failure.EXPLAINS) <= set(SAMPLES)
    assert set(job_start_failure.EXPLAINS) >= job_start_failure.HARMLESS


@pytest.mark.parametrize("word", ["connect ", "Exception ", ": ", "x.E", "a-", " ", "[", "0%|", "size mismatch", "/a/"])
def test_a_long_line_takes_no_long_time(word):
    text = word * (60000 // len(word)) + "x"
    started = time.process_time()
    classify(text)
    job_log.parse(text)
    assert time.process_time() - started < 2
