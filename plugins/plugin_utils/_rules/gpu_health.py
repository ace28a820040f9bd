# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the health of GPUs that answer: errors, memory, links."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.xid import RECOVERY
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import thresholds
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    gpu_place,
    gpus,
    has_gpus,
    in_mig_mode,
    limit,
    model,
    most_common,
    number,
    rows,
    shortened,
    text,
    texts,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Untested,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._fabric_logs import explains, is_guest
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._fabric_words import GUEST
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._xids import off_bus, reason, recovery, to_judge

_RESET = "nvidia-smi --gpu-reset -i INDEX, with no process on it (nvidia-persistenced and nvidia-dcgm are some), or a "
_RESET += "reboot of the node"
_REPLACE = "Have the GPU replaced, and take the node out of the inventory until then."


@rule(
    About(
        "gpu-xid",
        layer="gpu",
        severity=FAIL,
        also=(WARN, INFO),
        title="The driver reported GPU errors",
        symptom="`NVRM: Xid` in the kernel's log",
        source="NVIDIA Xid errors guide",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def xid(case: Case) -> t.Iterator[Answer]:
    """What the kernel log says since boot, by the number's severity; a GPU that is gone now has its own rule."""
    found: dict[tuple[str, str, str], dict[str, str]] = collections.defaultdict(dict)
    closed = tuple(host for host in case.gpu if dig(case.gpu[host], "xids") is None and gpus(case, host))
    if closed:
        yield Untested("gpu-xid", closed, "the kernel log could not be read: run verify as root (become)")
    for host, facts in case.gpu.items():
        gone = text(facts, "status") in ("gpu_lost", "hung")
        actions = {text(gpu, "pci_bus_id") for gpu in gpus(case, host) if text(gpu, "recovery_action")}
        for event in to_judge(rows(facts, "xids")):
            why = reason(event)
            if dig(event, "xid") == RECOVERY and text(event, "bus_id") in actions:
                continue  # what the driver asks for now, gpu-recovery tells
            if why and not (gone and off_bus(event)):
                found[why][host] = shortened(text(event, "line") or why[1])  # the last one counts
    for (severity, cause, remedy), seen in found.items():
        for host, evidence in seen.items():
            yield finding("gpu-xid", severity, host, evidence, cause, remedy)


def each_gpu(case: Case) -> t.Iterator[tuple[str, Data, str]]:
    """(host, GPU, how evidence begins) of every GPU; the engine makes one finding of those with the same fault."""
    for host in case.gpu:
        for gpu in gpus(case, host):
            yield host, gpu, f"{gpu_place(gpu)}: "


@rule(
    About(
        "gpu-recovery",
        layer="gpu",
        severity=FAIL,
        also=(WARN, INFO),
        title="A GPU waits for a reset or a reboot of its node",
        symptom="`GPU Recovery Action : Reset`, `CUDA-capable device(s) is/are busy or unavailable`",
        source="NVIDIA System Management Interface, sichek#51",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def recoveries(case: Case) -> t.Iterator[Answer]:
    """What the driver asks for after an error: until then no program starts on the GPU, whatever its counters say."""
    for host, gpu, at in each_gpu(case):
        cause, remedy = recovery(text(gpu, "recovery_action"))
        if cause:
            seen = f"{at}GPU Recovery Action: {text(gpu, 'recovery_action')}"
            yield finding("gpu-recovery", FAIL, host, seen, cause, remedy)


@rule(
    About(
        "gpu-ecc",
        layer="gpu",
        severity=FAIL,
        also=(WARN,),
        title="A GPU has memory errors",
        symptom="uncorrectable ECC errors, wrong results or aborted jobs",
        source="NVIDIA GPU memory error management",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def ecc(case: Case) -> t.Iterator[Answer]:
    """Memory errors: uncorrected ones give wrong results or end the job, many corrected ones announce them."""
    corrected, sram = limit(case, "ecc_corrected"), limit(case, "ecc_sram_uncorrected")
    cause = "The memory of a GPU has uncorrected errors: jobs on it end, or compute wrong results."
    remedy = f"Reset the GPU ({_RESET}); if it comes back: {_REPLACE}"
    announced = "The memory of a GPU has errors that could be corrected, or had others before: it may be failing."
    watch = "Watch it with nvidia-smi -q -d ECC; have the GPU replaced if the numbers grow."
    for host, gpu, at in each_gpu(case):
        now, ever = number(gpu, "ecc.uncorrected_volatile") or 0, number(gpu, "ecc.sram_uncorrected_aggregate") or 0
        if now > 0:
            seen = f"{at}{now:g} uncorrected errors since the driver was loaded"
            yield finding("gpu-ecc", FAIL, host, seen, cause, remedy)
        if ever > sram or dig(gpu, "ecc.sram_threshold_exceeded") is True:
            seen = f"{at}{ever:g} uncorrected SRAM errors in its life, above the limit"
            yield finding("gpu-ecc", FAIL, host, seen, cause, remedy)
        elif ever > 0 and not now:
            seen = f"{at}{ever:g} uncorrected SRAM errors in its life"
            yield finding("gpu-ecc", WARN, host, seen, announced, watch)
        corrected_count = number(gpu, "ecc.corrected_volatile") or 0
        if corrected_count > corrected:
            seen = f"{at}{corrected_count:g} corrected errors since the driver was loaded (limit {corrected:g})"
            yield finding("gpu-ecc", WARN, host, seen, announced, watch)


@rule(
    About(
        "gpu-row-remap",
        layer="gpu",
        severity=FAIL,
        title="A GPU cannot remap its memory rows",
        symptom="row remapping pending or failed",
        source="NVIDIA GPU memory error management",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def row_remap(case: Case) -> t.Iterator[Answer]:
    """Bad rows of memory that wait to be replaced by spare ones, or cannot be."""
    most = limit(case, "remapped_rows")
    worn = "The spare rows of a GPU's memory are used up: its errors cannot be corrected any more."
    waits = "A bad row of a GPU's memory is still in use until the GPU is reset."
    for host, gpu, at in each_gpu(case):
        count = number(gpu, "remapped_rows.uncorrectable") or 0
        if dig(gpu, "remapped_rows.failure") is True:
            yield finding("gpu-row-remap", FAIL, host, f"{at}a row could not be remapped", worn, _REPLACE)
        elif count > most:
            yield finding("gpu-row-remap", FAIL, host, f"{at}{count:g} rows are remapped", worn, _REPLACE)
        elif dig(gpu, "remapped_rows.pending") is True:
            seen = f"{at}a remapped row waits for a reset"
            yield finding("gpu-row-remap", FAIL, host, seen, waits, f"Reset the GPU: {_RESET}.")


@rule(
    About(
        "gpu-retired-pages",
        layer="gpu",
        severity=WARN,
        also=(FAIL,),
        title="A GPU has retired memory pages",
        symptom="pages retired, or waiting for a restart",
        source="NVIDIA dynamic page retirement",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def retired_pages(case: Case) -> t.Iterator[Answer]:
    """Pages of memory taken out of use, on GPUs before Ampere."""
    warn, fail = limit(case, "retired_pages_warn"), limit(case, "retired_pages_fail")
    spent = "A GPU has retired nearly all the pages of memory that it can."
    cause, remedy = "A GPU takes pages of its memory out of use.", f"Reset the GPU ({_RESET}), and watch it."
    for host, gpu, at in each_gpu(case):
        count = sum(number(gpu, f"ecc.retired_pages_{kind}_bit") or 0 for kind in ("single", "double"))
        if count >= fail > 0:
            seen = f"{at}{count:g} retired pages of at most 64"
            yield finding("gpu-retired-pages", FAIL, host, seen, spent, _REPLACE)
        elif count > warn:
            yield finding("gpu-retired-pages", WARN, host, f"{at}{count:g} retired pages", cause, remedy)
        elif dig(gpu, "ecc.retired_pages_pending") is True:
            yield finding("gpu-retired-pages", WARN, host, f"{at}a page waits to be retired", cause, remedy)


@rule(
    About(
        "gpu-pcie-narrow",
        layer="gpu",
        severity=WARN,
        also=(FAIL, INFO),
        title="A GPU uses fewer PCIe lanes than its peers",
        symptom="slow copies on one node",
        source="NVIDIA System Management Interface",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def pcie(case: Case) -> t.Iterator[Answer]:
    """Fewer PCIe lanes than GPUs of the same model have. The link's generation falls when idle and says nothing."""
    widths: dict[str, list[int]] = collections.defaultdict(list)
    for _host, gpu, _at in each_gpu(case):
        width = number(gpu, "pcie.width_current")
        if width:
            widths[text(gpu, "name")].append(int(width))
    for host, gpu, at in each_gpu(case):
        width, usual = number(gpu, "pcie.width_current"), most_common(widths.get(text(gpu, "name"), ()))
        if width and usual and width < usual:
            yield finding(
                "gpu-pcie-narrow",
                FAIL if "SXM" in text(gpu, "name") or "HBM" in text(gpu, "name") else WARN,
                host,
                f"{at}{width:g} lanes, others of this model have {usual:g}",
                "A GPU has fewer PCIe lanes than others of its model: copies to it are slower, and every step waits.",
                "Power the node off and seat the card and its riser again; look for a slot setting in the BIOS "
                "(bifurcation).",
            )


@rule(
    About(
        "gpu-nvlink",
        layer="gpu",
        severity=FAIL,
        also=(WARN, INFO),
        title="NVLink is down or slow",
        symptom="slow exchange within one node",
        source="NVIDIA NVLink, nvidia-smi nvlink",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def nvlink(case: Case) -> t.Iterator[Answer]:
    """NVLinks that are down or slow, against the model's number, else against the same model in the cluster."""
    usual: dict[str, list[int]] = collections.defaultdict(list)
    pairs = {host: list(_with_links(case, host)) for host in case.gpu}
    for found in pairs.values():
        for gpu, active, _speed in found:
            usual[text(gpu, "name")].append(active)
    # cards with bridges: a node has as many without one as it was built with
    least = {name: min(_without(found, name) for found in pairs.values() if _of(found, name)) for name in usual}
    cause = "NVLinks of a GPU are down or slow: NCCL goes over PCIe, or fails when it sets the links up."
    remedy = (
        "Run nvidia-smi nvlink -s and nvidia-smi nvlink -e there, reset all GPUs or reboot, and have the bridge or "
        "the board checked."
    )
    for host, found in pairs.items():
        for gpu, active, speed in found:
            name, at = text(gpu, "name"), f"{gpu_place(gpu)}: "
            links = thresholds.limit(case.thresholds, "nvlink_links", name)
            fastest = thresholds.limit(case.thresholds, "nvlink_gb_per_s", name)
            wanted = links if links is not None else most_common(usual[name])
            if not active and wanted and links is None and _without(found, name) <= least[name]:
                seen = f"{at}no NVLink is active, others of this model have {wanted:g}"
                lone = "A GPU has no NVLink although others of its model have: a card without a bridge, or one failed."
                yield finding("gpu-nvlink", INFO, host, seen, lone, remedy)
            elif active < wanted:
                seen = f"{at}{active} of {wanted:g} NVLinks are active"
                yield finding("gpu-nvlink", WARN if links is None else FAIL, host, seen, cause, remedy)
            elif fastest is not None and speed is not None and speed < fastest:
                seen = f"{at}an NVLink of {speed:g} GB/s, should have {fastest:g}"
                yield finding("gpu-nvlink", WARN, host, seen, cause, remedy)


@rule("gpu-nvlink", needs=("gpu",), applies=has_gpus)
def fabric_health(case: Case) -> t.Iterator[Answer]:
    """What the driver says of the NVLink fabric of GPUs that are part of one, where it does not call it healthy."""
    for host, gpu, at in each_gpu(case):
        summary = text(gpu, "fabric_health.summary")
        if summary.lower() in ("", "healthy", "not supported"):
            continue
        seen = f"{at}fabric {summary}; {', '.join(texts(gpu, 'fabric_health.faults'))}".rstrip("; ")
        yield finding(
            "gpu-nvlink",
            FAIL if summary.lower() == "unhealthy" else WARN,
            host,
            seen,
            "The driver calls the NVLink fabric of a GPU not healthy: NCCL hangs or is slow over it.",
            "Run nvidia-smi -q there (section Fabric) and journalctl -u nvidia-fabricmanager; on a rack that NVLink "
            "joins ask the fabric manager of its switches (nmx-controller), then reset the GPUs or reboot the node.",
        )


def _of(found: t.Sequence[tuple[Data, int, float | None]], name: str) -> list[int]:
    """The active links of a node's GPUs of a model."""
    return [active for gpu, active, _speed in found if text(gpu, "name") == name]


def _without(found: t.Sequence[tuple[Data, int, float | None]], name: str) -> int:
    """How many of them have none."""
    return _of(found, name).count(0)


def _with_links(case: Case, host: str) -> t.Iterator[tuple[Data, int, float | None]]:
    """(GPU, active links, speed) of the GPUs whose links were read; none read on a node with a single GPU.

    A GPU in MIG mode has no NVLinks, and nvidia-smi refuses to be asked for them: gpu-mig tells of it.
    """
    facts = case.gpu[host]
    found = {text(each, "uuid"): each for each in rows(facts, "nvlink")}
    asked = isinstance(dig(facts, "nvlink"), list) and text(facts, "status") == "ok" and len(gpus(case, host)) > 1
    for gpu in gpus(case, host) if asked else ():
        if in_mig_mode(gpu):
            continue
        each = found.get(text(gpu, "uuid"))
        if each is not None:
            yield gpu, int(number(each, "active") or 0), number(each, "gb_per_s")
        elif not found and model(gpu):
            yield gpu, 0, None


@rule(
    About(
        "drv-fabricmanager",
        layer="versions",
        severity=FAIL,
        also=(WARN, INFO),
        title="The fabric manager is down or has another version",
        symptom="CUDA error 802, `system not yet initialized`",
        source="aws-dl-ami#33, gpu-operator#544, PT#35710",
    ),
    needs=("gpu",),
    applies=has_gpus,
)
def fabric_manager(case: Case) -> t.Iterator[Answer]:
    """With NVSwitches, CUDA works only once the fabric manager, of the driver's version, has set them up."""
    for host, facts in case.gpu.items():
        states = [(text(gpu, "fabric.state"), text(gpu, "fabric.status")) for gpu in gpus(case, host)]
        with_fabric = [(state, status) for state, status in states if state]
        ready = bool(with_fabric) and all(state == "Completed" and status == "Success" for state, status in with_fabric)
        manager, driver = dig(facts, "fabric_manager", {}), text(facts, "driver_version")
        version = text(manager, "version")
        if ready or text(facts, "status") != "ok" or explains(case, host):
            continue  # without a driver that answers it cannot run, which has a rule of its own
        # in a container the manager runs outside and cannot be seen; a machine that is replayed is seen whole
        contained = dig(case.fabric.get(host), "container") and not dig(facts, "replayed_from")
        if number(manager, "nvswitches") and dig(manager, "running") is False and not contained:
            yield finding(
                "drv-fabricmanager",
                FAIL,
                host,
                f"{number(manager, 'nvswitches'):g} NVSwitches, nv-fabricmanager does not run",
                "The fabric manager does not run: CUDA fails with error 802 (system not yet initialized).",
                "Run systemctl enable --now nvidia-fabricmanager.",
            )
        elif number(manager, "nvswitches") and version and driver and key(version) != key(driver):
            yield finding(
                "drv-fabricmanager",
                FAIL,
                host,
                f"fabric manager {version}, driver {driver}",
                "The fabric manager is not of the driver's version, and refuses to work with it: CUDA error 802.",
                "Install the nvidia-fabricmanager package of exactly the driver's version, and restart it.",
            )
        elif with_fabric:
            remedy = "Look at journalctl -u nvidia-fabricmanager; restart it, then reset the GPUs or reboot the node."
            yield finding(
                "drv-fabricmanager",
                FAIL,
                host,
                ", ".join(sorted({f"{state}, {status or 'no status'}" for state, status in with_fabric})),
                "The NVLink fabric of the GPUs is not set up: CUDA fails with error 802 (system not yet initialized).",
                f"{GUEST.remedy}." if is_guest(case, host) else remedy,
            )
