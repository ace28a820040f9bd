# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on processes that the kernel ended for want of memory: whose memory it was, and whose process."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import absent, live, text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._kernel import (
    Event,
    before_today,
    events,
    is_rank,
    logs_known,
    long_ago,
    of,
)

_OF_A_GROUP = (
    "The memory limit of {} was reached, and the kernel killed a process in it; the node itself had memory left."
)
# cgroup -> what it is, and how its limit is raised; the first that fits
_GROUPS = (
    (r"kubepods", "a Kubernetes pod", "Raise resources.limits.memory of the pod"),
    (r"slurm|/job_\d", "a Slurm job", "Ask for more memory: sbatch --mem=0 (all of the node), or --mem-per-gpu"),
    (r"docker|libpod|containerd|lxc|machine\.slice",
     "a container", "docker update --memory 0 --memory-swap -1 NAME, or start it without --memory"),
    (r"user-\d+\.slice|user\.slice", "a user's session", "systemctl set-property user-UID.slice MemoryMax=infinity"),
    (r"", "a control group", "systemctl set-property UNIT MemoryMax=infinity, or raise memory.max of the group"),
)  # fmt: skip
_NODE_FULL = (
    "The kernel has killed processes because memory ran out; a rank ends with exit code -9 then.",
    "Fewer data loader workers, no offload to the CPU or fewer ranks a node; free -h while the job starts "
    "shows how much a rank takes.",
)
_NUMA_FULL = (
    "The memory of one NUMA node ran out while a process was bound to it (numactl, cpuset); the others had memory "
    "left.",
    "numactl --interleave=all, or no --membind: let the ranks of a node share all of its memory.",
)


def _why_killed(event: Event) -> tuple[str, str]:
    """Cause and remedy: the node's memory, that of a control group or of one NUMA node."""
    constraint, group = event.detail("constraint"), event.detail("cgroup")
    if constraint in ("CONSTRAINT_MEMORY_POLICY", "CONSTRAINT_CPUSET"):
        return _NUMA_FULL
    limited = constraint == "CONSTRAINT_MEMCG" or event.detail("what").startswith("Memory cgroup") or group
    if not limited or group == "/":
        return _NODE_FULL
    name, remedy = next((name, remedy) for pattern, name, remedy in _GROUPS if re.search(pattern, group))
    told = f"{name} ({group})" if group else name
    return _OF_A_GROUP.format(told), f"{remedy}; or use fewer data loader workers and no offload to the CPU."


def _of_others(case: Case, event: Event) -> bool:
    """Whether only a group was full that is not the job user's, as far as is known."""
    limited = event.detail("constraint") == "CONSTRAINT_MEMCG" or event.detail("what").startswith("Memory cgroup")
    own = dig(case.user.get(event.host), "uid")
    return limited and (own is None or event.detail("uid") != str(own))


@rule(
    About(
        "mem-huge-pages",
        layer="job",
        severity=FAIL,
        also=(WARN, INFO),
        title="A node ran out of huge pages",
        symptom="`killed due to inadequate hugepage pool`, `Bus error`, `OSError: [Errno 12]` of a fork",
        source="aws-ofi-nccl#292, Linux mm/hugetlb.c",
    ),
    needs=("user",),
    applies=logs_known,
)
def huge_pages(case: Case) -> t.Iterable[Answer]:
    """Processes that the kernel ended for want of a huge page: a child of a fork writes to one of its parent's."""
    for event in {(each.host, each.path): each for each in events(case, "huge_pages")}.values():
        cause = (
            "A process was ended because no huge page was free: a fork, as of a data loader, wants those of its parent "
            "once more (libfabric for EFA uses them without being told)."
        )
        remedy = (
            "FI_EFA_USE_HUGE_PAGE=0 for jobs over EFA (trainmesh_env); else sysctl -w vm.nr_hugepages=N with more of "
            "them (grep Huge /proc/meminfo), or data loaders with multiprocessing_context='spawn'."
        )
        severity = INFO if long_ago(case, event) else WARN if event.live else FAIL
        yield of(case, event, "mem-huge-pages", severity, (cause, remedy))


@rule(
    About(
        "mem-host-oom",
        layer="job",
        severity=FAIL,
        also=(WARN, INFO),
        title="A node ran out of memory",
        symptom="`exits with return code = -9`",
        source="DS#4239, DS#3823, DS#3160, DS#2852",
    ),
    needs=("user",),
)
def host_oom(case: Case) -> t.Iterable[Answer]:
    """Processes that the kernel killed for want of memory; a container shows its host's log, so that this is a hint."""
    kills: dict[tuple[str, str, bool, tuple[str, str]], list[Event]] = {}
    for event in events(case, "out_of_memory"):
        if event.host not in absent(case):
            kills.setdefault((event.host, event.path, is_rank(event), _why_killed(event)), []).append(event)
    for (_host, _path, rank, words), every in kills.items():
        last = every[-1]
        hint = all(long_ago(case, each) for each in every) or (_of_others(case, last) and not rank)
        severity = INFO if hint else FAIL if rank and not last.live else WARN
        who = f"{last.detail('victim')} of uid {last.detail('uid')}" if last.detail("uid") else last.detail("victim")
        count = sum(each.times for each in every)
        when = text(last.data, "time") or "at an unknown time"
        line = " ".join(text(last.data, "line").split())[:160]
        seen = f"{count} killed, the last {when}: {who or 'a whole group'}: {line}"
        yield of(case, last, "mem-host-oom", severity, words, f"{last.path}: {seen}" if last.path else seen)
    for host in live(case, "user"):
        if dig(case.user[host], "kernel_events") is not None:
            continue  # they tell more
        old = dig(case.user[host], "oom_kills", [])
        if old:
            line = " ".join(str(dig(old[-1], "line", "")).split())[:160]
            hint = dig(case.fabric.get(host), "container") or before_today(case, host, text(old[-1], "time"))
            yield finding(
                "mem-host-oom",
                INFO if hint else WARN,
                host,
                f"{len(old)} since boot, the last {dig(old[-1], 'time', 'at an unknown time')}: {line}",
                *_NODE_FULL,
            )
