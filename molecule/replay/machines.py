# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write GPU machines as files: /proc, /sys and an nvidia-smi that answers what such a machine would print.

``python machines.py DIRECTORY [RECORDINGS]`` makes one directory a machine, for the option devices_root of
node_facts. The first machines are made by hand from the sample of the unit tests; the others,
named ``recorded-...``, answer what real machines printed, and are left out where there are no recordings.
"""

from __future__ import annotations

import pathlib
import re
import sys
import typing as t
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tests/unit/samples")]

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


def xml_of(kind: Kind, count: int, driver: str, cuda: str) -> str:
    """What ``nvidia-smi -q -x`` prints on a machine with some GPUs of one kind."""
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
    start = re.sub(r"<cuda_version>[\d.]+", f"<cuda_version>{cuda}", start)
    return start + "".join(blocks) + "</nvidia_smi_log>\n"


def by_hand(root: pathlib.Path, kind: Kind, count: int, driver: str = "580.95.05", cuda: str = "13.0") -> Recorded:
    """A healthy machine with ``count`` GPUs of one kind."""
    return machine(root, xml_of(kind, count, driver, cuda), kind.capability)


def machine(root: pathlib.Path, xml: str, capability: str, *, kind: str = "closed") -> Recorded:
    """A healthy machine whose nvidia-smi prints this XML; its kernel has the same GPUs and the same driver."""
    made = Recorded(root)
    log = ET.fromstring(xml[xml.index("<nvidia_smi_log") :])
    driver = log.findtext("driver_version") or ""
    addresses = [address_of(gpu.get("id") or "") for gpu in log.findall("gpu")]
    for number, address in enumerate(addresses):
        made.pci(address, numa=number * 2 // len(addresses))
    made.driver(driver, addresses, kind=kind)
    made.library(driver)
    made.smi(xml=xml, query=query_of(xml, capability))
    return made


def address_of(bus_id: str) -> str:
    """The name that sysfs has for what nvidia-smi calls 00000000:53:00.0: its domain has four digits."""
    domain, _colon, rest = bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def eight_h100(root: pathlib.Path, recordings: pathlib.Path) -> None:
    """A recorded node with eight H100 in a fabric of four NVSwitches, and the RDMA devices of such a node.

    XML, wiring and RDMA devices are recordings of three machines of this kind. ``nvlink -s`` is made for these GPUs:
    no recording has it.
    """
    xml = (recordings / "nvidia_smi_xml/k8stestinfra-hw-h100.xml").read_text(encoding="utf-8")
    topo = (recordings / "nvidia_smi_topo/vllm-22372-h100x8-topo-excerpt.txt").read_text(encoding="utf-8")
    uuids = re.findall(r"<uuid>(GPU-[^<]*)", xml)
    links = "".join(f"\t Link {number}: 26.562 GB/s\n" for number in range(18))
    made = machine(root, xml, H100.capability, kind="open")
    for number in range(4):
        made.pci(f"0000:{7 + number:02x}:00.0", device_class="0x068000", driver=None)
    made.smi(
        topo=topo,
        nvlink="".join(f"GPU {number}: {H100.name} (UUID: {uuid})\n{links}" for number, uuid in enumerate(uuids)),
    )
    made.command("nv-fabricmanager", "#!/bin/sh\necho 'Fabric Manager version is : 580.105.08'\n")
    made.write("proc/4711/comm", "nv-fabricmanage\n")
    for path in sorted((recordings / "sysfs_infiniband/h100").rglob("*")):
        if path.is_file():
            relative = path.relative_to(recordings / "sysfs_infiniband/h100")
            made.write(f"sys/class/infiniband/{relative}", path.read_text(encoding="utf-8"))


def broken(root: pathlib.Path, recordings: pathlib.Path, error: str, status: int) -> Recorded:
    """The machine with two A100 of a recording, whose nvidia-smi says a recorded error."""
    made = two_a100(root, recordings)
    text = (recordings / "nvidia_smi_errors" / error).read_text(encoding="utf-8")
    made.smi(xml=(status, text), query=(status, text))
    return made


def two_a100(root: pathlib.Path, recordings: pathlib.Path) -> Recorded:
    """Two A100 with 40 GB and a driver of branch 550, for which CUDA 13 is too new."""
    xml = (recordings / "nvidia_smi_xml/k8stestinfra-mock-a100-healthy.xml").read_text(encoding="utf-8")
    return machine(root, xml, A100.capability)


def from_recordings(place: pathlib.Path, recordings: pathlib.Path) -> None:
    """Write the machines that are recorded. The statuses are nvidia-smi's own: 18 for NVML, 15 for a lost GPU."""
    eight_h100(place / "recorded-h100", recordings)
    two_a100(place / "recorded-a100", recordings)
    broken(place / "recorded-lost", recordings, "gpu-is-lost.txt", 15)
    mismatch = broken(place / "recorded-mismatch", recordings, "driver-library-mismatch-580.178.txt", 18)
    version = recordings / "proc_driver_nvidia_version/truenas-19-580.173.02.txt"  # of the same machine
    mismatch.write("proc/driver/nvidia/version", version.read_text(encoding="utf-8"))
    mismatch.write("sys/module/nvidia/version", "580.173.02\n")


def main() -> None:
    """Write every machine of the scenario."""
    place = pathlib.Path(sys.argv[1])
    by_hand(place / "h100", H100, 8)
    by_hand(place / "v100", V100S, 2)
    by_hand(place / "a100-old", A100, 2, "550.54.15", "12.4")
    by_hand(place / "mismatch", A100, 2, "580.65.06").smi(xml=(18, MISMATCH), query=(18, MISMATCH))
    by_hand(place / "lost", A100, 2).smi(xml=(15, LOST), query=(15, LOST))
    by_hand(place / "hanging", A100, 2).command("nvidia-smi", HANGING)
    recordings = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if recordings and (recordings / "nvidia_smi_xml").is_dir():
        from_recordings(place, recordings)


if __name__ == "__main__":
    main()
