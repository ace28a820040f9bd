# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the jobs of the launchers and the sum over all nodes have shown."""

from __future__ import annotations

import statistics
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import busy as diagnosis_busy
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    active_ports,
    data_interface,
    gpus,
    limit,
    model,
    named,
    number,
    rows,
    setting,
    text,
    texts,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Finding,
    Untested,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._job_cause import Cause
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._job_causes import (
    CAUSES,
    FAILED,
    HOST_OOM,
    RANK_KILLED,
    STUCK,
    cause_of,
    crashed,
    is_consequence,
    killed,
    out_of_memory,
)

DIED = ("killed", "crashed")  # failures of a rank that a signal ended before any other
LEAST_BYTES = 1024 * 1024  # below this size a sum measures latency
NOT_REACHED = Cause(
    "collective-failed",
    "The nodes together cannot do what jobs do first: sum over all ranks",
    "Try the suspects alone: trainmesh-torchrun on them, with NCCL_DEBUG=INFO or TORCH_DISTRIBUTED_DEBUG=DETAIL",
)
SLOW_REMEDY = (
    "Compare the speed, duplex and errors of the interfaces (ethtool, ip -s link), and what else uses the link; "
    "iperf3 between the two nodes must show the speed of the link"
)
MORE_TIME = "raise trainmesh_job_timeout if the nodes are only slow"
JOB_IDS = tuple(
    dict.fromkeys((*(cause.rule for cause in CAUSES.values()), FAILED.rule, RANK_KILLED.rule, HOST_OOM.rule))
)


def _jobs_ran(case: Case) -> bool:
    return bool(case.jobs)


def _collective_ran(case: Case) -> bool:
    return case.collective is not None


@rule(
    About(
        "mem-gpu-oom",
        layer="job",
        severity=FAIL,
        title="A GPU ran out of memory",
        symptom="`CUDA out of memory`, a smaller batch does not help",
        source="field notes",
    ),
    About(
        "rdzv-libuv",
        layer="network",
        severity=FAIL,
        title="This PyTorch has no libuv",
        symptom="`without libuv support`",
        source="PT#148283",
    ),
    About(
        "rdzv-store-barrier",
        layer="network",
        severity=FAIL,
        title="Some ranks never reach the rendezvous",
        symptom="`store based barrier ... worker_count=8`",
        source="Megatron-LM#782, TR#21373",
    ),
    About(
        "job-failed",
        layer="job",
        severity=FAIL,
        title="A job failed",
        symptom="a launcher's job does not come to its end",
        source="docs/architecture.md",
    ),
    About(
        "job-rank-killed",
        layer="job",
        severity=FAIL,
        title="A rank was killed",
        symptom="a rank ends by a signal, the others wait",
        source="signal(7)",
    ),
    *JOB_IDS,
    of_jobs=True,
    applies=_jobs_ran,
)
def jobs(case: Case) -> t.Iterator[Answer]:
    """Why jobs failed: for each the causes that its texts name; what only follows from them is not told."""
    found: dict[Cause, dict[str, str]] = {}
    for job in case.jobs:
        if dig(job, "ok", True):
            continue
        causes = job_causes(case, job)
        if dig(job, "timed_out") and all(own_limit(each) for each in causes):
            yield Untested("job-failed", (), f"the job of {dig(job, 'launcher')}: {_time_over(job)}; {MORE_TIME}")
            continue
        for fault in causes:
            evidence = found.setdefault(fault.cause, {})
            place, said = fault.host or str(dig(job, "launcher", "job")), f"{dig(job, 'launcher')}: {fault.text}"
            evidence[place] = "; ".join(filter(None, (evidence.get(place), said)))[:600]
    for cause, evidence in found.items():
        hosts = tuple(name for name in evidence if name in case.plan["nodes"])
        yield Finding(cause.rule, FAIL, hosts, evidence, cause.cause, cause.remedy)


class JobFault(t.NamedTuple):
    """A fault of a job's verdict, and what it means."""

    cause: Cause
    host: str
    text: str
    failure: str

    @property
    def consequence(self) -> bool:
        """Whether it is what other ranks, or the job, show when a rank went away or hangs."""
        return self.failure in ("timeout", "ended") or is_consequence(self.text)

    @property
    def follows(self) -> bool:
        """Whether the rule of its text would only tell of such a consequence."""
        return self.consequence and self.of_connection

    @property
    def of_connection(self) -> bool:
        """Whether the rule of its text is about what connects the ranks."""
        return self.cause.rule.startswith(("nccl-", "rdzv-"))


def own_limit(fault: JobFault) -> bool:
    """Whether a cause is no more than what a job shows that was ended at its time limit, ranks that we killed too."""
    return fault.cause in (FAILED, RANK_KILLED) or fault.follows


def _time_over(job: Data) -> str:
    faults = rows(job, "faults")
    return next((text(fault, "cause") for fault in faults if text(fault, "failure") == "timeout"), "not finished")


def _fault(case: Case, fault: Data) -> JobFault:
    """The words of ranks and launchers are looked up; those of the verdict itself mean what ``failure`` says."""
    host, said, failure = (text(fault, key) for key in ("host", "cause", "failure"))
    if failure in DIED:
        cause = killed(out_of_memory(case, host)) if failure == "killed" else crashed(said)
        return JobFault(cause, host, said, failure)
    foreign = failure in ("error", "launcher", "timeout")
    return JobFault(cause_of(said, out_of_memory(case, host)) if foreign else FAILED, host, said, failure)


def job_causes(case: Case, job: Data) -> list[JobFault]:
    """What is wrong with a job, the specific faults if there are any."""
    faults = [_fault(case, fault) for fault in rows(job, "faults")]
    specific = [each for each in faults if each.cause is not FAILED and not each.follows]
    if any(each.failure in DIED for each in faults):  # that others lost their connections follows from it
        specific = [each for each in specific if not each.of_connection]
    if specific:
        return specific
    first = [each for each in faults if each.host and each.failure == "launcher"]
    if first:
        return first
    missing = [each for each in faults if each.host and each.failure == "no_record"]
    others = [each for each in faults if each.host and each not in missing]
    if missing and others and all(each.consequence for each in others):
        return [each._replace(cause=killed(out_of_memory(case, each.host))) for each in missing]
    if _explained(case) and all(each.consequence or each in missing for each in faults):
        return []  # the sum over all nodes has told where it hangs
    return faults[:1] or [JobFault(FAILED, "", "it failed without a word", "")]


def _explained(case: Case) -> bool:
    return dig(case.collective, "ok") is False and bool(dig(case.collective, "suspects", []))


@rule(
    About(
        "collective-failed",
        layer="nccl",
        severity=FAIL,
        title="The all-reduce across all ranks failed",
        symptom="the ranks do not get through an all-reduce",
        source="NCCL, Gloo",
    ),
    About(
        "collective-stalled",
        layer="nccl",
        severity=FAIL,
        title="The all-reduce across all ranks hangs",
        symptom="a hang at the first all-reduce",
        source="NCCL, Gloo",
    ),
    of_jobs=True,
    applies=_collective_ran,
)
def collective(case: Case) -> t.Iterator[Answer]:
    """The sum over all nodes failed: the suspects and what they showed, else what was said."""
    answer = case.collective
    if answer is None or dig(answer, "ok") is not False:
        return
    if dig(answer, "late"):
        why = f"the sum over all ranks was not tested: {dig(answer, 'late')}; {MORE_TIME}"
        yield Untested("collective-failed", (), why)
        return
    reason = dig(answer, "reason", {"evidence": text(answer, "error") or "no error text"})
    for suspect in rows(answer, "suspects") or [reason]:
        hosts = tuple(name for name in texts(suspect, "hosts") if name in case.plan["nodes"])
        cause = _cause_of_suspect(case, suspect, hosts[0] if hosts else "")
        if not _in_nccl_log(answer, cause):
            yield _of_collective(cause, hosts, text(suspect, "evidence"))


def _cause_of_suspect(case: Case, suspect: Data, host: str) -> Cause:
    """What the probe saw by itself, else what the words of the rank, of ssh or of torch mean."""
    failure = text(suspect, "failure")
    if failure in ("stopped", "in_kernel", "awaited"):
        return STUCK
    if failure == "killed":
        return killed(out_of_memory(case, host))
    return cause_of(text(suspect, "evidence"), out_of_memory(case, host))


def _in_nccl_log(answer: Data, cause: Cause) -> bool:
    """Whether NCCL's own log has told more of it than the error of torch, and so another rule does."""
    return cause.rule.startswith("nccl-") and any(dig(said, "cause") for said in dig(answer, "nccl", {}).values())


def _of_collective(cause: Cause, hosts: tuple[str, ...], said: str) -> Finding:
    """A finding of the probe; what has no rule of its own is the probe's."""
    if cause is FAILED:
        cause = NOT_REACHED
    evidence = dict.fromkeys(hosts, said) or {"collective probe": said}
    return Finding(cause.rule, FAIL, hosts, evidence, cause.cause, cause.remedy)


@rule(
    About(
        "collective-slow",
        layer="nccl",
        severity=WARN,
        title="The all-reduce across all ranks is slow",
        symptom="less than the links allow",
        source="NVIDIA/nccl-tests, PERFORMANCE.md",
    ),
    of_jobs=True,
    applies=_collective_ran,
)
def slow(case: Case) -> t.Iterator[Answer]:
    """The sum is right and slow: the suspects of the trials, else compared with the links."""
    answer = case.collective
    if answer is None or not dig(answer, "ok"):
        return
    cause = "A link between the nodes is much slower than the others, and every sum waits for it"
    suspects, busy = dig(answer, "suspects", []), diagnosis_busy.ever(case, case.order)
    for suspect in suspects:
        hosts = tuple(name for name in dig(suspect, "hosts", []) if name in case.plan["nodes"])
        if busy.at_all:
            yield Untested("collective-slow", hosts, f"busy nodes ({busy.words}): {dig(suspect, 'evidence', '')}")
            continue
        evidence = dict.fromkeys(hosts, str(dig(suspect, "evidence", "")))
        yield Finding("collective-slow", WARN, hosts, evidence, cause, SLOW_REMEDY)
    sizes = [row for row in rows(answer, "sweep") if dig(row, "bytes", 0) >= LEAST_BYTES]
    wanted, why = expected_mbps(case, answer)
    if suspects or len(case.order) < 2 or not sizes or wanted <= 0:
        return
    got = float(dig(sizes[-1], "busbw_gbps", 0.0)) * 8000
    if got < wanted:
        seen = f"{got:.0f} Mbit/s at {dig(sizes[-1], 'bytes')} bytes, at least {wanted:.0f} expected ({why})"
        if busy.at_all:
            yield Untested("collective-slow", (), f"busy nodes ({busy.words}): {seen}")
            return
        cause = "The sum over all nodes uses a small part of the network only"
        yield Finding("collective-slow", WARN, (), {"collective probe": seen}, cause, SLOW_REMEDY)


def expected_mbps(case: Case, answer: Data) -> tuple[float, str]:
    """The least bus bandwidth in Mbit/s, and how it comes about; 0 when no speed is known."""
    if dig(answer, "backend") == "nccl" and _over_rdma(answer):
        speeds = [rdma_mbps(case, name) for name in case.order]
        share = limit(case, "collective_share_rdma")
    else:
        speeds = [link_mbps(case, name) for name in case.order]
        share = limit(case, "collective_share")
    if not speeds or not all(speeds):
        return 0.0, "speeds unknown"
    slowest = min(speeds)
    if dig(answer, "backend") == "gloo":  # one thread on a busy CPU does not fill a fast link
        return min(
            slowest * share, limit(case, "collective_gloo_cap_mbps")
        ), f"{share:.0%} of {slowest:.0f}, capped for Gloo"
    return slowest * share, f"{share:.0%} of {slowest:.0f} Mbit/s"


def _over_rdma(answer: Data) -> bool:
    """Whether NCCL chose another network than sockets on some host."""
    found = {name for said in dig(answer, "nccl", {}).values() for name in dig(said, "networks", [])}
    return bool(found) and "Socket" not in found


def link_mbps(case: Case, name: str) -> float:
    """What a node's link does: measured to its best peer, else the speed of its interface; 0 when unknown."""
    measured = [float(dig(row, "mbps", 0) or 0) for row in dict(dig(case.links, name, {})).values() if dig(row, "ok")]
    if any(measured):
        return max(measured)
    return number(data_interface(case, name), "speed_mbps") or 0.0


def rdma_mbps(case: Case, name: str) -> float:
    """The active ports of a node that NCCL may use, but no more of them than it has ranks; 0 when unknown."""
    active, wish = active_ports(case, name), setting(case, name, "NCCL_IB_HCA")
    used = named(wish.value, list(active)) if wish else active
    rates = [number(active[port], "rate_gbps") or 0 for port in used]
    slots = int(dig(case.node(name), "slots", 1) or 1)
    return 1000 * sum(sorted(rates, reverse=True)[:slots])


@rule(
    About(
        "collective-straggler",
        layer="nccl",
        severity=WARN,
        title="One node is slower than the others",
        symptom="all wait for one",
        source="field notes",
    ),
    of_jobs=True,
    applies=_collective_ran,
)
def straggler(case: Case) -> t.Iterator[Answer]:
    """Nodes whose ranks take much longer for the same piece of own work; every step waits for them."""
    seconds: dict[str, float] = {}
    for rank in dig(case.collective, "ranks", []):
        own, host = dig(rank, "seconds"), str(dig(rank, "host", ""))
        if isinstance(own, (int, float)) and host in case.plan["nodes"]:
            seconds[host] = max(seconds.get(host, 0.0), float(own))
    cpu = dig(case.collective, "backend") != "nccl"
    ratio = limit(case, "straggler_ratio_cpu" if cpu else "straggler_ratio")
    least = limit(case, "straggler_min_ms") / 1000 if cpu else 0.0
    alike: dict[tuple[str, ...], dict[str, float]] = {}
    for host, own in seconds.items():  # an older model is slower without being ill
        kinds = () if cpu else tuple(sorted({model(gpu) for gpu in gpus(case, host)}))
        alike.setdefault(kinds, {})[host] = own
    found = {}
    for group in alike.values():
        usual = statistics.median_low(group.values())
        for host, own in group.items():
            if own > usual * ratio and own - usual > least:
                found[host] = f"{own * 1000:.1f} ms for a step that takes {usual * 1000:.1f} ms elsewhere"
    for host in list(found):
        busy = diagnosis_busy.ever(case, [host])
        if busy.at_all:
            yield Untested("collective-straggler", (host,), f"busy ({busy.words}): {found.pop(host)}")
    cause = "The node works slower than the others, which wait for it at every step"
    remedy = "Look there at clocks and heat (nvidia-smi -q -d PERFORMANCE,TEMPERATURE), other processes and CPU limits"
    for host, evidence in found.items():
        yield finding("collective-straggler", WARN, host, evidence, cause, remedy)
