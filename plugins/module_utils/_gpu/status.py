# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One status word and one sentence for the GPUs of a node.

Every check adds what speaks against the node; the worst status wins. "ok" is what is left when
nothing speaks against it and everything that must be there was read.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.kernel import Kernel
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi import Answer
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_errors import Failure
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.xid import KernelLog

PRECEDENCE = (
    # A hang makes every other reading doubtful; a wrong or missing module explains a missing GPU;
    # a lost GPU explains the rest.
    "hung",
    "library_mismatch",
    "driver_not_loaded",
    "gpu_lost",
    "no_permission",
    "no_devices",
    "no_driver",
    "unknown",
)

_NEEDS_A_GPU = ("driver_not_loaded", "no_devices", "no_driver")


def judge(
    kernel: Kernel,
    answer: Answer | None,
    kernel_log: KernelLog | None,
    *,
    library_version: str | None = None,
    excluded: t.Collection[str] = (),
) -> tuple[str, str | None]:
    """Status word and problem (None for "ok" and "none"); ``excluded`` are GPUs told not to be used."""
    found = [
        *_from_answer(kernel, answer, library_version),
        *_from_counts(kernel, answer, kernel_log, excluded),
    ]
    nothing_listed = answer is None or answer.log is None
    if kernel.pci_gpus == () and not kernel.driver_gpus and nothing_listed:
        found = [each for each in found if each.status not in _NEEDS_A_GPU]
        if not found:
            return "none", None
    if found:
        worst = min(found, key=lambda each: PRECEDENCE.index(each.status))
        return worst.status, worst.problem + _context(kernel, kernel_log, worst.status)
    return "ok", None


def _from_answer(kernel: Kernel, answer: Answer | None, library_version: str | None) -> list[Failure]:
    if answer is None:
        return [_without_smi(kernel)]
    found = [_corrected(failure, kernel, library_version) for failure in answer.failures]
    log = answer.log
    if log is None:
        return found or [Failure("no_devices", "nvidia-smi lists no GPU")]
    lost = [gpu for gpu in log.gpus if gpu["fault"]]
    if lost:
        places = ", ".join(f"{gpu['pci_bus_id']}: {gpu['fault']}" for gpu in lost)
        found.append(Failure("gpu_lost", f"nvidia-smi says of {len(lost)} of {len(log.gpus)} GPUs: {places}"))
    if log.driver_version is None:
        found.append(Failure("unknown", "nvidia-smi -q -x does not name the driver version"))
    if log.attached is None and not answer.rows:
        found.append(Failure("unknown", "nvidia-smi -q -x does not say how many GPUs there are"))
    if log.attached is not None and log.attached != len(log.gpus):
        found.append(Failure("unknown", f"nvidia-smi declares {log.attached} GPUs but lists {len(log.gpus)}"))
    return found


def _without_smi(kernel: Kernel) -> Failure:
    count = len(kernel.pci_gpus or ())
    if kernel.driver_version:
        return Failure("no_driver", f"driver {kernel.driver_version} is loaded, but there is no nvidia-smi")
    if kernel.pci_gpus is None:
        return Failure("unknown", "the PCI bus cannot be read and there is no nvidia-smi")
    return Failure("no_driver", f"{count} NVIDIA GPUs on the PCI bus, but no NVIDIA driver is installed")


def _corrected(failure: Failure, kernel: Kernel, library_version: str | None) -> Failure:
    """The failure with what the kernel knows better than nvidia-smi."""
    if failure.status == "driver_not_loaded" and kernel.driver_version:
        text = f"{failure.problem}; but kernel module {kernel.driver_version} is loaded"
        return Failure("unknown", text)
    if failure.status == "library_mismatch":
        library = failure.nvml_library or library_version or "another version"
        loaded = kernel.driver_version or "another version"
        return Failure(
            "library_mismatch",
            f"the kernel module that is loaded is {loaded}, the driver library is {library}: reboot the node, "
            "or unload and load the module",
        )
    return failure


def _from_counts(
    kernel: Kernel, answer: Answer | None, kernel_log: KernelLog | None, excluded: t.Collection[str]
) -> list[Failure]:
    """GPUs that the bus or the driver has and nvidia-smi does not list."""
    if answer is None or answer.log is None or answer.log.defect:
        return []  # a GPU that is not in an output that was cut is not a lost GPU
    if kernel.contained:
        return []  # a container is rightly given fewer GPUs than the host has
    listed = {gpu["pci_bus_id"] for gpu in answer.log.gpus}
    on_bus = {gpu.bus_id for gpu in kernel.pci_gpus or () if gpu.driver in (None, "nvidia")}
    foreign = {*excluded, *(kernel_log.unsupported if kernel_log else ())}
    missing = sorted((on_bus | set(kernel.driver_gpus or ())) - listed - foreign)
    if not missing:
        return []
    counts = ", ".join(
        f"{name} {'?' if each is None else len(each)}"
        for name, each in (("PCI bus", kernel.pci_gpus), ("driver", kernel.driver_gpus), ("nvidia-smi", listed))
    )
    return [Failure("gpu_lost", f"nvidia-smi does not list the GPU at {', '.join(missing)} (GPUs: {counts})")]


def _context(kernel: Kernel, kernel_log: KernelLog | None, status: str) -> str:
    """What else the kernel says that explains the status."""
    if status in ("driver_not_loaded", "no_driver", "no_devices"):
        if kernel_log and kernel_log.nouveau_devices:
            return f"; another driver (nouveau) holds {kernel_log.nouveau_devices} NVIDIA devices"
        if kernel.nouveau_loaded:
            return "; nouveau is loaded"
        refused = [event for event in (kernel_log.driver_events if kernel_log else ()) if event["kind"] in _REFUSED]
        if refused:
            return f"; last in the kernel log: {refused[-1]['line'][:160]}"
    if status in ("gpu_lost", "no_devices", "hung") and kernel_log:
        told = [event for event in kernel_log.events if event["kind"] in ("xid", "fallen_off_bus")]
        told = told or [event for event in kernel_log.driver_events if event["kind"] in _EXPLAINS]
        if told:
            return f"; last in the kernel log: {told[-1]['line'][:160]}{_minor(told[-1])}"
    return ""


# Why the module is not there, and why the driver takes no GPU, or not all of them.
_REFUSED = ("module_rejected", "module_mismatch")
_EXPLAINS = ("gpu_init_failed", "gpu_needs_open_module", "gpu_no_bar", "gsp_failed", "gsp_firmware_missing")


def _minor(event: t.Mapping[str, t.Any]) -> str:
    number = event.get("details", {}).get("minor")
    return f" (device minor number {number})" if number else ""
