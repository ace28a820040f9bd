# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What NCCL's logs, ds_report and collect_env say, handed in by the user or by the probe.

A log that was handed in names machines by their own host names; where none of the plan's nodes has
that name the finding has no host, and its evidence is under the log's own word.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import collect_env, ds_report, nccl
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.nccl_failure import GENERIC
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import minor
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import node, rows
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Finding,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_remedies import (
    ADVICE,
    GENERIC_RULES,
    IB_AS_SOCKET,
)

PROBE = "collective probe"  # the place of logs that nobody handed in
VIRTUAL = re.compile(r"(veth|br-|docker|virbr|cni|flannel|cali|tailscale|wg|zt|tun|vxlan)")


class Log(t.NamedTuple):
    """A log of NCCL: where it came from, the node it lay on, and what it says."""

    path: str
    holder: str
    said: Data


def texts(case: Case, kind: str) -> t.Iterator[tuple[str, str, str]]:
    """(node, path, text) of the files of a kind; the same text on several nodes counts once, but for reports."""
    seen: set[str] = set()
    for name in case.order:
        for file in rows(case.user.get(name), "files"):
            text = dig(file, "text", "")
            if dig(file, "kind") != kind or not text or (kind == "nccl_log" and text in seen):
                continue
            seen.add(text)
            yield name, str(dig(file, "path", kind)), text


def logs(case: Case) -> t.Iterator[Log]:
    """The logs handed in, and what the probe of collectives kept of its own."""
    for name, path, text in texts(case, "nccl_log"):
        yield Log(path, name, nccl.parse(text))
    for name, said in dict(dig(case.collective, "nccl", {})).items():
        if isinstance(said, dict) and name in case.plan["nodes"]:
            yield Log(PROBE, name, said)


def _files_there(kind: str) -> t.Callable[[Case], bool]:
    return lambda case: any(texts(case, kind))


def _logs_there(case: Case) -> bool:
    return any(texts(case, "nccl_log")) or bool(dig(case.collective, "nccl"))


def node_of(case: Case, word: str | None) -> str | None:
    """The node that a log means by a host name or an address; None when it is none of them."""
    for name in case.order if word else ():
        at = node(case, name)
        known = {name, *(str(dig(at, key, "")) for key in ("address", "hostname", "fqdn")), *dig(at, "names", [])}
        if word in known:
            return name
    return None


def writer(case: Case, log: Log, host: str) -> str:
    """Who wrote a line: a node's name, else the log's own word; the probe's logs are their node's."""
    if log.path == PROBE:
        return log.holder
    hosts = dig(log.said, "hosts", [])
    word = host or (hosts[0] if len(hosts) == 1 else "")
    return node_of(case, word) or word or log.path


def in_log(case: Case, identity: str, severity: str, found: t.Mapping[str, str], words: tuple[str, str]) -> Finding:
    """A Finding attributed to the nodes among the keys of ``found``; ``words`` are cause and remedy."""
    return Finding(identity, severity, tuple(name for name in found if name in case.plan["nodes"]), dict(found), *words)


@rule(
    About(
        "nccl-system-error-first-collective",
        layer="nccl",
        severity=FAIL,
        title="NCCL fails in the first collective",
        symptom="`unhandled system error`",
        source="field notes",
    ),
    About(
        "nccl-internal-error-init",
        layer="nccl",
        severity=FAIL,
        title="NCCL fails with an internal error at start",
        symptom="`ncclInternalError: Internal check failed`",
        source="field notes",
    ),
    About(
        "nccl-collective-mismatch",
        layer="nccl",
        severity=FAIL,
        title="Ranks call different collectives",
        symptom="a hang at full load",
        source="torchtitan#1681, NC#296, NC#531, NC#1328",
    ),
    About(
        "nccl-watchdog-timeout",
        layer="nccl",
        severity=FAIL,
        title="A rank stopped and the others timed out",
        symptom="`Watchdog caught collective operation timeout`",
        source="LlamaFactory#7396, PT#107855, speechbrain#1766, ms-swift#3343",
    ),
    About(
        "ib-retry-exceeded",
        layer="nccl",
        severity=FAIL,
        title="InfiniBand gave up retrying",
        symptom="`status=12 vendor err 129`",
        source="stas00/ml-engineering debug/pytorch.md, NC#1925, ImageReward#65",
    ),
    "nccl-ifname-absent-on-node",
    "nccl-net-forced-ib",
    "nccl-version-mismatch",
    "nccl-duplicate-gpu",
    "shm-too-small",
    "ib-memlock",
    "ib-rails-not-connected",
    "ib-container-devices",
    "fd-limit",
    of_jobs=True,
    applies=_logs_there,
)
def first_cause(case: Case) -> t.Iterator[Answer]:
    """The first cause in each log; what follows from it is not told again."""
    read = list(logs(case))
    ours = [dig(log.said, "cause.weight", GENERIC) for log in read if log.path == PROBE]
    for log in read:
        cause = dig(log.said, "cause")
        advice = ADVICE.get(str(dig(cause, "kind")))
        if cause is None or advice is None:
            continue
        if log.path == PROBE and dig(cause, "weight", GENERIC) > min(ours):
            continue  # it follows from what another node of the same run has logged
        identity = advice.rule
        if identity == "nccl-system-error-first-collective":  # torch's own word for it decides between the two
            generic = [GENERIC_RULES.get(str(dig(each, "kind"))) for each in dig(log.said, "failures", [])]
            identity = next((each for each in generic if each), identity)
        here = writer(case, log, str(dig(cause, "host", "")))
        peer = node_of(case, dig(cause, "peer"))
        ends: dict[str, list[str | None]] = {"both": [here, peer], "peer": [peer or here]}
        text = f"{log.path} line {dig(cause, 'line', 0)}: {dig(cause, 'text', '')[:300]}"
        seen = {name: text for name in ends.get(advice.attributed_to, [here]) if name}
        yield in_log(case, identity, advice.severity, seen, (advice.cause, advice.remedy))


@rule(
    About(
        "nccl-version-mismatch",
        layer="nccl",
        severity=WARN,
        also=(FAIL,),
        title="NCCL versions differ",
        symptom="`Mismatched NCCL version`, or a hang",
        source="field notes, NC#1241, PT#122571",
    ),
    of_jobs=True,
    applies=_logs_there,
)
def versions_in_logs(case: Case) -> t.Iterator[Answer]:
    """Hosts of one log with different versions of NCCL; attributed to those that differ from the most."""
    for log in logs(case):
        if dig(log.said, "cause.kind") == "version_mismatch":
            continue
        versions = {host: dig(part, "nccl_versions", []) for host, part in dig(log.said, "by_host", {}).items()}
        single = {host: found[0] for host, found in versions.items() if len(found) == 1 and host}
        usual = max(single.values(), key=list(single.values()).count, default="")
        other = {host: version for host, version in single.items() if version != usual}
        if other:
            found = {
                writer(case, log, host): f"{log.path}: NCCL {each}, others {usual}" for host, each in other.items()
            }
            advice = ADVICE["version_mismatch"]
            yield in_log(case, advice.rule, FAIL, found, (advice.cause, advice.remedy))


@rule(
    About(
        "gdr-unavailable",
        layer="nccl",
        severity=WARN,
        title="GPUDirect RDMA is not available",
        symptom="no `/GDRDMA` in NCCL's log",
        source="NCCL src/graph/topo.cc:1653",
    ),
    of_jobs=True,
    applies=_logs_there,
)
def direct_access(case: Case) -> t.Iterator[Answer]:
    """InfiniBand or RoCE without GPUDirect: every byte goes through the host's memory."""
    for log in logs(case):
        found = {}
        for host, part in dig(log.said, "by_host", {}).items():
            if dig(part, "gdrdma") is False:
                ways = ", ".join(f"{name} {count}x" for name, count in dig(part, "transports", {}).items())
                found[writer(case, log, host)] = f"{log.path}: channels via {ways}, none with GDRDMA"
        if found:
            cause = "NCCL uses the RDMA network without direct access to the GPUs' memory"
            remedy = (
                "modprobe nvidia_peermem, now and at boot (or the open driver and kernel 5.12 or newer for DMA-BUF)"
            )
            yield in_log(case, "gdr-unavailable", WARN, found, (cause, remedy))


@rule(
    About(
        "nccl-ifname-auto-virtual",
        layer="nccl",
        severity=WARN,
        also=(FAIL,),
        title="NCCL may choose a virtual interface",
        symptom="a hang, connections to 172.x or 100.64.x",
        source="NC#913, PT#68893, marin#6940",
    ),
    of_jobs=True,
    applies=_logs_there,
)
def virtual_interfaces(case: Case) -> t.Iterator[Answer]:
    """NCCL has picked up interfaces of containers, bridges or tunnels, which the other nodes cannot reach."""
    for log in logs(case):
        found = {}
        for host, part in dig(log.said, "by_host", {}).items():
            names = sorted({str(dig(each, "name")) for each in dig(part, "interfaces", [])})
            name = writer(case, log, host)
            meant = dig(node(case, name), "interface")  # a cluster may well be one over a VPN
            if any(VIRTUAL.match(each) and each != meant for each in names):
                found[name] = f"{log.path}: NCCL uses {', '.join(names)}"
        if found:
            cause = "NCCL has chosen virtual interfaces, whose addresses the other nodes cannot reach"
            remedy = (
                "Set the interface per node (trainmesh_interface), which writes NCCL_SOCKET_IFNAME to /etc/nccl.conf"
            )
            yield in_log(case, "nccl-ifname-auto-virtual", WARN, found, (cause, remedy))


@rule("ib-disabled-on-ib", "ib-libibverbs-missing", "perf-ethernet-bound", of_jobs=True, applies=_logs_there)
def sockets_instead_of_rdma(case: Case) -> t.Iterator[Answer]:
    """NCCL took sockets on a node whose InfiniBand or RoCE port is active."""
    for log in logs(case):
        disabled = str(dig(log.said, "environment.NCCL_IB_DISABLE", "0")) not in ("0", "")
        library = any("libibverbs" in str(dig(each, "text")) for each in dig(log.said, "warnings", []))
        why = "disabled" if disabled else "library" if library else "other"
        found = {}
        for host, part in dig(log.said, "by_host", {}).items():
            name = writer(case, log, host)
            if dig(part, "networks") == ["Socket"] and active_port(case, name):
                found[name] = f"{log.path}: Using network Socket, while {active_port(case, name)} is active"
        if found:
            identity, severity, cause, remedy = IB_AS_SOCKET[why]
            yield in_log(case, identity, severity, found, (cause, remedy))


def active_port(case: Case, name: str) -> str:
    """The first RDMA port of a node that is active; empty when there is none or it is not known."""
    for device in rows(case.fabric.get(name), "rdma.devices"):
        for port in rows(device, "ports"):
            if dig(port, "state") == "ACTIVE":
                return f"{dig(device, 'name')} port {dig(port, 'port')}"
    return ""


def reports(case: Case) -> t.Iterator[tuple[str, str, Data]]:
    """(node, path, report) of each ds_report; one made under pdsh holds those of several hosts."""
    for name, path, text in texts(case, "ds_report"):
        report = ds_report.parse(text)
        for host, own in report["hosts"].items():
            yield node_of(case, host) or host, path, own
        if not report["hosts"]:
            yield name, path, report


@rule("build-cpu-adam", "build-aio-missing", "build-ninja-missing", applies=_files_there("ds_report"))
def operators(case: Case) -> t.Iterator[Answer]:
    """Operators of DeepSpeed that can neither be used nor built on the spot."""
    for name, path, report in reports(case):
        if dig(report, "ops.cpu_adam.compatible") is False and not dig(report, "ops.cpu_adam.installed"):
            yield finding(
                "build-cpu-adam",
                WARN,
                name,
                f"{path}: cpu_adam [NO] [NO]",
                "DeepSpeed cannot build its optimizer for the CPU, which offload needs",
                "Install a compiler (g++), ninja and the CUDA toolkit of torch's own version, then run ds_report again",
            )
        if dig(report, "ops.async_io.compatible") is False:
            yield finding(
                "build-aio-missing",
                INFO,
                name,
                f"{path}: async_io [NO] [NO]",
                "The library for asynchronous I/O is missing; only offload to NVMe needs it",
                "apt install libaio-dev, or dnf install libaio-devel",
            )
        if dig(report, "ninja") is False:
            yield finding(
                "build-ninja-missing",
                WARN,
                name,
                f"{path}: ninja is missing",
                "DeepSpeed builds operators with ninja, which is not on the PATH of the job",
                "pip install ninja in the job's environment, on every node",
            )


@rule(
    About(
        "build-ops-other-torch",
        layer="versions",
        severity=FAIL,
        title="DeepSpeed was built for another PyTorch",
        symptom="`PyTorch version mismatch! DeepSpeed ops were compiled`",
        source="field notes, DS#6465, xtts#111, S95Sedan#4",
    ),
    applies=_files_there("ds_report"),
)
def compiled_with(case: Case) -> t.Iterator[Answer]:
    """Operators that were built for another torch; a wheel without any (torch 0.0) has nothing to be wrong."""
    for name, path, report in reports(case):
        built, runs = str(dig(report, "compiled_with.torch", "0.0")), str(dig(report, "values.torch version", ""))
        prebuilt = any(dig(op, "installed") is True for op in dig(report, "ops", {}).values())
        if prebuilt and built != "0.0" and len({minor(built), minor(runs)} - {""}) == 2:
            yield finding(
                "build-ops-other-torch",
                FAIL,
                name,
                f"{path}: compiled with torch {built}, runs with {runs}",
                "DeepSpeed's prebuilt operators belong to another torch and refuse to load",
                "pip cache remove deepspeed && pip install --force-reinstall --no-cache-dir --no-binary "
                "deepspeed deepspeed",
            )


@rule(
    About(
        "ver-python-torch-differs",
        layer="versions",
        severity=FAIL,
        also=(WARN,),
        title="Python or PyTorch versions differ between nodes",
        symptom="pickling, shapes or NCCL do not match",
        source="field notes",
    ),
    "nccl-version-mismatch",
    applies=_files_there("collect_env"),
)
def environments(case: Case) -> t.Iterator[Answer]:
    """What collect_env says of NCCL on one node, and of torch on several."""
    torches, versions = {}, set()
    for name, path, text in texts(case, "collect_env"):
        said = collect_env.parse(text)
        loaded, wheel = dig(said, "nccl.torch"), dig(said, "nccl.wheel")
        if loaded and wheel and loaded != wheel:
            yield finding(
                "nccl-version-mismatch",
                WARN,
                name,
                f"{path}: torch loads NCCL {loaded}, the wheel beside it is {wheel}",
                "torch loads another NCCL than the one that was installed with it",
                "Unset LD_LIBRARY_PATH and LD_PRELOAD for the job, or remove the system's libnccl2",
            )
        version = dig(said, "values.PyTorch version", "N/A")
        if version != "N/A":
            torches[name] = f"{path}: torch {version}"
            versions.add(str(version))
    remedy = "Unset LD_LIBRARY_PATH and LD_PRELOAD for the job, or remove the system's libnccl2"
    if len(versions) > 1:
        remedy = "Install the same torch on every node (trainmesh.cluster.torch_stack does)"
        for host, evidence in torches.items():
            yield finding(
                "ver-python-torch-differs", FAIL, host, evidence, "The nodes have different versions of torch", remedy
            )
