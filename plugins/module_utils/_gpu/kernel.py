# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says of the GPUs, from /sys and /proc alone.

These files are read before nvidia-smi is asked, cost next to nothing, and answer even when the
driver hangs: only files that the kernel answers from memory are opened here. The one exception,
``/proc/driver/nvidia/gpus/*/information``, asks the driver and is read by a bounded child.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import path_of
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import bus_id, integer, model, value, version

NVIDIA = "0x10de"
_GPU_CLASSES = ("0x0300", "0x0302")  # VGA controller, 3D controller
_SWITCH_CLASS = "0x0680"  # other bridge: NVSwitch
_MODULE_LINE = re.compile(r"(Open )?Kernel Module(?: for \S+)?\s+(\d+\.\d+(?:\.\d+)?)")
_LIBRARY = re.compile(r"libnvidia-ml\.so\.(\d+\.\d+(?:\.\d+)?)\Z")
_LIBRARY_DIRECTORIES = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/local/nvidia/lib64",
    "usr/lib/wsl/lib",
    "run/opengl-driver/lib",
)


class PciGpu(t.NamedTuple):
    """One NVIDIA GPU on the PCI bus; ``driver`` is the kernel driver that holds it, or None."""

    bus_id: str
    numa_node: int | None
    driver: str | None


class Kernel(t.NamedTuple):
    """What the kernel knows; a value is None when the files that would tell are not there."""

    pci_gpus: tuple[PciGpu, ...] | None
    nvswitches: int
    driver_gpus: tuple[str, ...] | None
    driver_version: str | None
    driver_kind: str | None
    nouveau_loaded: bool
    contained: bool


def parse_module_version(text: str | None) -> tuple[str | None, str | None]:
    """Version and kind ("open" or "closed") from the NVRM line of /proc/driver/nvidia/version.

    The line has two forms: ``... UNIX x86_64 Kernel Module  580.173.02 ...`` and
    ``... UNIX Open Kernel Module for x86_64  565.57.01  Release Build ...``.
    """
    match = _MODULE_LINE.search(text or "")
    return (match.group(2), "open" if match.group(1) else "closed") if match else (None, None)


def read_kernel(machine: Machine) -> Kernel:
    """Read everything that costs no command."""
    pci_gpus, nvswitches = _scan_pci(machine)
    loaded, kind = parse_module_version(machine.read("proc/driver/nvidia/version"))
    loaded = version(machine.read("sys/module/nvidia/version")) or loaded
    if kind is None and loaded is None and machine.listing("sys/module") is not None:
        kind = "none"
    return Kernel(
        pci_gpus,
        nvswitches,
        _driver_gpus(machine),
        loaded,
        kind,
        machine.exists("sys/module/nouveau"),
        _is_contained(machine),
    )


def _scan_pci(machine: Machine) -> tuple[tuple[PciGpu, ...] | None, int]:
    """NVIDIA's GPUs (virtual functions left out) and the number of NVSwitches on the PCI bus."""
    base = "sys/bus/pci/devices"
    names = machine.listing(base)
    if names is None:  # a machine without a PCI bus still has a filled /sys
        return (() if machine.listing("sys") else None), 0
    gpus, switches = [], 0
    for name in names:
        if (machine.read(f"{base}/{name}/vendor", 16) or "").strip().lower() != NVIDIA:
            continue
        device_class = (machine.read(f"{base}/{name}/class", 16) or "").strip().lower()[:6]
        address = bus_id(name)
        if device_class == _SWITCH_CLASS:
            switches += 1
        elif device_class in _GPU_CLASSES and address and not machine.exists(f"{base}/{name}/physfn"):
            numa = integer(machine.read(f"{base}/{name}/numa_node", 16))  # -1: the firmware does not say
            gpus.append(PciGpu(address, numa, machine.link(f"{base}/{name}/driver")))
    return tuple(gpus), switches


def _driver_gpus(machine: Machine) -> tuple[str, ...] | None:
    """The addresses of the GPUs that the loaded driver took; None when /proc cannot be read."""
    names = machine.listing("proc/driver/nvidia/gpus")
    if names is None:
        return () if machine.listing("proc") else None
    return tuple(address for address in map(bus_id, names) if address)


def _is_contained(machine: Machine) -> bool:
    """True in a container, which may rightly see fewer GPUs than the PCI bus has."""
    if any(machine.exists(name) for name in (".dockerenv", "run/.containerenv", "run/systemd/container")):
        return True
    return " /proc/driver/nvidia" in (machine.read("proc/self/mountinfo", 262144) or "")


def read_library_version(machine: Machine) -> str | None:
    """The version of the installed libnvidia-ml, from the name of the file that its link leads to."""
    for directory in _LIBRARY_DIRECTORIES:
        target = machine.end_of_links(f"{directory}/libnvidia-ml.so.1")
        match = _LIBRARY.match(target or "")
        if match:
            return match.group(1)
    return None


def parse_information(text: str) -> dict[str, dict[str, t.Any]]:
    """Read /proc/driver/nvidia/gpus/*/information, several after one another, by bus address.

    The UUID is full of question marks until something opens the GPU: then it is None.
    """
    gpus: dict[str, dict[str, t.Any]] = {}
    fields: dict[str, str] = {}
    for line in [*text.splitlines(), "Model:"]:
        key, _colon, content = line.partition(":")
        if key.strip() == "Model" and fields:
            address = bus_id(fields.get("Bus Location"))
            uuid = value(fields.get("GPU UUID"))
            if address:
                gpus[address] = {
                    "name": model(fields.get("Model")),
                    "uuid": None if uuid and "?" in uuid else uuid,
                    "minor_number": integer(fields.get("Device Minor")),
                    "excluded": fields.get("GPU Excluded", "").strip() == "Yes",
                }
            fields = {}
        fields[key.strip()] = content.strip()
    return gpus


def read_information(machine: Machine, limit: float = 2.0) -> dict[str, dict[str, t.Any]]:
    """What the driver tells of each GPU without nvidia-smi; empty when it does not answer in time."""
    base = "proc/driver/nvidia/gpus"
    paths = [machine.path(f"{base}/{name}/information") for name in machine.listing(base) or ()]
    paths = [path for path in paths if os.path.isfile(path)]
    if not paths:
        return {}
    return parse_information(run([path_of("cat"), "--", *paths], min(limit, machine.seconds_left())).out)
