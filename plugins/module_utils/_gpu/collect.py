# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a node that has a GPU or at least a driver.

Kept apart from ``_gpu_facts`` so that a node without either does not even load it.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.architectures import compute_capability
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.kernel import (
    Kernel,
    read_information,
    read_library_version,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi import Answer, GpuRow, ask
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.status import judge
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.xid import read_kernel_log

_FABRIC_MANAGER = re.compile(r"Fabric Manager version is *: *(\d+\.\d+(?:\.\d+)?)")
_GPU_KEYS = (
    "memory_mib",
    "mig_mode",
    "mig_mode_pending",
    "ecc",
    "remapped_rows",
    "persistence_mode",
    "compute_mode",
    "temperature_c",
    "throttle_reasons",
    "recovery_action",
    "fabric_health",
    "fault",
    "processes",
)
_NO_PCIE = {"width_current": None, "width_max": None, "gen_current": None, "gen_max": None}
_NO_FABRIC = {"state": None, "status": None}


def survey(machine: Machine, kernel: Kernel) -> dict[str, t.Any]:
    """All facts but ``nouveau_loaded``, which the caller has; never raises."""
    answer = ask(machine, kernel.nvswitches, bool(machine.listing("sys/class/infiniband")))
    kernel_log = read_kernel_log(machine) if kernel.pci_gpus or kernel.driver_version else None
    library = read_library_version(machine)
    told = _told_by_driver(machine, kernel, answer)
    status, problem = judge(
        kernel,
        answer,
        kernel_log,
        library_version=library,
        excluded=[address for address, gpu in told.items() if gpu["excluded"]],
    )
    log = answer.log if answer else None
    named = next(
        (failure.nvml_library for failure in (answer.failures if answer else ()) if failure.nvml_library), None
    )
    queried = next(iter(answer.rows.values()), None) if answer else None
    return {
        "driver_version": kernel.driver_version
        or (log.driver_version if log else None)
        or (queried.driver_version if queried else None),
        "cuda_driver_version": log.cuda_driver_version if log else None,
        "driver_kind": kernel.driver_kind if not log or kernel.driver_version else None,
        "library_version": _library(named, library),
        "gpus": _gpus(kernel, answer, told),
        "mig_devices": _mig_devices(answer),
        "counts": {
            "pci": _count(kernel.pci_gpus),
            "driver": _count(kernel.driver_gpus),
            "smi": len(log.gpus) if log else (None if answer is None or answer.failures else 0),
        },
        "topology": answer.topology if answer else None,
        "nvlink": answer.nvlink if answer else None,
        "fabric_manager": _fabric_manager(machine, kernel, answer),
        "kernel_events": list(kernel_log.driver_events) if kernel_log else None,
        "xids": list(kernel_log.events) if kernel_log else ([] if kernel.pci_gpus == () else None),
        "status": status,
        "problem": problem,
    }


def _count(found: t.Sequence[t.Any] | None) -> int | None:
    return None if found is None else len(found)


def _library(named: str | None, installed: str | None) -> str | None:
    """nvidia-smi names the library as 580.178 where its file is 580.178.02: the longer name says more."""
    if named and installed and installed.startswith(f"{named}."):
        return installed
    return named or installed


def _told_by_driver(machine: Machine, kernel: Kernel, answer: Answer | None) -> dict[str, dict[str, t.Any]]:
    """What the driver says of its GPUs, asked only when nvidia-smi did not list them all."""
    listed = {gpu["pci_bus_id"] for gpu in answer.log.gpus} if answer and answer.log else set()
    return read_information(machine) if set(kernel.driver_gpus or ()) - listed else {}


def _gpus(kernel: Kernel, answer: Answer | None, told: dict[str, dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """One record a GPU: from nvidia-smi, or else what the kernel knows, with None for the rest."""
    numa = {gpu.bus_id: gpu.numa_node for gpu in kernel.pci_gpus or ()}
    if answer and answer.log:
        return [
            _gpu(index, read, answer.rows.get(read["pci_bus_id"]), numa.get(read["pci_bus_id"]))
            for index, read in enumerate(answer.log.gpus)
        ]
    addresses = sorted({*numa, *(kernel.driver_gpus or ())})
    return [_gpu(None, {**told.get(each, {}), "pci_bus_id": each}, None, numa.get(each)) for each in addresses]


def _gpu(index: int | None, read: dict[str, t.Any], row: GpuRow | None, numa_node: int | None) -> dict[str, t.Any]:
    """The record of one GPU with all its keys, whatever was read of it."""
    name = read.get("name")
    return {
        "index": row.number if row and row.number is not None else index,
        "name": name,
        "uuid": read.get("uuid"),
        "pci_bus_id": read["pci_bus_id"],
        "compute_capability": (row.compute_capability if row else None) or compute_capability(name),
        "pcie": read.get("pcie", dict(_NO_PCIE)),
        "fabric": read.get("fabric", dict(_NO_FABRIC)),
        "numa_node": numa_node,
        **{key: read.get(key) for key in _GPU_KEYS},
    }


def _mig_devices(answer: Answer | None) -> list[dict[str, t.Any]] | None:
    """The MIG parts of all GPUs, each with the index of its GPU; None when no GPU could be asked."""
    if not answer or not answer.log:
        return None
    return [
        {"gpu_index": index, **device} for index, gpu in enumerate(answer.log.gpus) for device in gpu["mig_devices"]
    ]


def _fabric_manager(machine: Machine, kernel: Kernel, answer: Answer | None) -> dict[str, t.Any] | None:
    """Whether the fabric manager runs; None on a node that has neither an NVSwitch nor a fabric."""
    gpus = answer.log.gpus if answer and answer.log else ()
    if not kernel.nvswitches and not any(gpu["fabric"]["state"] for gpu in gpus):
        return None
    outcome = machine.run("nv-fabricmanager", "--version", limit=3.0)
    version = _FABRIC_MANAGER.search(outcome.text) if outcome else None
    return {
        "nvswitches": kernel.nvswitches,
        "running": _is_running(machine, "nv-fabricmanager"),
        "version": version.group(1) if version else None,
    }


def _is_running(machine: Machine, name: str) -> bool | None:
    """True when a process of this name runs; the kernel keeps 15 characters of a name."""
    numbers = [each for each in machine.listing("proc") or () if each.isdigit()]
    if not numbers:
        return None
    return any((machine.read(f"proc/{number}/comm", 32) or "").strip() == name[:15] for number in numbers)
