# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What NCCL's logs, ds_report and collect_env say, as user files or from the probe.

A log of a user names machines by their own host names; where none of the plan's nodes has
that name the finding has no host, and its evidence is under the log's own word.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs import collect_env, ds_report
from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.nccl_failure import GENERIC
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import minor
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import gpus, rows
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import text as text_of
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_logs import (
    PROBE,
    accused,
    files_there,
    follows_from_mig,
    goes_nowhere,
    in_log,
    logs,
    logs_there,
    node_of,
    parts,
    unusable,
    unusable_addresses,
    worlds,
    writer,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_remedies import (
    ADVICE,
    GENERIC_RULES,
    IB_AS_SOCKET,
    advice_on,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._nccl_worlds import (
    active_port,
    apart,
    explained,
)


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
        title="InfiniBand fails: a port, a cable or the path",
        symptom="`status=12 vendor err 129`, `Got async event : port error`",
        source="stas00/ml-engineering debug/pytorch.md, NC#1925, NC#905, NC#230, ImageReward#65",
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
    "nccl-networks-differ",
    "drv-too-old",
    "drv-nvml-mismatch",
    "drv-fabricmanager",
    "env-ldpath-cuda-clash",
    "gpu-driver-not-loaded",
    "gpu-no-driver",
    "gpu-lost-from-bus",
    "gpu-none-usable",
    "gpu-compute-mode",
    "gpu-ecc",
    "gpu-nvlink",
    "p2p-acs-iommu",
    "hostfile-slots-exceed-gpus",
    "ver-arch-unsupported",
    "mem-gpu-oom",
    "gdr-unavailable",
    "roce-gid-index",
    "process-limit",
    of_jobs=True,
    applies=logs_there,
)
def first_cause(case: Case) -> t.Iterator[Answer]:
    """The first cause in each log, for each job in it; what follows from it is not told again."""
    read = logs(case)
    ours = [dig(log.said, "cause.weight", GENERIC) for log in read if log.path == PROBE]
    for log in read:
        bad = unusable_addresses(case, log)
        for world in worlds(log):
            causes = [each for each in rows(world, "causes") if not goes_nowhere(dig(each, "peer"), bad)]
            advice = advice_on(str(dig(causes[0], "kind")), str(dig(causes[0], "text"))) if causes else None
            if advice is None or explained(world) or follows_from_mig(case, log, causes[0]):
                continue
            if log.path == PROBE and dig(causes[0], "weight", GENERIC) > min(ours):
                continue  # it follows from what another node of the same run has logged
            identity = advice.rule
            if identity == "nccl-system-error-first-collective":  # torch's own word for it decides between the two
                generic = [GENERIC_RULES.get(str(dig(each, "kind"))) for each in dig(log.said, "failures", [])]
                identity = next((each for each in generic if each), identity)
            found = accused(case, log, advice, causes)
            yield in_log(case, identity, advice.severity, found, (advice.cause, advice.remedy))


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
    applies=logs_there,
)
def versions_in_logs(case: Case) -> t.Iterator[Answer]:
    """Hosts of one job with different versions of NCCL; attributed to those that differ from the most."""
    for log in logs(case):
        for world in worlds(log):
            if any(dig(each, "kind") == "version_mismatch" for each in rows(world, "causes")):
                continue
            versions = {host: dig(part, "nccl_versions", []) for host, part in dig(world, "by_host", {}).items()}
            single = {host: found[0] for host, found in versions.items() if len(found) == 1 and host}
            usual = max(single.values(), key=list(single.values()).count, default="")
            other = {host: version for host, version in single.items() if version != usual}
            if other:
                found = {
                    writer(case, log, host): f"{log.path}: NCCL {each}, others {usual}" for host, each in other.items()
                }
                advice = ADVICE["version_mismatch"]
                yield in_log(case, advice.rule, FAIL, found, (advice.cause, advice.remedy))


_OF_CLOUDS = re.compile(r"AWS|Libfabric|OFI|FastSocket|TCPX|FasTrak")


@rule(
    About(
        "gdr-unavailable",
        layer="nccl",
        severity=WARN,
        also=(FAIL,),
        title="GPUDirect RDMA is not available",
        symptom="no `/GDRDMA` in NCCL's log",
        source="NCCL src/graph/topo.cc:1653",
    ),
    of_jobs=True,
    applies=logs_there,
)
def direct_access(case: Case) -> t.Iterator[Answer]:
    """InfiniBand or RoCE without GPUDirect: every byte goes through the host's memory.

    GeForce cards never have it, nor do all instances of a cloud with a network of its own (EFA, gVNIC).
    """
    for log in logs(case):
        found = {}
        for host, part in dig(log.said, "by_host", {}).items():
            name = writer(case, log, host)
            never = gpus(case, name) and all(text_of(gpu, "name").startswith("GeForce") for gpu in gpus(case, name))
            cloud = _OF_CLOUDS.search(" ".join((*dig(part, "transports", {}), *dig(part, "networks", []))))
            if dig(part, "gdrdma") is False and not never and not cloud:
                ways = ", ".join(f"{way} {count}x" for way, count in dig(part, "transports", {}).items())
                seen = f"channels via {ways}, none with GDRDMA" if ways else "GPU Direct RDMA Disabled"
                found[name] = f"{log.path}: {seen}"
        if found:
            cause = "NCCL uses the RDMA network without direct access to the GPUs' memory"
            remedy = (
                "modprobe nvidia_peermem, now and at boot (or the open driver and kernel 5.12 or newer for DMA-BUF); "
                "if it is loaded and /sys/kernel/mm/memory_peers is not there, install the driver again after OFED"
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
    applies=logs_there,
)
def virtual_interfaces(case: Case) -> t.Iterator[Answer]:
    """NCCL has picked up interfaces of containers, bridges, tunnels or management cards, which the others can't reach.

    A failed connection to an address of theirs makes it the cause; without one NCCL may yet do without them.
    """
    for log in logs(case):
        bad = unusable_addresses(case, log)
        failed = [
            each for world in worlds(log) for each in rows(world, "causes") if goes_nowhere(dig(each, "peer"), bad)
        ]
        found = {}
        for host in dig(log.said, "by_host", {}):
            cards = unusable(case, log, host)
            if cards:
                names = ", ".join(f"{dig(each, 'name')} ({dig(each, 'address')})" for each in cards)
                found[writer(case, log, host)] = f"{log.path}: NCCL uses {names}" + "".join(
                    f"; line {dig(each, 'line')}: {str(dig(each, 'text', ''))[:160]}" for each in failed[:1]
                )
        if found:
            cause = "NCCL has chosen interfaces (virtual, or of a management card) that the other nodes cannot reach"
            remedy = (
                "Set the interface per node (trainmesh_interface), which writes NCCL_SOCKET_IFNAME to /etc/nccl.conf"
            )
            yield in_log(case, "nccl-ifname-auto-virtual", FAIL if failed else WARN, found, (cause, remedy))


# Its other warnings (files of /sys, GDRCopy, symbols of NCCL) are of no weight.
_NO_EFA = re.compile(r"NET/OFI .{0,80}(?:optimal provider|eligible providers|nitialization failed|EFA provider is|"
                     r"Failed to initialize .{0,40}protocol|Couldn't open|Could not open)")  # fmt: skip


@rule("ib-disabled-on-ib", "ib-libibverbs-missing", "perf-ethernet-bound", of_jobs=True, applies=logs_there)
def sockets_instead_of_rdma(case: Case) -> t.Iterator[Answer]:
    """NCCL took sockets on a node whose InfiniBand or RoCE port is active, or whose plugin for EFA said why not."""
    for log in logs(case):
        disabled = str(dig(log.said, "environment.NCCL_IB_DISABLE", "0")) not in ("0", "")
        library = any("libibverbs" in str(dig(each, "text")) for each in dig(log.said, "warnings", []))
        why = "disabled" if disabled else "library" if library else "other"
        found: dict[str, dict[str, str]] = {}
        for host, part in dig(log.said, "by_host", {}).items():
            name = writer(case, log, host)
            if host in apart(log) or dig(part, "networks") != ["Socket"]:
                continue  # that others use RDMA tells more
            warned = [each for each in dig(log.said, "warnings", []) if dig(each, "host") == host]
            of_efa = next((each for each in warned if _NO_EFA.search(str(dig(each, "text")))), None)
            if of_efa and (len(dig(log.said, "by_host", {})) > 1 or "NET/Socket" in dig(part, "transports", {})):
                seen = f"{log.path} line {dig(of_efa, 'line')}: {str(dig(of_efa, 'text'))[:200]}; Using network Socket"
                found.setdefault("efa", {})[name] = seen
            elif active_port(case, name):
                seen = f"{log.path}: Using network Socket, while {active_port(case, name)} is active"
                found.setdefault(why, {})[name] = seen
        for reason, seen_on in found.items():
            identity, severity, cause, remedy = IB_AS_SOCKET[reason]
            yield in_log(case, identity, severity, seen_on, (cause, remedy))


def reports(case: Case) -> t.Iterator[tuple[str, str, Data]]:
    """(node, path, report) of each ds_report; a file may hold those of several hosts."""
    for name, path, text in parts(case, "ds_report"):
        report = ds_report.parse(text)
        for host, own in report["hosts"].items():
            yield node_of(case, host) or host, path, own
        if not report["hosts"]:
            yield name, path, report


@rule("build-cpu-adam", "build-aio-missing", "build-ninja-missing", applies=files_there("ds_report"))
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
    applies=files_there("ds_report"),
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
    applies=files_there("collect_env"),
)
def environments(case: Case) -> t.Iterator[Answer]:
    """What collect_env says of NCCL on one node, and of torch on several."""
    torches, versions = {}, set()
    for name, path, text in parts(case, "collect_env"):
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
