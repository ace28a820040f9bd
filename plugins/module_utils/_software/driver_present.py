# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node has of the driver, and of what decides about one. Reads only."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import kernel as gpu_kernel
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import version

SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_MODULE = re.compile(r"nvidia(?:-current|-tesla(?:-\d+)?|-legacy-\w+)?(?:-open)?\.ko(?:\.\w+)?\Z")
_HOLDERS = re.compile(r"nvidia-(?:persiste|smi|fabric)|nv-(?:fabric|hosteng)|dcgm|Xorg|X\Z")
_LIMIT_S = 30.0


class Present(t.NamedTuple):
    """``kernel`` is the release that the module is for; ``module`` and ``kind`` of its module on disk.

    ``loaded`` and ``library`` are versions, or None; ``devices`` PCI ids of the GPUs; ``secure_boot`` None: no EFI.
    """

    kernel: str
    running: str
    loaded: str | None
    library: str | None
    module: str | None
    kind: str | None
    from_runfile: bool
    devices: tuple[int, ...]
    nvswitches: int
    nouveau: bool
    secure_boot: bool | None
    rdma: bool
    contained: bool
    headers: bool


def read(machine: Machine, kernel: str = "") -> Present:
    """The present state of this node."""
    running = os.uname().release
    found = gpu_kernel.read_kernel(machine)
    target = kernel or running
    on_disk, kind = installed_module(machine, target)
    return Present(
        target,
        running,
        found.driver_version,
        gpu_kernel.read_library_version(machine),
        on_disk,
        kind,
        machine.exists("usr/bin/nvidia-uninstall"),
        tuple(_devices(machine)),
        found.nvswitches,
        found.nouveau_loaded,
        secure_boot(machine),
        bool(machine.listing("sys/class/infiniband")),
        found.contained,
        os.path.isdir(machine.path(f"lib/modules/{target}/build/")),
    )


def _devices(machine: Machine) -> t.Iterator[int]:
    """The PCI ids of NVIDIA's GPUs."""
    base = "sys/bus/pci/devices"
    for name in machine.listing(base) or ():
        vendor, kind = (machine.read(f"{base}/{name}/{file}", 16) or "" for file in ("vendor", "class"))
        if vendor.strip().lower() == gpu_kernel.NVIDIA and kind.strip().lower()[:6] in ("0x0300", "0x0302"):
            text = (machine.read(f"{base}/{name}/device", 16) or "").strip()
            if re.match(r"0x[0-9a-fA-F]{1,4}\Z", text):
                yield int(text, 16)


def secure_boot(machine: Machine) -> bool | None:
    """Whether the firmware lets only signed modules in: the last byte of a variable, after four of attributes."""
    if not machine.exists("sys/firmware/efi"):
        return None
    try:
        with open(machine.path(SECURE_BOOT), "rb") as stream:
            return stream.read(8)[4:5] == b"\x01"
    except OSError:
        return None


def module_files(machine: Machine, kernel: str) -> list[str]:
    """The files of the driver's main module for one kernel; distributions differ in directory and name."""
    found = []
    for directory, _names, files in os.walk(machine.path(f"lib/modules/{kernel}")):
        found += [os.path.join(directory, name) for name in files if _MODULE.match(name)]
    return sorted(found)


def installed_module(machine: Machine, kernel: str) -> tuple[str | None, str | None]:
    """Version and kind of the module on disk; the newest one of several, as depmod prefers what was added."""
    found: list[tuple[tuple[int, ...], str, str]] = []
    for path in module_files(machine, kernel):
        outcome = command.run([path_of("modinfo"), path], _LIMIT_S)
        fields = dict(re.findall(r"(?m)^(version|license):[ \t]*(.*)$", outcome.out))
        text = version(fields.get("version"))
        if text:
            kind = "proprietary" if fields.get("license", "").strip() == "NVIDIA" else "open"
            found.append((numbers(text), text, kind))
    return (max(found)[1], max(found)[2]) if found else (None, None)


def numbers(text: str) -> tuple[int, ...]:
    """A version as numbers, which compare as versions do."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def users(proc: str = "/proc") -> list[str]:
    """Processes that have a GPU open, but for the driver's own services: ``1234 (python3)``."""
    found = []
    for name in os.listdir(proc):
        if name.isdigit() and name != str(os.getpid()) and _has_gpu(f"{proc}/{name}/fd"):
            try:
                with open(f"{proc}/{name}/comm", encoding="utf-8", errors="replace") as stream:
                    comm = stream.read().strip()
            except OSError:
                continue
            if not _HOLDERS.match(comm):
                found.append(f"{name} ({comm})")
    return found


def boot_id(proc: str = "/proc") -> str:
    """The id of the boot that the kernel runs in; empty where it can't be read."""
    try:
        with open(f"{proc}/sys/kernel/random/boot_id", encoding="ascii", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def _has_gpu(directory: str) -> bool:
    try:
        names = os.listdir(directory)
    except OSError:
        return False  # it has ended
    for name in names:
        try:
            if os.readlink(f"{directory}/{name}").startswith("/dev/nvidia"):
                return True
        except OSError:
            continue
    return False
