# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job's log says of what is around its ranks: containers, Slurm, Ray, environments, processors.

Texts of Docker 20 to 29, nvidia-container-toolkit 1.13 to 1.18, Apptainer 1.1 to 1.4, pyxis and enroot, Slurm 20 to
25, Ray 2.9 to 2.55, conda, Lmod and Environment Modules, Open MPI, glibc and the Linux kernel's errno.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.job_kind import (
    CONNECT,
    ENDED,
    LOST,
    ROOT,
    Kind,
    kind,
)

_SHELL = r"(?:^|: )"  # what a shell puts before its message

# Those that only this file knows; they are asked before the others.
FIRST: t.Sequence[Kind] = (
    # containers
    kind("container_gpu", ROOT, r"could not select device driver .{0,40}gpu"
         r"|^\S*nvidia-container-cli: (?!container error:"
         r" cgroup)|nvidia-container-cli: (?:initialization|device|ldcache|detection) error"
         r"|(?i:unknown)(?: or invalid)? runtime(?: specified| name:) nvidia|unresolvable CDI devices"
         r"|Command not found: nvidia-container-cli", alone=True),
    kind("container_daemon", ROOT, r"Cannot connect to the Docker daemon|failed to connect to the docker API"
         r"|trying to connect to the [Dd]ocker (?:daemon socket|API)", alone=True),
    kind("container_image", ROOT, r"docker: .{0,120}(?:pull access denied|manifest (?:unknown|for)|not found: manifest"
         r"|denied: requested access|No such image)|[Cc]ould not open image \S|failed to import docker image"
         r"|no matching manifest for linux", alone=True),
    kind("container_name", ROOT, r"(?i:container) name .{1,120} is already in use", alone=True),
    kind("container_port", ROOT, r"(?:port is already allocated|failed to bind host port|Bind for \S+ failed)",
         alone=True),
    kind("container_call", ROOT, r"(?:set_mempolicy|mbind|setting membind|pidfd_getfd|move_pages)"
         r":? (?:failed:? )?Operation not permitted"),
    # Slurm and MPI
    kind("slurm_launch", ROOT, r"srun: error: (?:Task launch for \S{1,40} failed on node"
         r"|task \S{1,40} launch failed)", alone=True),
    kind("slurm_refuses", ROOT, r"(?:srun|sbatch|salloc): error: (?:Unable to (?:create step|allocate resources"
         r"|confirm allocation)|Batch job submission failed|Job submit/allocate failed)", alone=True),
    kind("slurm_directory", ROOT, r"slurmstepd\S{0,255}: error: [Cc]ould ?n.?t chdir to", alone=True),
    kind("command_missing", ROOT, r"slurmstepd\S{0,255}: error: execve\(\): .{1,300}: No such file", alone=True),
    kind("not_permitted", ROOT, r"slurmstepd\S{0,255}: error: execve\(\): .{1,300}: Permission denied", alone=True),
    kind("mpi_pmi", ROOT, r"OMPI was not built with SLURM's PMI|not built with SLURM support|PMI2?_Init(?:_thread)? "
         r"(?:failed|returned)|PMII_singinit: execv failed|unable to find .{0,40}mpi/pmix", alone=True),
    kind("mpi_init", ROOT, r"Fatal error in (?:internal_|P)?MPI_Init|OFI addrinfo\(\) failed", alone=True),
    kind("rdma_retries", ROOT, r"Transport retry count exceeded on \S{1,40}:\d|Remote (?:operation"
         r"|access) error on mlx5"
         r"|mlx5: \S{1,253}: got completion with error"),
    # Ray
    kind("ended", ENDED, r"Error executing job with overrides", alone=True),  # hydra, without a traceback
    kind("ended", ENDED, r"TrainingFailedError|WorkerGroupError|RendezvousGracefulExitError"
         r"|(?:Engine core|WorkerProc) initialization failed|EngineDeadError"),
    kind("ray_worker_died", ENDED, r"ray\.exceptions\.(?:WorkerCrashed|RayActor|ActorDied|ActorUnavailable)Error"
         r"|A worker died or was killed while executing a task"),
    kind("ray_head", CONNECT, r" C \d+ \d+\] .{0,200}Failed to connect to GCS", alone=True),
    kind("ray_head", CONNECT, r"(?:Unable|Failed) to connect to GCS|current node timed out during startup"
         r"|The node that .{0,60}not registered with GCS|processes that the driver needs .{0,40}not registered"),
    kind("ray_environment", ROOT, r"RuntimeEnvSetupError|runtime env failed to be created"),
    kind("ray_disk", ROOT, r"file_system_monitor\.cc:\d+: .{1,200} is over \d+% full|OutOfDiskError"),
    kind("socket_path", ROOT, r"AF_UNIX path (?:too long|length cannot exceed)"),
    # environments
    kind("environment_missing", ROOT, rf"{_SHELL}(?:conda|mamba|micromamba|module|ml|uv|spack|pyenv): command not found"
         r"|\S(?:/activate|conda\.sh|modules?\.sh|lmod\.sh|setvars\.sh): No such file or directory"
         r"|EnvironmentNameNotFound|EnvironmentLocationNotFound|Could not find conda environment"
         r"|Not a conda environment|CondaError: Run 'conda init'|not been properly configured to use 'conda activate'"
         r"|Lmod has detected the following error|The following module\(s\) are unknown|Unable to locate a modulefile"),
    kind("compiler_old", ROOT, r"Unsupported gpu architecture|is not defined for option 'gpu-name'"
         r"|unsupported GNU version|unrecognized argument .{0,20}-std=c\+\+(?:17|20)"),
    kind("python_home", ROOT, r"No module named 'encodings'|init_fs_encoding: failed|init_import_site"),
    kind("loader_slow", ROOT, r"DataLoader timed out after \d"),
    # processors and libraries of the system
    kind("exec_format", ROOT, r"[Ee]xec format error|cannot execute(?: binary file|: required file not found)",
         alone=True),
    kind("system_library", ROOT, r"(?<!not )(?:^|[\s(])lib(?:GL|EGL|OpenGL|glib-|gthread|SM|Xext|Xrender|X11|sndfile"
         r"|aio|mpi|ibverbs|rdmacm|mlx5|numa|tcmalloc|jemalloc|stdc\+\+|gomp|python3|ssl|crypto|ffi|hwloc|uc[pstm]\b"
         r"|fabric|efa|pmix|jpeg|png|turbo|avcodec|avformat|avutil|tbb|openblas|z\.)\S{0,60}: "
         r"cannot open shared object file(?!.{0,60}ignored)"),
    kind("heap", ROOT, r"^(?:free|realloc|malloc|munmap_chunk|malloc_consolidate)\(\)?:? ?.{0,20}(?:invalid|corrupted"
         r"|unaligned|unsorted)|^double free or corruption|^corrupted (?:size|double-linked)"
         r"|^\*\*\* (?:stack smashing|buffer overflow) detected", alone=True),
    kind("no_locks", ROOT, r"\[Errno (?:37|524)\]|No locks available|sqlite3\.OperationalError: (?:database is locked"
         r"|disk I/O error|locking protocol)"),
    # what the number of an error means depends on who asked for what
    kind("inotify", ROOT, r"inotify (?:watch|instance) limit"),
    kind("open_files", ROOT, r"torch_\w{1,80}>.{0,60}Too many open files"),
    kind("host_memory", ROOT, r"torch_\w{1,80}>.{0,60}Cannot allocate memory"),
    kind("not_permitted", ROOT, r"torch_\w{1,80}>.{0,60}Permission denied"),
    # ssh while a job runs
    kind("ssh_lost", LOST, r"client_loop: send disconnect|^Timeout, server \S{1,255} not responding"
         r"|^Connection to \S{1,255} closed by remote host|packet_write_wait: Connection to"
         r"|ssh_dispatch_run_fatal: Connection to", alone=True),
    # servers that are asked by HTTP; those of models have a kind of their own
    kind("web_unreachable", ROOT, r"^(?:httpx|httpcore|requests\.exceptions|urllib3\.exceptions|urllib\.error"
         r"|aiohttp\.client_exceptions|botocore\.exceptions)\.\w*(?:Connect|Timeout|Proxy|SSL|Network|Resolution|Retry"
         r"|URL|Transport|Protocol)\w*(?!.*(?:huggingface\.co|hf\.co|hf-mirror|modelscope\.cn))"
         r"|^wandb\.errors\.\S{0,40}(?:CommError|Timeout)|server can't be reached at http"),
)  # fmt: skip
# What is left of a start that failed: asked after the others.
LAST: t.Sequence[Kind] = (
    kind("container_start", ROOT, r"^docker: |OCI runtime|container creation failed|pyxis: couldn't start container",
         alone=True),
)  # fmt: skip
# They say what a failure beside them comes from: the kinds that each explains.
EXPLAINS: t.Mapping[str, frozenset[str]] = {
    "environment_missing": frozenset(("module_missing", "command_missing", "packages", "python_other", "syntax")),
    "compiler_old": frozenset(("build_failed", "cpu_adam")),
    "container_gpu": frozenset(("container_start",)),
}
HARMLESS = frozenset(("environment_missing", "compiler_old"))
"""Kinds that end nothing themselves: another failure shows whether they matter."""
# How programs around the ranks begin a line after which they start nothing.
GIVES_UP = re.compile(
    r"docker: Error response|Error response from daemon: (?!No such container)|FATAL: {3}|nvidia-container-cli: "
    r"|slurmstepd\S{0,255}: error: pyxis: +(?:\[ERROR\]|enroot-\w+:)"
)
