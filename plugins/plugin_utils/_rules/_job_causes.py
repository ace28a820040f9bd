# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the words of a failed job to the rule, its cause and the way out.

Texts of torch 1.13 to 2.13 (TCPStore, c10d, Gloo), DeepSpeed's and torchrun's launchers, ssh and the
rank wrapper of this collection. NCCL's are in ``_nccl_advice.py``.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.nccl_failure import GENERIC, LATE, classify
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_remedies import ADVICE

# What a rank says whose peer went away first.
CONSEQUENCE = re.compile(r"closed by (?:remote )?peer|reset by peer|Broken pipe|recvValue failed")
KILLED = re.compile(r"\b[Ss]ignal 9\b|return code = -9\b|exitcode\s*: -9|SIGKILL")


class Cause(t.NamedTuple):
    """The rule of a text, why such a thing happens, and what to do."""

    rule: str
    cause: str
    remedy: str


FAILED = Cause(
    "job-failed", "The job did not do its work", "Read the log of the run on the head, the first error in it counts"
)
RANK_KILLED = Cause(
    "job-rank-killed",
    "A rank was killed from outside, and the others lost their connection to it",
    "Look there with journalctl -k --since -1h (out of memory, Xid) and last -x, then run verify again",
)
RANK_CRASHED = Cause(
    RANK_KILLED.rule,
    "A rank crashed, and the others lost their connection to it",
    "Look there with journalctl -k --since -1h (segfault, Xid) and at the rank's last words in the log of the run",
)
HOST_OOM = Cause(
    "mem-host-oom",
    "The kernel killed a rank because the node's memory was used up",
    "Use fewer ranks on the node (trainmesh_slots), no offload to the CPU, or more memory",
)
STUCK = Cause(
    "collective-stalled",
    "A rank does not go on while all others wait for it",
    "Look there with ps -eo pid,stat,wchan:20,cmd and dmesg: a stopped process (T) was halted by somebody, one in "
    "state D waits for a disk, a network file system or a driver",
)
_CONNECT = "Open the rendezvous port and all others between the nodes (trainmesh_firewall), and check trainmesh_address"

# The first that fits tells.
TEXTS: t.Sequence[tuple[str, Cause]] = (
    (r"CUDA out of memory|OutOfMemoryError", Cause(
        "mem-gpu-oom", "A GPU's memory does not suffice",
        "Use a higher ZeRO stage or smaller batches, and end other jobs",
    )),
    (r"EADDRINUSE|[Aa]ddress already in use|errno: ?98\b", Cause(
        "rdzv-errno-98", "Another process has the port of the rendezvous",
        "Find it on the head with ss -ltnp, end it, or set another trainmesh_master_port",
    )),
    (r"errno: ?13\b.{0,80}[Pp]ermission denied|EACCES", Cause(
        "rdzv-errno-13", "A port below 1024 needs root", "Set trainmesh_master_port to one above 1024",
    )),
    (r"127\.0\.[01]\.1", Cause(
        "name-loopback-127-0-1-1", "A node's own name leads to its loopback address, which the others cannot reach",
        "Map the name to the data address in /etc/hosts (the role hosts does)",
    )),
    (r"without libuv support", Cause(
        "rdzv-libuv", "This torch was built without libuv", "Set USE_LIBUV=0 in trainmesh_env",
    )),
    (r"store based barrier|StoreTimeout|wait timeout after .{0,40}keys", Cause(
        "rdzv-store-barrier", "Some ranks never came to the rendezvous: too few were started, or they hang before it",
        "Compare slots with the ranks that run, and read the logs of the nodes that have none",
    )),
    (r"No route to host|errno: ?113\b", Cause(
        "rdzv-errno-113", "A firewall rejects the rendezvous, or there is no route", _CONNECT,
    )),
    (r"Connection refused|errno: ?111\b", Cause(
        "rdzv-errno-111", "Nothing listens at the rendezvous: rank 0 had ended, or the address is not the head's",
        _CONNECT,
    )),
    (r"connect\w* .{0,80}timed out|Connection timed out|errno: ?110\b", Cause(
        "rdzv-errno-110", "Packets to the rendezvous are dropped", _CONNECT,
    )),
    (r"Permission denied \((?:publickey|password|keyboard)", Cause(
        "ssh-key-missing-pair", "The job's user may not log in there from the head", "Run the role ssh_mesh",
    )),
    (r"Host key verification failed", Cause(
        "ssh-hostkey-unknown", "The head does not know the node's host key", "Run the role ssh_mesh",
    )),
    (r"Could not resolve hostname|Name or service not known|failure in name resolution", Cause(
        "name-hosts-typo", "A node's name does not resolve there", "Run the role hosts, or fix /etc/hosts",
    )),
    (r"launcher 'pdsh' not installed|pdsh: (?:command )?not found", Cause(
        "pdsh-not-installed", "DeepSpeed's launcher needs pdsh on the head", "Install pdsh there",
    )),
    (r"has no (?:file|directory) /|can't open file|No such file or directory", Cause(
        "path-differs", "A path that the job needs is not on every node", "Bring it to the same path on every node",
    )),
    (r"No module named|ImportError", Cause(
        "ver-python-torch-differs", "A package is missing there, or another Python is used",
        "Install the same packages on every node (the role torch_stack does)",
    )),
    (r"invalid device ordinal", Cause(
        "hostfile-slots-exceed-gpus", "More ranks than GPUs were started", "Set trainmesh_slots to the number of GPUs",
    )),
    (r"[Bb]us error", Cause(
        "shm-too-small", ADVICE["shm_full"].cause, ADVICE["shm_full"].remedy,
    )),
    (r"CUDAMismatchException", Cause(
        "ver-nvcc-torch-mismatch", "nvcc belongs to another CUDA than torch",
        "Install the toolkit of torch.version.cuda",
    )),
    (r"DeepSpeed ops were compiled", Cause(
        "build-ops-other-torch", "DeepSpeed's prebuilt operators belong to another torch and refuse to load",
        "pip cache remove deepspeed && pip install --force-reinstall --no-cache-dir --no-binary deepspeed deepspeed",
    )),
    (r"[Bb]f16 is not supported", Cause(
        "prec-bf16-unsupported", "A GPU has no bf16", "Set trainmesh_precision: fp16",
    )),
    (r"Check batch related parameters", Cause(
        "ds-batch-mismatch", "Batch sizes in DeepSpeed's file do not fit the number of ranks",
        "Set train_batch_size = micro batch x accumulation x ranks, or leave it out",
    )),
)  # fmt: skip
_PATTERNS = tuple((re.compile(pattern), cause) for pattern, cause in TEXTS)


def killed(out_of_memory: bool) -> Cause:
    """Why a rank ended by signal 9."""
    return HOST_OOM if out_of_memory else RANK_KILLED


def crashed(text: str) -> Cause:
    """Why a rank ended by another signal than 9."""
    cause = cause_of(text, False)
    return RANK_CRASHED if cause is FAILED else cause


def cause_of(text: str, out_of_memory: bool) -> Cause:
    """What a text means; ``out_of_memory``: whether the kernel has killed processes there. FAILED when unknown."""
    if KILLED.search(text):
        return killed(out_of_memory)
    nccl = classify(text)
    advice = ADVICE.get(nccl["kind"]) if nccl and nccl["kind"] not in _NOT_NCCL else None
    for pattern, cause in _PATTERNS:
        if pattern.search(text) and (advice is None or nccl is None or nccl["weight"] in (LATE, GENERIC)):
            return cause
    return Cause(advice.rule, advice.cause, advice.remedy) if advice else FAILED


# Without NCCL in it such a text is the rendezvous's or Gloo's own.
_NOT_NCCL = (
    "harmless", "no_route_to_host", "connection_refused", "connect_timeout", "connection_aborted",
    "connection_closed_by_peer",
)  # fmt: skip
