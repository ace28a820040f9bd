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

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests/unit/plugins/module_utils")]

from gpu_recordings import Recorded, query_of, sample  # noqa: E402

LOST = "Unable to determine the device handle for GPU0000:07:00.0: Unknown Error\n"
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n"
HANGING = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n"


def xml_of(name: str, count: int, driver: str) -> str:
    """What ``nvidia-smi -q -x`` prints on a machine with some GPUs of one kind."""
    text = sample("nvidia_smi_two_a100.xml")
    block = re.search(r"\t<gpu id=.*?</gpu>\n", text, re.S)
    if block is None:
        raise SystemExit("the sample holds no GPU")
    blocks = []
    for number in range(count):
        bus = f"{7 + 8 * number:02x}:00.0"
        one = block.group(0).replace("07:00.0", bus).replace("NVIDIA A100-SXM4-40GB", name)
        blocks.append(re.sub(r"GPU-[0-9a-f-]+", f"GPU-aaaaaaaa-0000-0000-0000-{number:012d}", one))
    start, end = text[: block.start()], "</nvidia_smi_log>\n"
    start = re.sub(r"<attached_gpus>\d+", f"<attached_gpus>{count}", start)
    start = re.sub(r"<driver_version>[\d.]+", f"<driver_version>{driver}", start)
    return start + "".join(blocks) + end


def machine(root: pathlib.Path, name: str, count: int, driver: str, capability: str) -> Recorded:
    """A healthy machine with ``count`` GPUs of one kind."""
    made = Recorded(root)
    addresses = [f"0000:{7 + 8 * number:02x}:00.0" for number in range(count)]
    for address in addresses:
        made.pci(address)
    made.driver(driver, addresses)
    made.library(driver)
    xml = xml_of(name, count, driver)
    made.smi(xml=xml, query=query_of(xml, capability))
    return made


def main() -> None:
    """Write every machine of the scenario."""
    place = pathlib.Path(sys.argv[1])
    machine(place / "h100", "NVIDIA H100 80GB HBM3", 8, "580.95.05", "9.0")
    machine(place / "v100", "Tesla V100S-PCIE-32GB", 2, "580.95.05", "7.0")
    machine(place / "mismatch", "NVIDIA A100-SXM4-40GB", 2, "580.65.06", "8.0").smi(
        xml=(18, MISMATCH), query=(18, MISMATCH)
    )
    machine(place / "lost", "NVIDIA A100-SXM4-40GB", 2, "580.95.05", "8.0").smi(xml=(15, LOST), query=(15, LOST))
    machine(place / "hanging", "NVIDIA A100-SXM4-40GB", 2, "580.95.05", "8.0").command("nvidia-smi", HANGING)


if __name__ == "__main__":
    main()
