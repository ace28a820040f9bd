# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RDMA devices after /sys/class/infiniband, with two tools as a fallback.

sysfs is readable by any user and survives a single broken device; ibstat stops at one
(``ibpanic: ... stat of IB device 'mlx5_8' failed``).
"""

from __future__ import annotations

import shutil
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import rdma_parse as text_readers

BASE = "/sys/class/infiniband"
MAX_DEVICES, MAX_PORTS, MAX_GIDS, MAX_EMPTY_GIDS = 128, 8, 256, 8
COUNTERS = ("link_downed", "link_error_recovery", "symbol_error", "port_rcv_errors", "port_xmit_discards")
HW_COUNTERS = ("out_of_sequence", "packet_seq_err", "local_ack_timeout_err", "roce_slow_restart")
NO_GID = "0000:0000:0000:0000:0000:0000:0000:0000"
LIBRARIES = ("/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib")


def rdma(files: Tree, live: Tree, limit: float) -> dict[str, t.Any]:
    """``devices`` (see :func:`device`), ``source``, ``uverbs`` (character devices) and ``libibverbs``.

    ``files`` holds sysfs, of the node or recorded; ``live`` is the node itself, asked for libraries. The
    tools are only run where there are character devices but no sysfs, as in some containers.
    """
    devices = sysfs_devices(files)
    source = "sysfs" if devices else None
    uverbs = [name for name in files.names("/dev/infiniband") if name.startswith("uverbs")]
    if not devices and uverbs and files.root == "/":
        devices, source = ask_tools(limit)
    recorded = files.root != "/" and not files.has("/dev/infiniband")
    return {
        "devices": devices,
        "source": source,
        "uverbs": None if recorded else uverbs,
        "libibverbs": any(live.has(f"{directory}/libibverbs.so.1") for directory in LIBRARIES),
    }


def ask_tools(limit: float) -> tuple[list[dict[str, t.Any]], str | None]:
    """(devices, tool) from the first of ibv_devinfo and ibstat that is installed and names a device.

    Their exit status is not believed: ibstat lists good devices and then fails on a bad one.
    """
    for tool, arguments in (("ibv_devinfo", ["-v"]), ("ibstat", [])):
        path = shutil.which(tool, path="/usr/bin:/usr/sbin:/bin:/sbin")
        devices = text_readers.parse(run([path, *arguments], limit).out) if path else []
        if devices:
            return devices, tool
    return [], None


def sysfs_devices(files: Tree, base: str = BASE) -> list[dict[str, t.Any]]:
    """Every RDMA device below ``base``."""
    return [device(files, f"{base}/{name}", name) for name in files.names(base)[:MAX_DEVICES]]


def device(files: Tree, path: str, name: str) -> dict[str, t.Any]:
    """One device: name, firmware, ``board_id``, PCI address, NUMA node, network ``interfaces``, ``ports``.

    Values that sysfs does not have are None. Source: Documentation/ABI/stable/sysfs-class-infiniband.
    """
    numbers = [number for number in map(to_int, files.names(f"{path}/ports")) if number][:MAX_PORTS]
    ports = [port(files, f"{path}/ports/{number}", number) for number in numbers]
    numa = files.number(f"{path}/device/numa_node")
    interfaces = dict.fromkeys(gid["interface"] for each in ports for gid in each["gids"] if gid["interface"])
    interfaces.update(dict.fromkeys(files.names(f"{path}/device/net")))
    return {
        **text_readers.empty_device(name),
        "fw_ver": files.line(f"{path}/fw_ver"),
        "board_id": files.line(f"{path}/board_id"),
        "hca_type": files.line(f"{path}/hca_type"),
        "node_guid": files.line(f"{path}/node_guid"),
        "node_type": (files.line(f"{path}/node_type") or "").partition(":")[2].strip() or None,
        "pci_address": files.target(f"{path}/device"),
        "driver": files.target(f"{path}/device/driver"),
        "numa_node": numa if numa is not None and numa >= 0 else None,
        "interfaces": list(interfaces),
        "ports": ports,
    }


def port(files: Tree, path: str, number: int) -> dict[str, t.Any]:
    """One port. ``state`` is ACTIVE, DOWN, INIT or ARMED; judge it before ``rate_gbps``, which is kept while down.

    link_downed and its like are 8-bit counters that stick at 255: compare two readings, never one.
    """
    rate = files.line(f"{path}/rate")
    counters = {name: files.number(f"{path}/counters/{name}") for name in COUNTERS}
    counters.update({name: files.number(f"{path}/hw_counters/{name}") for name in HW_COUNTERS})
    return {
        **text_readers.empty_port(number),
        "state": text_readers.state(files.line(f"{path}/state")),
        "phys_state": text_readers.phys_state(files.line(f"{path}/phys_state")),
        "rate": rate,
        "rate_gbps": text_readers.rate_gbps(rate),
        "link_layer": files.line(f"{path}/link_layer"),
        "lid": files.number(f"{path}/lid", 0),
        "sm_lid": files.number(f"{path}/sm_lid", 0),
        "gids": gids(files, path),
        "counters": {name: value for name, value in counters.items() if value is not None},
    }


def gids(files: Tree, path: str) -> list[dict[str, t.Any]]:
    """The GIDs that are set: ``index``, ``gid``, ``type`` ("RoCE v2", ...) and the network ``interface``.

    Stops after a few empty places in a row: a RoCE table has 256, nearly all of them empty.
    """
    found: list[dict[str, t.Any]] = []
    empty = 0
    for index in range(MAX_GIDS):
        gid = files.line(f"{path}/gids/{index}")
        if gid is None or gid == NO_GID:
            empty += 1
            if empty >= MAX_EMPTY_GIDS:
                break
            continue
        empty = 0
        kind, interface = (files.line(f"{path}/gid_attrs/{part}/{index}") for part in ("types", "ndevs"))
        found.append({"index": index, "gid": gid, "type": kind, "interface": interface})
    return found


def devices_of_interfaces(devices: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, str]:
    """{network interface: RDMA device}; the first device that names an interface has it."""
    found: dict[str, str] = {}
    for each in devices:
        for interface in each["interfaces"]:
            found.setdefault(interface, each["name"])
    return found
