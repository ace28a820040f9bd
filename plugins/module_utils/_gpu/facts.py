# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPU facts of one node (``ansible_facts.trainmesh_facts_gpu``).

This is the entry. It decides from /sys and /proc alone whether there is anything to ask, so that a
node without a GPU pays a few milliseconds and starts no command.
"""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.kernel import Kernel, read_kernel
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine

TIMEOUT_S = 30.0
"""Seconds that all commands together get where nobody says otherwise."""


def read(root: str, timeout: float) -> tuple[dict[str, t.Any], str | None]:
    """(the facts below ``root``, what to warn of); never raises."""
    machine = Machine(root, timeout)
    facts = gather(machine)
    if not machine.replayed:
        return facts, None
    return facts, f"the GPU facts are those of the recorded machine {machine.root}, not of this node"


def gather(machine: Machine) -> dict[str, t.Any]:
    """Read all GPU facts of a machine; a value that cannot be known is None. Never raises, never hangs."""
    kernel = read_kernel(machine)
    if kernel.pci_gpus == () and not kernel.driver_version and machine.command("nvidia-smi") is None:
        facts = no_gpu(kernel)
    else:
        # pylint: disable-next=import-outside-toplevel  # a node without GPU does not pay for the readers
        from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.collect import survey

        facts = {**survey(machine, kernel), "nouveau_loaded": kernel.nouveau_loaded}
    if machine.replayed:
        facts["replayed_from"] = machine.root
    return facts


def no_gpu(kernel: Kernel) -> dict[str, t.Any]:
    """The facts of a node that has neither a GPU nor a driver."""
    return {
        "driver_version": None,
        "cuda_driver_version": None,
        "driver_kind": kernel.driver_kind,
        "library_version": None,
        "gpus": [],
        "mig_devices": [],
        "counts": {"pci": 0, "driver": 0, "smi": 0},
        "topology": None,
        "nvlink": None,
        "fabric_manager": None,
        "nouveau_loaded": kernel.nouveau_loaded,
        "kernel_events": [],
        "xids": [],
        "status": "none",
        "problem": None,
    }
