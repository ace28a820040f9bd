# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Help for the GPU tests: recorded outputs of real machines, and small machines made of files."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t
import xml.etree.ElementTree as ET

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = HERE / "data"

# Prints the file answers/NAME and ends with the status in answers/NAME.rc; every call is noted in answers/calls.
FAKE_SMI = """#!/bin/sh
answers="$(dirname "$0")/../../answers"
echo "$*" >> "$answers/calls"
case "$1" in
  -q) name=xml ;;
  --query-gpu=*compute_cap*) name=query ;;
  --query-gpu=*) name=query_old ;;
  topo) name=topo ;;
  nvlink) name=nvlink ;;
esac
if [ ! -f "$answers/$name" ]; then echo 'Field "compute_cap" is not a valid field to query.'; exit 2; fi
cat "$answers/$name"
[ -f "$answers/$name.rc" ] && exit "$(cat "$answers/$name.rc")"
exit 0
"""


def recordings(folder: str) -> pathlib.Path:
    """The folder of recorded outputs, or skip the test."""
    default = HERE.parents[3] / "shared" / "fixtures"
    base = pathlib.Path(os.environ.get("TRAINMESH_FIXTURES", default))
    if not (base / folder).is_dir():
        pytest.skip(f"no recordings at {base / folder} (set TRAINMESH_FIXTURES)")
    return base / folder


def recorded(folder: str, name: str) -> str:
    """One recorded output as the reader gets it."""
    return (recordings(folder) / name).read_bytes().decode("utf-8", "replace")


def expected_values() -> list[tuple[str, str, dict[str, t.Any]]]:
    """(folder, file, expected values) of every recording; empty where there are none."""
    default = HERE.parents[3] / "shared" / "fixtures"
    path = pathlib.Path(os.environ.get("TRAINMESH_FIXTURES", default)) / "EXPECTED.json"
    if not path.is_file():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    return [
        (folder, name, values)
        for folder, files in content.items()
        if isinstance(files, dict)
        for name, values in files.items()
    ]


def expected_in(folder: str) -> list[t.Any]:
    """The parameters of a test over one folder of recordings; one that skips where there are none."""
    found = [pytest.param(name, values, id=name) for each, name, values in expected_values() if each == folder]
    return found or [pytest.param("", {}, marks=pytest.mark.skip(reason=f"no recordings of {folder}"))]


def sample(name: str) -> str:
    """A hand-written sample."""
    return (SAMPLES / name).read_text(encoding="utf-8")


def query_of(xml: str, capability: str | None) -> str:
    """The query output that belongs to an XML output; without capability for an old driver."""
    tree = ET.fromstring(xml[xml.index("<nvidia_smi_log") :])
    driver = tree.findtext("driver_version")
    return "".join(
        ", ".join(
            [
                str(index),
                gpu.findtext("uuid") or "",
                gpu.get("id") or "",
                gpu.findtext("product_name") or "",
                str(driver),
            ]
            + ([capability] if capability else [])
        )
        + "\n"
        for index, gpu in enumerate(tree.findall("gpu"))
    )


class Spoken(Machine):
    """A machine whose commands are answered from a dict: the words of the command line to (rc, output)."""

    def __init__(self, root: os.PathLike[str], answers: dict[str, tuple[int, str]]) -> None:
        super().__init__(os.fspath(root), 30.0)
        self.answers = answers
        self.asked: list[str] = []

    def run(self, name: str, *arguments: str, limit: float | None = None, reserve: float = 0.0) -> Outcome | None:
        words = " ".join((name, *arguments))
        self.asked.append(words)
        for start, (rc, out) in self.answers.items():
            if words.startswith(start):
                return Outcome(rc, out, "", False, False, 0.0)
        return None


def two_a100() -> dict[str, tuple[int, str]]:
    """The answers of a healthy machine with two A100, for :class:`Spoken`."""
    return {
        "nvidia-smi -q -x": (0, sample("nvidia_smi_two_a100.xml")),
        "nvidia-smi --query-gpu=": (0, sample("nvidia_smi_two_a100.csv")),
        "nvidia-smi topo -m": (0, sample("nvidia_smi_topo_two_a100.txt")),
        "nvidia-smi nvlink -s": (0, sample("nvidia_smi_nvlink_two_a100.txt")),
        "dmesg": (0, "[    0.000000] Linux version 6.1.0\n"),
    }


class Recorded:
    """Writes a recorded machine below a directory: what the kernel says, and a fake nvidia-smi."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        for folder in ("proc", "sys/module", "sys/bus/pci/devices", "usr/bin", "answers"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self.write("proc/version", "Linux version 6.8.0\n")

    def write(self, relative: str, text: str) -> None:
        """Write one file of the machine."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def pci(
        self, address: str, *, device_class: str = "0x030200", numa: int = 0, driver: str | None = "nvidia"
    ) -> None:
        """Add an NVIDIA function to the PCI bus."""
        base = f"sys/bus/pci/devices/{address}"
        self.write(f"{base}/vendor", "0x10de\n")
        self.write(f"{base}/class", f"{device_class}\n")
        self.write(f"{base}/numa_node", f"{numa}\n")
        if driver:
            (self.root / base / "driver").symlink_to(f"../../../../bus/pci/drivers/{driver}")

    def driver(self, version: str, addresses: t.Iterable[str], *, kind: str = "closed") -> None:
        """Load the driver with these GPUs."""
        line = "Open Kernel Module for x86_64" if kind == "open" else "x86_64 Kernel Module"
        self.write("proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX {line}  {version}  Tue Jun 23 2026\n")
        self.write("sys/module/nvidia/version", f"{version}\n")
        for number, address in enumerate(addresses):
            self.write(
                f"proc/driver/nvidia/gpus/{address}/information",
                f"Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 42\n"
                f"GPU UUID: \t GPU-aaaaaaaa-0000-0000-0000-00000000000{number}\n"
                f"Bus Location: \t {address}\nDevice Minor: \t {number}\nGPU Excluded:\t No\n",
            )

    def library(self, version: str) -> None:
        """Install the driver's library."""
        folder = self.root / "usr/lib/x86_64-linux-gnu"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{version}")

    def command(self, name: str, script: str) -> None:
        """Install a command."""
        self.write(f"usr/bin/{name}", script)
        (self.root / "usr/bin" / name).chmod(0o755)

    def smi(self, **answers: str | tuple[int, str]) -> None:
        """Install a fake nvidia-smi with its answers: xml, query, query_old, topo, nvlink."""
        self.command("nvidia-smi", FAKE_SMI)
        for name, answer in answers.items():
            rc, text = answer if isinstance(answer, tuple) else (0, answer)
            self.write(f"answers/{name}", text)
            if rc:
                self.write(f"answers/{name}.rc", str(rc))

    def calls(self) -> list[str]:
        """How nvidia-smi was called."""
        path = self.root / "answers/calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def two_a100(self) -> Recorded:
        """Make it a healthy machine with two A100."""
        addresses = ("0000:07:00.0", "0000:0f:00.0")
        for numa, address in enumerate(addresses):
            self.pci(address, numa=numa)
        self.driver("535.104.05", addresses)
        self.library("535.104.05")
        self.smi(
            xml=sample("nvidia_smi_two_a100.xml"),
            query=sample("nvidia_smi_two_a100.csv"),
            topo=sample("nvidia_smi_topo_two_a100.txt"),
            nvlink=sample("nvidia_smi_nvlink_two_a100.txt"),
        )
        return self
