# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the GPU machines that the cases of cases/90-gpu.yml replay: a healthy one, and each fault of it.

``python gpus.py DIRECTORY`` makes one directory a machine, for the option devices_root of node_facts. All are made
by hand: eight H100 in a fabric of four NVSwitches, two InfiniBand adapters, a driver with the open kernel module.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import sys
import typing as t

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "replay"))

from machines import H100, HANGING, V100S, Kind, machine, xml_of

if t.TYPE_CHECKING:
    from gpu_recordings import Recorded

COUNT = 8
DRIVER, CUDA = "580.95.05", "13.0"
H100_64 = Kind("NVIDIA H100 64GB HBM2", 65247, "9.0")
A100_80 = Kind("NVIDIA A100-SXM4-80GB", 81920, "8.0")
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.105\n"
LOST = "Unable to determine the device handle for GPU0000:0f:00.0: Unknown Error\n"
UNLOADED = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
DENIED = "Failed to initialize NVML: Insufficient Permissions\n"
XID_79 = "[  812.5] NVRM: Xid (PCI:0000:1f:00): 79, pid=2217, name=python, GPU has fallen off the bus.\n"
XID_48 = "[  812.5] NVRM: Xid (PCI:0000:1f:00): 48, pid=2217, name=python, DBE (double bit error) on FBPA 3\n"
INIT_FAILED = (
    "[  885.2] NVRM: GPU 0000:1f:00.0: RmInitAdapter failed! (0x24:0x72:1568)\n"
    "[  885.2] NVRM: GPU 0000:1f:00.0: rm_init_adapter failed, device minor number 3\n"
)
HEARTBEAT = "[  885.2] NVRM: GPU3 _kgspRpcRecvPoll: GSP RM heartbeat timed out\n"
REJECTED = "[   12.4] nvidia: loading out-of-tree module taints kernel.\n"
REJECTED += "[   12.5] Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7\n"
BUSY = (
    "<process_info><pid>31337</pid><type>C</type><process_name>python</process_name>"
    "<used_memory>30210 MiB</used_memory></process_info>"
)
# What the sample's GPUs have that a healthy one has not, and what it lacks.
HEALTHY = (
    (r"<(\w+_(?:un)?correctable|remapped_row_unc)>\d+", r"<\1>0"),
    (r"<remapped_row_pending>Yes", "<remapped_row_pending>No"),
    (r"<process_info>.*?</process_info>", ""),
    (r"<state>N/A</state>\s*<status>N/A</status>", "<state>Completed</state><status>Success</status>"),
)


def healthy(root: pathlib.Path, kind: Kind = H100, driver: str = DRIVER, cuda: str = CUDA) -> Recorded:
    """A machine with eight GPUs of one kind, of which nothing bad can be said."""
    xml = xml_of(kind, COUNT, driver, cuda)
    for pattern, better in HEALTHY:
        xml = re.sub(pattern, better, xml, flags=re.S)
    made = machine(root, xml, kind.capability, kind="open")
    made.smi(topo=topology("SYS" if kind is V100S else "NV18"))
    made.command("dmesg", '#!/bin/sh\ncat "$(dirname "$0")/../../answers/dmesg"\n')
    made.write("answers/dmesg", "[    0.000000] Linux version 6.8.0\n")
    for path in (root / "proc/driver/nvidia/gpus").glob("*/information"):
        path.write_text(
            re.sub("Model:.*", f"Model: \t\t {kind.name}", path.read_text(encoding="utf-8")), encoding="utf-8"
        )
    made.write("sys/module/nvidia_peermem/refcnt", "0\n")
    made.write("proc/1/comm", "systemd\n")
    adapters(made)
    if kind is not V100S:
        switches(made, kind, driver)
    return made


def topology(between: str) -> str:
    """What ``nvidia-smi topo -m`` prints of eight GPUs that are all joined in the same way."""
    rows = ["\t" + "\t".join(f"GPU{number}" for number in range(COUNT)) + "\tCPU Affinity\tNUMA Affinity"]
    for one in range(COUNT):
        cells = "\t".join(" X " if one == other else between for other in range(COUNT))
        rows.append(f"GPU{one}\t{cells}\t0-31\t{one // 4}")
    return "\n".join(rows) + "\n"


def switches(made: Recorded, kind: Kind, driver: str) -> None:
    """Four NVSwitches, the links to them, and the fabric manager that has set them up."""
    links = "".join(f"\t Link {number}: 26.562 GB/s\n" for number in range(12 if kind is A100_80 else 18))
    for number in range(4):
        made.pci(f"0000:{0xA0 + number:02x}:00.0", device_class="0x068000", driver=None)
    uuids = re.findall(r"<uuid>(GPU-[^<]*)", (made.root / "answers/xml").read_text(encoding="utf-8"))
    heads = [f"GPU {number}: {kind.name} (UUID: {uuid})\n" for number, uuid in enumerate(uuids)]
    made.smi(nvlink="".join(head + links for head in heads))
    made.command("nv-fabricmanager", f"#!/bin/sh\necho 'Fabric Manager version is : {driver}'\n")
    made.write("proc/4711/comm", "nv-fabricmanage\n")


def adapters(made: Recorded) -> None:
    """Two InfiniBand adapters whose ports work."""
    for number in range(2):
        place = f"sys/class/infiniband/mlx5_{number}"
        made.write(f"{place}/node_type", "1: CA\n")
        made.write(f"{place}/fw_ver", "28.43.2566\n")
        port = {"state": "4: ACTIVE", "phys_state": "5: LinkUp", "rate": "400 Gb/sec (4X NDR)", "sm_lid": "0x1"}
        port.update(link_layer="InfiniBand", lid=f"0x{number + 10:x}")
        for name, text in port.items():
            made.write(f"{place}/ports/1/{name}", f"{text}\n")
        made.write(f"{place}/ports/1/gids/0", f"fe80:0000:0000:0000:a088:c203:00ab:000{number}\n")


def altered(made: Recorded, answer: str, pattern: str, text: str, number: int = 3) -> None:
    """Put ``text`` in the place of the match with that number (the GPU's, for what every GPU has once)."""
    path = made.root / "answers" / answer
    content = path.read_text(encoding="utf-8")
    found = list(re.finditer(pattern, content, re.S))[number]
    path.write_text(content[: found.start()] + text + content[found.end() :], encoding="utf-8")


def refused(made: Recorded, status: int, text: str) -> None:
    """Let nvidia-smi say nothing but an error."""
    made.smi(xml=(status, text), query=(status, text))


def unloaded(made: Recorded, holder: str = "") -> None:
    """Take the kernel module away, without which the fabric manager ends too; another one may hold the GPUs."""
    for place in ("proc/driver", "proc/4711", "sys/module/nvidia", "sys/module/nvidia_peermem"):
        shutil.rmtree(made.root / place)
    for link in (made.root / "sys/bus/pci/devices").glob("*/driver"):
        link.unlink()
        if holder:
            link.symlink_to(f"../../../../bus/pci/drivers/{holder}")
    if holder:
        made.write(f"sys/module/{holder}/refcnt", "1\n")
    refused(made, 9, UNLOADED)


def mismatched(made: Recorded) -> None:
    """A newer driver was installed and the node not started anew."""
    (made.root / "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1").unlink()
    made.library("580.105.08")
    refused(made, 18, MISMATCH)


def without_peermem(made: Recorded) -> None:
    """The closed kernel module, for which RDMA devices need a module of their own, without that one."""
    shutil.rmtree(made.root / "sys/module/nvidia_peermem")
    made.driver(DRIVER, [], kind="closed")


def logged(made: Recorded, line: str) -> None:
    """Add a line to the kernel log."""
    made.write("answers/dmesg", f"[    0.000000] Linux version 6.8.0\n{line}")


def cannot_start(made: Recorded) -> None:
    """Of eight GPUs the driver starts seven, and says so in the kernel log alone."""
    logged(made, INIT_FAILED)
    altered(made, "xml", r"<attached_gpus>8", "<attached_gpus>7", 0)
    altered(made, "xml", r"\s*<gpu id=.*?</gpu>", "")
    altered(made, "query", r"[^\n]*\n", "")


def unsigned(made: Recorded) -> None:
    """Secure Boot refuses the kernel module."""
    unloaded(made)
    logged(made, REJECTED)


def without_manager(made: Recorded) -> None:
    """End the fabric manager, and with it what it had set up."""
    shutil.rmtree(made.root / "proc/4711")
    path = made.root / "answers/xml"
    text = path.read_text(encoding="utf-8")
    waiting = "<state>In Progress</state><status>N/A</status>"
    path.write_text(text.replace("<state>Completed</state><status>Success</status>", waiting), encoding="utf-8")


def ports_down(made: Recorded) -> None:
    """Pull the cables of both adapters."""
    for number in range(2):
        made.write(f"sys/class/infiniband/mlx5_{number}/ports/1/state", "1: DOWN\n")
        made.write(f"sys/class/infiniband/mlx5_{number}/ports/1/phys_state", "2: Polling\n")


FAULTS: dict[str, t.Callable[[Recorded], None]] = {
    "mismatch": mismatched,
    "lost": lambda made: refused(made, 15, LOST),
    "hanging": lambda made: made.command("nvidia-smi", HANGING),
    "unloaded": unloaded,
    "nouveau": lambda made: unloaded(made, "nouveau"),
    "denied": lambda made: refused(made, 4, DENIED),
    "init-failed": cannot_start,
    "gsp": lambda made: logged(made, HEARTBEAT),
    "unsigned": unsigned,
    "xid-79": lambda made: logged(made, XID_79),
    "xid-48": lambda made: logged(made, XID_48),
    "ecc": lambda made: altered(made, "xml", r"<dram_uncorrectable>0", "<dram_uncorrectable>2", 6),
    "remap": lambda made: altered(made, "xml", r"<remapped_row_pending>No", "<remapped_row_pending>Yes"),
    "mig": lambda made: altered(made, "xml", r"<current_mig>Disabled", "<current_mig>Enabled"),
    "narrow": lambda made: altered(made, "xml", r"<current_link_width>16x", "<current_link_width>8x"),
    "throttled": lambda made: altered(made, "xml", r"hw_slowdown>Not Active<", "hw_slowdown>Active<"),
    "busy": lambda made: altered(made, "xml", r"(?<=<processes>)\s*(?=</processes>)", BUSY),
    "link-down": lambda made: altered(made, "nvlink", r"Link 5: 26.562 GB/s", "Link 5: <inactive>"),
    "no-manager": without_manager,
    "no-peermem": without_peermem,
    "ports-down": ports_down,
}
"""What is done to a healthy machine, by the name of the machine that comes of it."""


def main() -> None:
    """Write every machine of the cases."""
    place = pathlib.Path(sys.argv[1])
    healthy(place / "healthy")
    (place / "none/sys/bus/pci/devices").mkdir(parents=True)
    healthy(place / "other-driver", driver="590.48.01", cuda="13.1")
    healthy(place / "old-driver", driver="570.86.15", cuda="12.8")
    healthy(place / "h100-64", H100_64)
    healthy(place / "a100-80", A100_80)
    healthy(place / "v100", V100S)
    for name, spoil in FAULTS.items():
        spoil(healthy(place / name))


if __name__ == "__main__":
    main()
