# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write GPU machines as files: /proc, /sys and an nvidia-smi that answers what such a machine would print.

``python machines.py DIRECTORY`` makes one directory a machine, for /etc/trainmesh/replay_root of a node
(see the documentation of gpu_facts). The XML is made from the hand-written sample of the unit tests.
"""

from __future__ import annotations

import pathlib
import re
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests/unit/plugins/module_utils")]

from gpu_recordings import Recorded, query_of, sample  # noqa: E402

LOST = "Unable to determine the device handle for GPU0000:07:00.0: Unknown Error\n"
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n"
# Deaf to everything but SIGKILL, and a child in a session of its own keeps the pipe open after that.
HANGING = "#!/bin/sh\ntrap '' TERM INT HUP\nsetsid sleep 90 &\nwhile :; do sleep 1; done\n"


class Kind(t.NamedTuple):
    """One kind of GPU, as nvidia-smi tells it."""

    name: str
    memory_mib: int
    capability: str


A100 = Kind("NVIDIA A100-SXM4-40GB", 40960, "8.0")
H100 = Kind("NVIDIA H100 80GB HBM3", 81559, "9.0")
V100S = Kind("Tesla V100S-PCIE-32GB", 32768, "7.0")


def xml_of(kind: Kind, count: int, driver: str) -> str:
    """What ``nvidia-smi -q -x`` prints on a machine with some GPUs of one kind and a driver of branch 580."""
    text = sample("nvidia_smi_two_a100.xml")
    block = re.search(r"\t<gpu id=.*?</gpu>\n", text, re.S)
    if block is None:
        raise SystemExit("the sample holds no GPU")
    blocks = []
    for number in range(count):
        one = block.group(0).replace("07:00.0", f"{7 + 8 * number:02x}:00.0").replace(A100.name, kind.name)
        one = one.replace("40960 MiB", f"{kind.memory_mib} MiB")
        blocks.append(re.sub(r"GPU-[0-9a-f-]+", f"GPU-aaaaaaaa-0000-0000-0000-{number:012d}", one))
    start = re.sub(r"<attached_gpus>\d+", f"<attached_gpus>{count}", text[: block.start()])
    start = re.sub(r"<driver_version>[\d.]+", f"<driver_version>{driver}", start)
    start = re.sub(r"<cuda_version>[\d.]+", "<cuda_version>13.0", start)
    return start + "".join(blocks) + "</nvidia_smi_log>\n"


def machine(root: pathlib.Path, kind: Kind, count: int, driver: str = "580.95.05", library: str = "") -> Recorded:
    """A healthy machine, or one whose library is of another version than the loaded driver."""
    made = Recorded(root)
    addresses = [f"0000:{7 + 8 * number:02x}:00.0" for number in range(count)]
    for address in addresses:
        made.pci(address)
    made.driver(driver, addresses)
    made.library(library or driver)
    xml = xml_of(kind, count, driver)
    made.smi(xml=xml, query=query_of(xml, kind.capability))
    return made


def main() -> None:
    """Write every machine of the scenario."""
    place = pathlib.Path(sys.argv[1])
    machine(place / "h100", H100, 8)
    machine(place / "a100", A100, 4)
    machine(place / "v100", V100S, 2)
    mismatch = machine(place / "mismatch", A100, 2, "580.65.06", "580.95.05")
    mismatch.smi(xml=(18, MISMATCH), query=(18, MISMATCH))
    machine(place / "lost", A100, 2).smi(xml=(15, LOST), query=(15, LOST))
    machine(place / "hanging", A100, 2).command("nvidia-smi", HANGING)


if __name__ == "__main__":
    main()
