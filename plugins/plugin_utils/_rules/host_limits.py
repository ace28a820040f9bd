# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what a node lets a job have: shared memory, open files, processes, locked memory."""

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    gpu_count,
    has_rdma,
    limit,
    live,
    number,
    rdma_devices,
    rows,
    setting,
    size,
    text,
    uses_nccl,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Data,
    dig,
    finding,
    rule,
)

UNLIMITED = -1


def _slots(case: Case, host: str, gpus: int) -> int:
    """How many ranks the plan starts on the host; as many as it has GPUs where there is no plan."""
    planned = number(dig(case.plan, "nodes", {}).get(host), "slots")
    return gpus if planned is None else int(planned)


def _larger_shm(container: bool) -> str:
    """How /dev/shm grows; from inside a container it mostly can't (CAP_SYS_ADMIN)."""
    if container:
        return (
            "Start the container anew with --shm-size 16g or --ipc host (Kubernetes: an emptyDir of medium Memory); "
            "only one that has CAP_SYS_ADMIN can do it itself: mount -o remount -o size=50% /dev/shm"
        )
    return (
        "mount -o remount -o size=50% /dev/shm and the same in /etc/fstab; in a container instead --shm-size 16g or "
        "--ipc host when it is started."
    )


@rule(
    About(
        "shm-too-small",
        layer="nccl",
        severity=FAIL,
        also=(WARN,),
        title="/dev/shm is too small",
        symptom="`No space left on device (28)`, `Bus error`",
        source="NC#290, NC#342, NC#525, NC#473, fal#2, vllm#1710",
    ),
    needs=("fabric",),
)
def shm(case: Case) -> t.Iterable[Answer]:
    """/dev/shm, through which NCCL's ranks on a node and the workers of a data loader talk."""
    for host in live(case):
        remedy = _larger_shm(bool(dig(case.fabric[host], "container")))
        total, free = (number(case.fabric[host], f"shm.{key}") for key in ("total_bytes", "free_bytes"))
        count = gpu_count(case, host)
        if total is None:
            continue
        least, wanted = limit(case, "shm_fail_bytes"), count * limit(case, "shm_warn_bytes_per_gpu")
        if total < least:
            cause = "/dev/shm is so small that data loaders and NCCL end with a bus error or No space left on device."
            # One rank, or none with a GPU, trains with little of it: only NCCL between ranks of a node takes much.
            severity = FAIL if count and _slots(case, host, count) > 1 else WARN
            yield finding("shm-too-small", severity, host, f"/dev/shm has {size(total)}", cause, remedy)
        elif free is not None and free < limit(case, "shm_free_fail_bytes"):
            cause = "/dev/shm is full, mostly of what killed jobs left behind."
            clean = "See ls -l /dev/shm; remove the files of jobs that are gone (nccl-*, torch_*, sem.*)."
            yield finding("shm-too-small", FAIL, host, f"{size(free)} of {size(total)} free", cause, clean)
        elif total < wanted:
            evidence = f"/dev/shm has {size(total)} for {count} GPUs"
            cause = "/dev/shm is small for the number of GPUs: data loaders with several workers may not fit."
            yield finding("shm-too-small", WARN, host, evidence, cause, remedy)


@rule(
    About(
        "fd-limit",
        layer="nccl",
        severity=WARN,
        also=(FAIL,),
        title="The open-file limit is too low",
        symptom="`Too many open files`",
        source="NC#550, NC#127",
    ),
    needs=("fabric",),
)
def fd_limit(case: Case) -> t.Iterable[Answer]:
    """Open files: NCCL raises its soft limit to the hard one itself, so that the hard one decides."""
    remedy = (
        "trainmesh_node_base: [limits], and site.yml; or put '* - nofile 1048576' and 'root - nofile 1048576' into "
        "/etc/security/limits.d/90-training.conf, see that sshd has UsePAM yes, and log in anew."
    )
    for host in live(case):
        facts, gpus = dig(case.fabric[host], "limits", {}), gpu_count(case, host) > 0
        soft, hard = number(facts, "nofile"), number(facts, "hard.nofile")
        most = soft if hard is None else hard
        if most is None or most == UNLIMITED:
            continue
        cause = "A job runs out of file descriptors: every connection, worker and open file takes one."
        shown = f"{soft if soft is not None else 'unknown'}, at most {most:.0f} ({dig(facts, 'of', 'limits')})"
        if most <= limit(case, "fd_fail"):
            yield finding("fd-limit", FAIL if gpus else WARN, host, f"open files: {shown}", cause, remedy)
        elif (gpus and most < limit(case, "fd_warn")) or (soft is not None and 0 <= soft < limit(case, "fd_soft_warn")):
            yield finding("fd-limit", WARN, host, f"open files: {shown}", cause, remedy)


@rule(
    About(
        "process-limit",
        layer="nccl",
        severity=FAIL,
        also=(WARN,),
        title="The limit of processes and threads is too low",
        symptom="`can't start new thread`, `Resource temporarily unavailable`, or no word at all",
        source="setrlimit(2), cgroups(7) pids.max",
    ),
    needs=("fabric",),
)
def process_limit(case: Case) -> t.Iterable[Answer]:
    """Processes and threads of the job user: the limit of a login, which root has not, and that of a container."""
    for host in live(case):
        facts = case.fabric[host]
        least, wanted = limit(case, "processes_fail"), limit(case, "processes_warn")
        of = text(facts, "limits.of")
        soft, pids = number(facts, "limits.nproc"), number(facts, "cgroup_limits.pids")
        root = str(dig(case.plan, "user") or dig(case.user.get(host), "name", "")) == "root"
        given = {}
        if soft is not None and soft != UNLIMITED and not root and of != "this process":
            given["a login"] = soft
        if pids is not None:
            given["the container"] = pids
        unit = text(facts, "cgroup_limits.login.unit")
        tasks = number(facts, "cgroup_limits.login.pids")
        if unit and tasks is not None:
            given[unit] = tasks
        where, most = min(given.items(), key=lambda item: item[1], default=("", wanted))
        if most >= wanted:
            continue
        login = where == "a login"
        yield finding(
            "process-limit",
            FAIL if most < least else WARN,
            host,
            f"{where} may have {most:.0f} processes and threads" + (f" ({of})" if login and of else ""),
            "Every rank starts threads by the dozen, for OpenMP, autograd, NCCL and data loaders: with this limit a "
            "job ends at once, or hangs, mostly without saying why.",
            "Put '* - nproc 65536' into /etc/security/limits.d/90-training.conf (files there that come later in the "
            "alphabet go above it), see that sshd has UsePAM yes, and log in anew."
            if login
            else f"systemctl set-property {shlex.quote(unit)} TasksMax=infinity, and see that no drop-in of it below "
            "/etc/systemd/system sets TasksMax lower."
            if where == unit
            else "Start the container with --pids-limit -1 (Kubernetes: podPidsLimit), or set TasksMax=infinity for "
            "its service.",
        )


@rule(
    About(
        "ib-memlock",
        layer="nccl",
        severity=FAIL,
        title="The locked-memory limit is too low for RDMA",
        symptom="`ibv_reg_mr` or `ibv_create_qp`: Cannot allocate memory",
        source="NT#206, ucx#8229",
    ),
    needs=("fabric",),
    applies=has_rdma,
)
def memlock(case: Case) -> t.Iterable[Answer]:
    """Locked memory, which RDMA needs for every buffer; where no job uses RDMA the limit says nothing."""
    for host in live(case) if uses_nccl(case) else ():
        found, off = number(case.fabric[host], "limits.memlock"), setting(case, host, "NCCL_IB_DISABLE")
        devices = [text(item, "name") for item in rdma_devices(case, host) if _may_serve(item)]
        if found is None or found == UNLIMITED or found >= limit(case, "memlock_min_bytes"):
            continue
        if devices and not (off and off.on):
            yield finding(
                "ib-memlock",
                FAIL,
                host,
                f"a login may lock {size(found)}; RDMA devices {', '.join(devices)}",
                "RDMA registers its buffers as locked memory; with this limit ibv_reg_mr or ibv_create_qp ends with "
                "Cannot allocate memory.",
                "trainmesh_node_base: [limits], and site.yml; or put '* - memlock unlimited' into "
                "/etc/security/limits.d/90-training.conf, see that sshd has UsePAM yes, restart sshd and log in anew; "
                "containers: --ulimit memlock=-1.",
            )


def _may_serve(device: Data) -> bool:
    """Whether a port of an RDMA device is active, or nobody knows."""
    ports = rows(device, "ports")
    return not ports or any(text(port, "state") == "ACTIVE" for port in ports)
