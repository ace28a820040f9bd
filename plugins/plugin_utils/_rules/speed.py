# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the speed of each GPU, and of the processors, by themselves.

A GPU is compared with those of its model, memory, power limit and software, three at the least; then with a table of
models, by a wide margin. What is slow for a reason of ours, or of somebody else's work, is not judged.
"""

from __future__ import annotations

import collections
import re
import statistics
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import table
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import busy, speed, thresholds
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    gpu_place,
    gpus,
    limit,
    mapping,
    most_common,
    number,
    rows,
    text,
    texts,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Untested,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.speed import Row

_SHARED_GPU = re.compile(r"-\d{1,3}[ABCQ]\Z|\bGRID\b|\bMIG\b")  # a vGPU's name: A40-48Q
_HEAT = ("hw_thermal_slowdown", "sw_thermal_slowdown")
_POWER = ("hw_power_brake_slowdown", "hw_slowdown")


class Slow(t.NamedTuple):
    """A GPU that is slower than it should be: how much was got and wanted, and by what it is measured."""

    row: Row
    got: float
    wanted: str


class Reason(t.NamedTuple):
    """Why, and the way out."""

    cause: str
    remedy: str


def _measured(case: Case) -> bool:
    return any(speed.measured(case)) or any(dig(answer, "device") == "gpu" for answer in case.speed.values())


def _cpus(case: Case) -> bool:
    return any(dig(answer, "device") == "cpu" for answer in case.speed.values())


# --- what is compared


def like(case: Case, row: Row) -> tuple[t.Hashable, ...]:
    """GPUs with the same are compared; None of a power limit is like any other None."""
    return (*speed.kind(case, row), speed.power_limit(row))


def below_median(case: Case, key: str, share: float, alike: t.Callable[[Row], t.Hashable]) -> list[Slow]:
    """GPUs that reach less than a share of the median of those that are alike."""
    groups: dict[t.Hashable, list[Row]] = collections.defaultdict(list)
    for row in _usable(case):
        if number(row.gpu, key) is not None:
            groups[alike(row)].append(row)
    found = []
    for group in groups.values():
        values = {str(place): number(row.gpu, key) for place, row in enumerate(group)}
        usual = thresholds.median(values.values())
        for place, got in thresholds.below(values, share).items():
            found.append(Slow(group[int(place)], got, f"the median of {len(group)} alike is {usual:.4g}"))
    return found


def below_table(case: Case, key: str, name: str, share: float) -> list[Slow]:
    """GPUs that reach less than a share of what their model can do; one whose power limit was lowered is not meant."""
    found = []
    for row in _usable(case):
        got, model = number(row.gpu, key), text(row.gpu, "name")
        most = None if _SHARED_GPU.search(model) else thresholds.limit(case.thresholds, name, model)
        if got is not None and most and got < share * most and not speed.capped(row):
            found.append(Slow(row, got, f"{most:.4g} is the most of this model"))
    return found


def _usable(case: Case) -> list[Row]:
    """The GPUs that were measured by one node alone."""
    double = speed.twice(case)
    return [row for row in speed.measured(case) if text(row.gpu, "uuid") not in double]


def first(*groups: t.Sequence[Slow]) -> list[Slow]:
    """Each GPU once, by the first measure that found it."""
    found: dict[tuple[str, str], Slow] = {}
    for slow in (each for group in groups for each in group):
        found.setdefault((slow.row.host, text(slow.row.gpu, "uuid")), slow)
    return list(found.values())


# --- how it is said


def evidence(slow: Slow, unit: str) -> str:
    """How fast, and the state under load."""
    state = under_load(slow.row)
    return f"{gpu_place(slow.row.gpu)}: {slow.got:.4g} {unit}, {slow.wanted}" + (
        f"; under load {state}" if state else ""
    )


def under_load(row: Row) -> str:
    """Clocks, power, temperature, what slows it down, and the PCIe link, as far as they are known."""
    load, parts = row.load, []
    for key, top, name in (("sm_mhz", "sm_max_mhz", "MHz"), ("memory_mhz", "memory_max_mhz", "MHz of the memory")):
        now, highest = number(load, key), number(load, top)
        if now is not None:
            parts.append(f"{now:g}{f' of {highest:g}' if highest else ''} {name}")
    now, most, usual = number(load, "power_w"), speed.power_limit(row), number(load, "power_default_w")
    if now is not None:
        parts.append(f"{now:.0f}{f' of {most:.0f}' if most else ''} W" + (f" (default {usual:.0f})" if usual else ""))
    if number(load, "temperature_c") is not None:
        parts.append(f"{number(load, 'temperature_c'):g} C")
    reasons = [reason for reason in texts(load, "throttle_reasons") if reason != "gpu_idle"]
    if dig(load, "throttle_reasons") is not None:
        parts.append(f"clocks held by {', '.join(reasons)}" if reasons else "nothing holds its clocks")
    width, lanes = number(load, "pcie.width_current"), number(load, "pcie.width_max")
    if width is not None:
        generation, newest = number(load, "pcie.gen_current"), number(load, "pcie.gen_max")
        of = f"generation {generation:g} of {newest:g}, " if generation is not None and newest is not None else ""
        parts.append(f"PCIe {of}{width:g}{f' of {lanes:g}' if lanes else ''} lanes")
    return ", ".join(parts) if load else ""


def _index(row: Row) -> str:
    return text(row.gpu, "uuid") if dig(row.gpu, "index") is None else str(dig(row.gpu, "index"))


def held_back(row: Row) -> Reason | None:
    """What the driver says slows the GPU down under load; None when it says nothing of it."""
    reasons, index = texts(row.load, "throttle_reasons"), _index(row)
    if any(each in reasons for each in _HEAT):
        return Reason(
            "A GPU is slowed down by heat as soon as it works, and every rank waits for it.",
            "nvidia-smi -q -d TEMPERATURE,PERFORMANCE there, under load; clean the air filters, look at "
            "fans and airflow, and have the heat sink mounted again if its neighbours stay cool.",
        )
    if any(each in reasons for each in _POWER):
        return Reason(
            "A GPU is slowed down by its power supply as soon as it works, and every rank waits for it.",
            "nvidia-smi -q -d POWER,PERFORMANCE there, under load; check power cables, power supplies and "
            "the power limit of the rack.",
        )
    now, most = number(row.load, "sm_mhz"), number(row.load, "sm_max_mhz")
    if "applications_clocks_setting" in reasons and now and most and now < 0.95 * most:
        return Reason(
            "The applications clocks of a GPU were set lower than those of the others.",
            f"nvidia-smi -i {index} -rac there, which resets them, unless they were meant.",
        )
    if speed.capped(row) and "sw_power_cap" in reasons:
        return Reason(
            "The power limit of a GPU was lowered, and it reaches the limit.",
            f"nvidia-smi -i {index} -pl {number(row.load, 'power_default_w') or 0:.0f} there, unless it is meant.",
        )
    return None


def _unknown(what: str) -> Reason:
    return Reason(
        f"{what}, and the driver tells no reason.",
        "dcgmi diag -r 3 there, or nvidia-smi -q beside that of a fast GPU; then "
        "reset the GPU, and have it replaced if it stays slow.",
    )


def _told(case: Case, rule_id: str, slow: Slow, unit: str, reason: Reason) -> Answer:
    """The finding, unless the node was busy, which explains it as well."""
    host, seen = slow.row.host, evidence(slow, unit)
    state = busy.node(case, host, "speed")
    if state.at_all:
        return Untested(rule_id, (host,), f"busy ({state.words}): {seen}")
    return finding(rule_id, WARN, host, seen, reason.cause, reason.remedy)


# --- the rules


@rule(
    About(
        "gpu-slow",
        layer="gpu",
        severity=WARN,
        title="A GPU computes slower than others of its model",
        symptom="one rank sets the pace of all",
        source="microsoft/superbenchmark, AMD-AIG-AIMA/Primus",
    ),
    needs=("speed",),
    of_jobs=True,
    applies=_measured,
)
def compute(case: Case) -> t.Iterator[Answer]:
    """The matrix product; and here it is told which GPUs were not tested at all."""
    yield from _untested(case)
    share = limit(case, "gpu_share_of_median")
    table_share = limit(case, "gpu_matrix_share_of_table")
    found = below_median(case, "tflops", share, lambda row: like(case, row))
    if any(dig(answer, "precision") in ("bf16", "fp16") for answer in case.speed.values()):
        found = first(found, below_table(case, "tflops", "gpu_matrix_tflops", table_share))
    for slow in found:
        unit = f"TFLOP/s in {text(slow.row.answer, 'precision')}"
        reason = held_back(slow.row) or _unknown("A GPU computes slower than it should")
        yield _told(case, "gpu-slow", slow, unit, reason)


def _untested(case: Case) -> t.Iterator[Untested]:
    """Nodes and GPUs that could not be measured, and why."""
    double = speed.twice(case)
    for host, answer in case.speed.items():
        if dig(answer, "device") != "gpu":
            continue
        why = [text(answer, "reason")] if text(answer, "reason") else []
        by_reason: dict[str, list[str]] = collections.defaultdict(list)
        for gpu in rows(answer, "gpus"):
            reason = text(gpu, "reason") or next((str(said) for said in mapping(gpu, "errors").values()), "")
            if not reason and text(gpu, "uuid") in double:
                reason = "another node has measured the same GPU at the same time"
            if reason:
                by_reason[reason].append(str(dig(gpu, "index", "?")))
        why += [f"GPU {', '.join(places)}: {reason}" for reason, places in by_reason.items()]
        # a node without GPUs in a cluster that has them elsewhere has nothing to measure
        if why and (gpus(case, host) or rows(answer, "gpus")):
            yield Untested("gpu-slow", (host,), f"the speed of GPUs was not tested: {'; '.join(why)}")


@rule(
    About(
        "gpu-power-cap",
        layer="gpu",
        severity=INFO,
        title="A GPU is slower by its power limit",
        symptom="one rank sets the pace of all",
        source="NVIDIA System Management Interface",
    ),
    needs=("speed",),
    of_jobs=True,
    applies=_measured,
)
def power_cap(case: Case) -> t.Iterator[Answer]:
    """A lower power limit than the others of a model have, which costs speed: it may be meant, and is told only."""
    kinds: dict[t.Hashable, list[Row]] = collections.defaultdict(list)
    for row in _usable(case):
        if number(row.gpu, "tflops") is not None and speed.power_limit(row) is not None:
            kinds[speed.kind(case, row)].append(row)
    for group in kinds.values():
        usual = most_common(speed.power_limit(row) for row in group)
        others = [number(row.gpu, "tflops") for row in group if speed.power_limit(row) == usual]
        median = thresholds.median(others)
        for row in group if median else ():
            cap, got = speed.power_limit(row), number(row.gpu, "tflops")
            if cap is None or got is None or cap >= usual or got >= limit(case, "gpu_share_of_median") * (median or 0):
                continue
            slow = Slow(row, got, f"{len(others)} others with {usual:.0f} W have {median:.4g}")
            yield finding(
                "gpu-power-cap",
                INFO,
                row.host,
                evidence(slow, f"TFLOP/s with a limit of {cap:.0f} W"),
                "A GPU has a lower power limit than most others of its model, and every rank waits for it.",
                f"nvidia-smi -i {_index(row)} -pl {usual:.0f} there, or the lower limit on all, if it is meant.",
            )


@rule(
    About(
        "gpu-memory-slow",
        layer="gpu",
        severity=WARN,
        title="The memory of a GPU is slower than others'",
        symptom="one rank sets the pace of all",
        source="microsoft/superbenchmark, AMD-AIG-AIMA/Primus",
    ),
    needs=("speed",),
    of_jobs=True,
    applies=_measured,
)
def memory(case: Case) -> t.Iterator[Answer]:
    """Copies within a GPU."""
    found = first(
        below_median(case, "memory_gbps", limit(case, "gpu_share_of_median"), lambda row: like(case, row)),
        below_table(case, "memory_gbps", "gpu_memory_gb_per_s", limit(case, "gpu_memory_share_of_table")),
    )
    for slow in found:
        now, most = number(slow.row.load, "memory_mhz"), number(slow.row.load, "memory_max_mhz")
        reason = held_back(slow.row) or _unknown("The memory of a GPU is slower than it should be")
        if now and most and now < 0.9 * most:
            reason = Reason(
                "The memory of a GPU runs with a lower clock than it can.",
                f"nvidia-smi -i {_index(slow.row)} -rmc there, which takes back a locked memory clock; then "
                f"nvidia-smi -q -d CLOCK,PERFORMANCE -i {_index(slow.row)}.",
            )
        yield _told(case, "gpu-memory-slow", slow, "GB/s within its memory", reason)


@rule(
    About(
        "gpu-host-copy-slow",
        layer="gpu",
        severity=WARN,
        title="Copies from the host to a GPU are slow",
        symptom="slow data loading and offloading on one node",
        source="Azure/azurehpc-health-checks check_gpu_bw",
    ),
    needs=("speed",),
    of_jobs=True,
    applies=_measured,
)
def host_copy(case: Case) -> t.Iterator[Answer]:
    """Copies over PCIe, against the same model with the same lanes, and against what the link can carry."""

    def alike(row: Row) -> t.Hashable:
        lanes = tuple(number(row.load, f"pcie.{each}") for each in ("gen_max", "width_current"))
        return (*speed.kind(case, row), *lanes, text(row.answer, "processor"))

    share = limit(case, "gpu_copy_share_of_median")
    found = first(below_median(case, "host_gbps", share, alike), _below_pcie(case))
    for slow in found:
        host, row = slow.row.host, slow.row
        seen = evidence(slow, "GB/s from the host")
        if dig(row.gpu, "near") is False:
            why = f"the job user may not use the processors beside the GPU: {seen}"
            yield Untested("gpu-host-copy-slow", (host,), why)
        elif host in speed.shared(case):
            yield Untested("gpu-host-copy-slow", (host,), f"containers of one machine, measured together: {seen}")
        else:
            yield _told(case, "gpu-host-copy-slow", slow, "GB/s from the host", _of_pcie(row))


def _below_pcie(case: Case) -> list[Slow]:
    """GPUs whose copies reach a small part of what their lanes carry; that they are few has an id of its own."""
    lane = table("pcie_speeds", thresholds.DATA)["lane_gb_per_s"]
    share, found = limit(case, "gpu_host_share_of_pcie"), []
    for row in _usable(case):
        newest, width = number(row.load, "pcie.gen_max"), number(row.load, "pcie.width_current")
        got, each = number(row.gpu, "host_gbps"), lane.get(f"{newest:g}" if newest else "")
        if got is not None and each and width and got < share * each * width:
            wanted = f"{width:g} lanes of generation {newest:g} carry {each * width:.3g}"
            found.append(Slow(row, got, wanted))
    return found


def _of_pcie(row: Row) -> Reason:
    now, most = number(row.load, "pcie.gen_current"), number(row.load, "pcie.gen_max")
    if now and most and now < most:
        return Reason(
            "The PCIe link of a GPU stays at a lower generation under load: it has trained badly.",
            f"lspci -vvs {text(row.gpu, 'pci_bus_id')[-12:]} there (LnkSta); seat the card and its riser again, and "
            "look for a limit of the slot in the BIOS.",
        )
    return Reason(
        "Copies from the host to a GPU are slower than its PCIe link allows.",
        "numactl --hardware and nvidia-smi topo -m there: are all memory channels populated, and is the GPU beside the "
        "processors? Then look at the IOMMU and ACS; confidential computing is slow by design.",
    )


@rule(
    About(
        "gpu-peer-copy-slow",
        layer="gpu",
        severity=WARN,
        title="Copies between GPUs over NVLink are slow",
        symptom="slow exchange within one node",
        source="Azure/azurehpc-health-checks check_gpu_bw",
    ),
    needs=("speed",),
    of_jobs=True,
    applies=_measured,
)
def peer_copy(case: Case) -> t.Iterator[Answer]:
    """Copies to the best wired GPU, where NVLink is; links that are down have an id of their own."""
    wired = {(row.host, text(row.gpu, "uuid")): links(case, row) for row in _usable(case)}

    def alike(row: Row) -> t.Hashable:
        return (*speed.kind(case, row), wired.get((row.host, text(row.gpu, "uuid"))))

    share, part = limit(case, "gpu_copy_share_of_median"), limit(case, "gpu_peer_share_of_nvlink")
    by_links = []
    for row in _usable(case):
        got, count = number(row.gpu, "peer_gbps"), links(case, row)
        each = thresholds.limit(case.thresholds, "nvlink_gb_per_s", text(row.gpu, "name"))
        if got is not None and count and each and got < part * count * each:
            by_links.append(Slow(row, got, f"{count} NVLinks carry {count * each:g}"))
    found = first(below_median(case, "peer_gbps", share, alike), by_links)
    for slow in found:
        if not links(case, slow.row):
            continue
        reason = Reason(
            "Copies to another GPU are slower than their NVLinks allow: NCCL is, too.",
            "nvidia-smi nvlink -e and nvidia-smi nvlink -s there; reset all GPUs of the node or "
            "reboot it, and have bridge or board checked if errors grow.",
        )
        yield _told(case, "gpu-peer-copy-slow", slow, "GB/s to another GPU", reason)


def links(case: Case, row: Row) -> int:
    """NVLinks from a GPU to the one that it reached fastest, as nvidia-smi's matrix has them; 0 if unknown."""
    uuids = [text(gpu, "uuid") for gpu in gpus(case, row.host)]
    matrix = dig(case.gpu.get(row.host), "topology.gpu_gpu", [])
    ends = (text(row.gpu, "uuid"), text(row.gpu, "peer"))
    if any(end not in uuids for end in ends) or len(matrix) != len(uuids):
        return 0
    found = re.match(r"NV(\d{1,3})\Z", str(matrix[uuids.index(ends[0])][uuids.index(ends[1])]))
    return int(found[1]) if found else 0


@rule(
    About(
        "node-cpu-slow",
        layer="job",
        severity=WARN,
        title="The processors of a node are slower than the others'",
        symptom="one rank sets the pace of all",
        source="own measurement: matrix product and copy of memory on all threads",
    ),
    needs=("speed",),
    of_jobs=True,
    applies=_cpus,
)
def processors(case: Case) -> t.Iterator[Answer]:
    """Processors of the same model and number, on machines of their own."""
    together, share = speed.shared(case), limit(case, "cpu_share_of_median")
    shared = tuple(host for host, answer in case.speed.items() if host in together and dig(answer, "device") == "cpu")
    if shared:
        yield Untested("node-cpu-slow", shared, "containers of one machine share its processors: not compared")
    groups: dict[t.Hashable, list[str]] = collections.defaultdict(list)
    for host, answer in case.speed.items():
        if dig(answer, "device") != "cpu":
            continue
        cpu = mapping(answer, "cpu")
        if not cpu or not text(answer, "processor") or text(answer, "reason"):
            yield Untested("node-cpu-slow", (host,), text(answer, "reason") or "it was not measured")
        elif host not in together:
            groups[(text(answer, "processor"), number(cpu, "threads"), text(answer, "torch"))].append(host)
    for group in groups.values():
        for key, unit in (("gflops", "GFLOP/s in fp32"), ("memory_gbps", "GB/s of memory copies")):
            values = {host: number(case.speed[host], f"cpu.{key}") for host in group}
            usual = statistics.median([value for value in values.values() if value is not None] or [0.0])
            for host, got in thresholds.below(values, share).items():
                yield _slow_processors(case, host, f"{got:.4g} {unit}, the median of {len(group)} alike is {usual:.4g}")


def _slow_processors(case: Case, host: str, seen: str) -> Answer:
    state = busy.node(case, host, "speed")
    if state.at_all:
        return Untested("node-cpu-slow", (host,), f"busy ({state.words}): {seen}")
    cpu = mapping(case.speed[host], "cpu")
    governor, heat = text(cpu, "governor"), number(cpu, "throttled")
    if heat:
        return finding(
            "node-cpu-slow",
            WARN,
            host,
            f"{seen}; slowed down by heat {heat:g} times meanwhile",
            "Heat slows the processors of a node down as soon as they work, and every rank waits for it.",
            "sensors there, under load; look at fans, air filters and the room's cooling.",
        )
    usual = most_common(text(answer, "cpu.governor") for answer in case.speed.values())
    if governor and governor != usual:
        return finding(
            "node-cpu-slow",
            WARN,
            host,
            f"{seen}; its governor is {governor}, the others have {usual}",
            "The processors of a node save power, and every rank waits for it.",
            f"cpupower frequency-set -g {usual} there.",
        )
    return finding(
        "node-cpu-slow",
        WARN,
        host,
        seen,
        "The processors or the memory of a node are slower than those of others like it, and every rank waits for it.",
        "lscpu, dmidecode -t memory and turbostat there, beside a fast node: power profile of the BIOS, memory "
        "channels without a module, clocks.",
    )
