# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IOMMU, ACS and the two ways of GPUDirect RDMA."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int

PCI = "/sys/bus/pci/devices"
NVIDIA, MELLANOX = "10de", "15b3"
BRIDGE_CLASS = "0x0604"
MAX_DEVICES, MAX_CAPABILITIES = 2048, 64
# PCI Express Base Specification, extended capability "Access Control Services".
EXTENDED_START, ACS_ID, ACS_CONTROL, SOURCE_VALIDATION = 0x100, 0x000D, 6, 0x1
DMABUF_KERNEL = (5, 12)  # the first with DMA-BUF for RDMA: NCCL user guide, NCCL_DMABUF_ENABLE


def iommu(files: Tree) -> dict[str, t.Any]:
    """``enabled``, ``groups``, ``types`` {type: number of groups} and ``cmdline`` (kernel options that name it).

    Bare-metal GPUDirect wants it off or of type identity (NCCL user guide, troubleshooting).
    """
    groups = files.names("/sys/kernel/iommu_groups")[:MAX_DEVICES]
    types: dict[str, int] = {}
    for group in groups:
        kind = files.line(f"/sys/kernel/iommu_groups/{group}/type") or "unknown"
        types[kind] = types.get(kind, 0) + 1
    words = (files.line("/proc/cmdline") or "").split()
    return {
        "enabled": bool(files.names("/sys/class/iommu")) or bool(groups),
        "groups": len(groups),
        "types": types,
        "cmdline": [word for word in words if "iommu" in word.partition("=")[0]],
    }


def acs(files: Tree) -> dict[str, t.Any]:
    """``enabled``: True when a PCI bridge redirects peer-to-peer traffic, None when that cannot be known.

    ``bridges`` lists those with source validation on. Reads the extended configuration space, which
    needs root, and only on a node with an NVIDIA or Mellanox device: nobody else is hurt by ACS.
    """
    devices = (files.text("/proc/bus/pci/devices", 512 * 1024) or "").lower()
    vendors = {fields[1][:4] for fields in map(str.split, devices.splitlines()) if len(fields) > 1}
    if not vendors & {NVIDIA, MELLANOX}:
        return {"enabled": None, "bridges": []}
    bridges: list[str] = []
    known = False
    for device in files.names(PCI)[:MAX_DEVICES]:
        if not (files.line(f"{PCI}/{device}/class") or "").startswith(BRIDGE_CLASS):
            continue
        control = acs_control(files.path(f"{PCI}/{device}/config"))
        known = known or control is not None
        if control and control & SOURCE_VALIDATION:
            bridges.append(device)
    return {"enabled": bool(bridges) if known else None, "bridges": bridges}


def acs_control(path: str) -> int | None:
    """The ACS control register in a configuration space; 0 when there is none, None when it cannot be read.

    Only the few words that are needed are read: each word is an access to the hardware.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        offset = EXTENDED_START
        for _count in range(MAX_CAPABILITIES):
            raw = os.pread(handle, 4, offset)
            if len(raw) < 4:
                return None if offset == EXTENDED_START else 0
            header = int.from_bytes(raw, "little")
            if header in (0, 0xFFFFFFFF):
                return 0
            if header & 0xFFFF == ACS_ID:
                return int.from_bytes(os.pread(handle, 2, offset + ACS_CONTROL), "little")
            offset = header >> 20 & 0xFFC
            if offset < EXTENDED_START:
                return 0
        return 0
    except OSError:
        return None
    finally:
        os.close(handle)


def peermem(files: Tree) -> bool:
    """True when the kernel module that lets an RDMA device read GPU memory is loaded."""
    return any(files.has(f"/sys/module/{name}") for name in ("nvidia_peermem", "nv_peer_mem"))


def dmabuf(files: Tree, kernel: str) -> bool | None:
    """True when the driver and kernel can do GPUDirect RDMA by DMA-BUF; None without an NVIDIA driver.

    It takes the open kernel module and Linux 5.12 (gpu driver and NCCL documentation).
    """
    version = files.text("/proc/driver/nvidia/version")
    if version is None:
        return None
    numbers = tuple(to_int(part) or 0 for part in kernel.split("-", 1)[0].split(".")[:2])
    return "Open Kernel Module" in version and numbers >= DMABUF_KERNEL
