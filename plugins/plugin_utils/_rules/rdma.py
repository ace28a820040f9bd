# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on InfiniBand, RoCE and GPUDirect."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import at_least
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    active_ports,
    gpus,
    has_rdma,
    in_mig_mode,
    mapping,
    most_common,
    named,
    number,
    ports,
    rdma_devices,
    rows,
    shortened,
    text,
    texts,
    uses_nccl,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _settings as settings
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._kernel import has

_FIRST_WITH_OWN_GID_CHOICE = "2.21"


def _disabled(case: Case, host: str) -> bool:
    """Whether NCCL is told not to use RDMA: then nothing about it stands in the way of a job."""
    wish = settings.first(case, host, "NCCL_IB_DISABLE")
    return bool(wish and wish.on)


def _weighed(case: Case, severity: str) -> str:
    """The severity, or only ``info`` where no job uses NCCL, and so none uses RDMA."""
    return severity if uses_nccl(case) else INFO


@rule(
    About(
        "ib-libibverbs-missing",
        layer="nccl",
        severity=WARN,
        also=(FAIL,),
        title="libibverbs is missing",
        symptom="NCCL falls back to sockets silently",
        source="sglang#1427, prime-rl#1600, dstack#2712, AReaL#639, detectron2#4730",
    ),
    needs=("fabric",),
    applies=has_rdma,
)
def libibverbs(case: Case) -> t.Iterator[Answer]:
    """A port works, but the library that NCCL opens for it is not installed."""
    for host, facts in case.fabric.items():
        active = active_ports(case, host)
        if not active or dig(facts, "rdma.libibverbs") is not False or _disabled(case, host):
            continue
        yield finding(
            "ib-libibverbs-missing",
            _weighed(case, WARN),
            host,
            f"ACTIVE: {', '.join(active)}; no libibverbs.so.1",
            "The RDMA network works, but libibverbs is not installed there: NCCL silently falls back to TCP.",
            "Install it: apt-get install libibverbs1 ibverbs-providers, or dnf install rdma-core libibverbs.",
        )


@rule(
    About(
        "ib-container-devices",
        layer="nccl",
        severity=FAIL,
        also=(WARN,),
        title="InfiniBand devices are missing in the container",
        symptom="`ibv_open_device failed`",
        source="NC#451",
    ),
    needs=("fabric",),
    applies=has_rdma,
)
def container_devices(case: Case) -> t.Iterator[Answer]:
    """A container sees the host's RDMA ports in sysfs, but was not given their device files."""
    for host, facts in case.fabric.items():
        active, container = active_ports(case, host), dig(facts, "container")
        if not active or not container or dig(facts, "rdma.uverbs") != [] or _disabled(case, host):
            continue
        yield finding(
            "ib-container-devices",
            _weighed(case, WARN),
            host,
            f"{container}; ACTIVE: {', '.join(active)}; /dev/infiniband is empty",
            "The container has no access to the RDMA devices of its host: 'ibv_open_device failed', or TCP instead.",
            "Start it with --device=/dev/infiniband --cap-add=IPC_LOCK --ulimit memlock=-1.",
        )


@rule(
    About(
        "ib-port-not-active",
        layer="nccl",
        severity=WARN,
        also=(FAIL, INFO),
        title="An InfiniBand port is not active",
        symptom="InfiniBand is not used, or a hang",
        source="NC#952",
    ),
    needs=("fabric",),
    applies=has_rdma,
)
def not_active(case: Case) -> t.Iterator[Answer]:
    """Ports that should carry traffic and do not. A port without a cable on every node is meant so."""
    active = {host: active_ports(case, host) for host in case.fabric}
    for host in case.fabric:
        if _disabled(case, host):
            continue
        idle = {name: port for name, port in ports(case, host).items() if name not in active[host]}
        peers = [found for other, found in active.items() if other != host]
        linked = [name for name, port in idle.items() if text(port, "phys_state") == "LinkUp"]
        missed = [name for name in idle if sum(name in found for found in peers) * 2 > len(peers)]
        listed = ", ".join(f"{name} {text(port, 'state') or 'in an unknown state'}" for name, port in idle.items())
        if idle and not active[host] and any(peers):
            yield finding(
                "ib-port-not-active",
                _weighed(case, FAIL),
                host,
                listed,
                "None of the node's RDMA ports works, and other nodes have some that do: NCCL cannot connect them.",
                (
                    "Look at ibstat there: 'Down' is a cable or switch port, 'Initializing' a missing subnet manager. "
                    "Until it is fixed, set trainmesh_env: {NCCL_IB_DISABLE: '1'} for the whole cluster."
                ),
            )
        elif linked:
            held = all(text(idle[name], "state").upper() == "DOWN" for name in linked)
            cause = "A port has a link, but was not made active: there is no subnet manager in its fabric."
            remedy = "Start a subnet manager (opensm, or the one of the switch), then look at ibstat."
            if held:
                cause = (
                    "A port is held down although its link is up: a virtual function without GUIDs, or one disabled."
                )
                remedy = (
                    "ip link set dev PF vf NUMBER state auto on the host, with node_guid and port_guid set before; a "
                    "port that is no virtual one: ibportstate -D 0 1 enable."
                )
            yield finding("ib-port-not-active", _weighed(case, WARN), host, listed, cause, remedy)
        elif missed:
            yield finding(
                "ib-port-not-active",
                _weighed(case, WARN),
                host,
                f"{listed}; ACTIVE on most other nodes",
                "A port is down that works on the other nodes.",
                "Look at ibstat, the cable and the switch port.",
            )


@rule(
    About(
        "roce-gid-index",
        layer="nccl",
        severity=FAIL,
        also=(WARN,),
        title="RoCE uses the wrong GID index",
        symptom="error 12, `modify_qp` with 110 or 22",
        source="NC#426, NC#1170",
    ),
    needs=("fabric",),
    applies=has_rdma,
)
def gid_index(case: Case) -> t.Iterator[Answer]:
    """RoCE needs the place of a RoCE v2 address in the port's table; NCCL finds it itself since 2.21."""
    remedy = "Set NCCL_IB_GID_INDEX to the place of RoCE v2 with the data address, on each node in /etc/nccl.conf."
    for host in case.fabric:
        wish = settings.first(case, host, "NCCL_IB_GID_INDEX")
        nccl = text(case.stack.get(host), "torch.nccl")
        for name, port in active_ports(case, host).items():
            table = {int(number(gid, "index") or 0): text(gid, "type") for gid in rows(port, "gids")}
            second = [index for index, kind in table.items() if kind == "RoCE v2"]
            if text(port, "link_layer") != "Ethernet" or not second or _disabled(case, host):
                continue
            usable = f"RoCE v2 is at {', '.join(map(str, second))}"
            if wish and wish.value.strip().isdigit() and int(wish.value) not in second:
                kind = table.get(int(wish.value)) or "empty"
                yield finding(
                    "roce-gid-index",
                    _weighed(case, FAIL),
                    host,
                    f"{name}: NCCL_IB_GID_INDEX={wish.value} in {wish.where} is {kind}; {usable}",
                    "NCCL_IB_GID_INDEX names an address that is not RoCE v2: 'ibv_modify_qp failed', or error 12.",
                    f"{remedy} NCCL 2.21 and newer need none: take it out.",
                )
            elif not wish and nccl and not at_least(nccl, _FIRST_WITH_OWN_GID_CHOICE) and 0 not in second:
                yield finding(
                    "roce-gid-index",
                    _weighed(case, WARN),
                    host,
                    f"{name}: NCCL {nccl} takes index 0, which is {table.get(0) or 'empty'}; {usable}",
                    f"NCCL before {_FIRST_WITH_OWN_GID_CHOICE} takes the first address of a RoCE port, "
                    "which is not RoCE v2 there.",
                    remedy,
                )


@rule(
    About(
        "ib-rails-not-connected",
        layer="nccl",
        severity=FAIL,
        also=(WARN,),
        title="RDMA adapters or rails differ between nodes",
        symptom="`modify_qp` with 110, Network unreachable, No such device",
        source="NC#2013, NT#185, NC#799, NC#925",
    ),
    needs=("fabric",),
    applies=has_rdma,
)
def rails(case: Case) -> t.Iterator[Answer]:
    """Adapters that NCCL_IB_HCA names and a node lacks; nodes with other adapters or speeds than the rest."""
    for host in case.fabric:
        wish = settings.first(case, host, "NCCL_IB_HCA")
        devices = [text(each, "name") for each in rdma_devices(case, host)]
        if not wish or not wish.value or wish.value.startswith("^") or _disabled(case, host):
            continue
        if devices and not named(wish.value, devices):
            yield finding(
                "ib-rails-not-connected",
                _weighed(case, FAIL),
                host,
                f"NCCL_IB_HCA={wish.value} in {wish.where}; the node has {', '.join(devices)}",
                "NCCL_IB_HCA names no RDMA device that the node has: NCCL uses TCP there and RDMA "
                "elsewhere, and hangs.",
                "Take NCCL_IB_HCA out of what all nodes share, and set each node's own in its /etc/nccl.conf.",
            )
    rates = {host: _rates(case, host) for host in case.fabric if active_ports(case, host)}
    usual = most_common(rates.values())
    for host, found in rates.items():
        if found == usual or len(ports(case, host)) != len(found):  # a port that is down has a rule of its own
            continue
        yield finding(
            "ib-rails-not-connected",
            _weighed(case, WARN),
            host,
            f"{_shown(found)}; most nodes: {_shown(usual)}",
            "The node's RDMA ports differ in number or speed from those of the other nodes: rails are missing or slow.",
            "Compare ibstat with another node; set NCCL_IB_HCA to the ports that all have, and NCCL_CROSS_NIC=0 where "
            "each rail has a switch of its own.",
        )


def _rates(case: Case, host: str) -> tuple[float, ...]:
    return tuple(sorted(number(port, "rate_gbps") or 0 for port in active_ports(case, host).values()))


def _shown(rates: tuple[float, ...]) -> str:
    counted = collections.Counter(rates)
    return ", ".join(f"{count} x {rate:g} Gb/s" for rate, count in sorted(counted.items())) or "none"


@rule("gdr-unavailable", needs=("fabric", "gpu"), applies=has_rdma)
def gpu_direct(case: Case) -> t.Iterator[Answer]:
    """RDMA devices that cannot read GPU memory; GeForce cards never can."""
    for host, facts in case.fabric.items():
        able = [gpu for gpu in gpus(case, host) if not text(gpu, "name").startswith("GeForce")]
        neither = dig(facts, "peermem") is False and dig(facts, "dmabuf") is False
        if has(case, host, "peermem"):
            continue  # why it is not loaded tells more
        if able and neither and active_ports(case, host) and not _disabled(case, host):
            yield finding(
                "gdr-unavailable",
                WARN,
                host,
                "nvidia_peermem is not loaded, and driver and kernel have no DMA-BUF",
                "RDMA devices cannot read GPU memory there: NCCL copies everything through the CPU (no "
                "/GDRDMA in its log).",
                "Run modprobe nvidia_peermem and add it to /etc/modules-load.d/, or install the driver with the open "
                "kernel module on Linux 5.12 or newer.",
            )


@rule(
    About(
        "p2p-acs-iommu",
        layer="nccl",
        severity=WARN,
        also=(FAIL,),
        title="PCI ACS or the IOMMU impedes GPU peer-to-peer",
        symptom="a hang or wrong numbers within one node",
        source="NC#257, NC#631, NC#667, NC#2079, NT#117",
    ),
    needs=("fabric", "gpu"),
    applies=has_rdma,
)
def acs_iommu(case: Case) -> t.Iterator[Answer]:
    """On bare metal ACS and a translating IOMMU send what GPUs say to each other through the CPU, or nowhere."""
    for host, facts in case.fabric.items():
        present = [gpu for gpu in gpus(case, host) if not in_mig_mode(gpu)]
        linked = any(number(each, "active") for each in rows(case.gpu.get(host), "nvlink"))
        affected = (len(present) > 1 and not linked) or (present and active_ports(case, host))
        if not affected or dig(facts, "virtual"):
            continue
        said = []
        if dig(facts, "acs.enabled") is True:
            said.append(f"ACS is on at {len(texts(facts, 'acs.bridges'))} PCI bridges")
        types = mapping(facts, "iommu.types")
        if dig(facts, "iommu.enabled") is True and any(str(each).startswith("DMA") for each in types):
            said.append(f"the IOMMU translates ({', '.join(sorted(map(str, types)))})")
        if said:
            yield finding(
                "p2p-acs-iommu",
                WARN,
                host,
                shortened("; ".join(said)),
                "PCI ACS or the IOMMU gets between GPUs, or between GPUs and RDMA devices: slow, and on some boards it "
                "hangs or corrupts data.",
                "Switch off ACS (and VT-d or AMD-Vi if nothing needs it) in the BIOS, or boot with iommu=pt; if P2P "
                "stays broken, set NCCL_P2P_DISABLE=1 in that node's /etc/nccl.conf.",
            )


@rule(
    About(
        "nic-pcie-narrow",
        layer="network",
        severity=WARN,
        title="A network adapter uses a narrow PCIe link",
        symptom="slower than the card could be",
        source="Linux sysfs, current_link_width",
    ),
    needs=("gpu",),
    applies=has_rdma,
)
def nic_pcie(case: Case) -> t.Iterator[Answer]:
    """The kernel says that a network adapter has less PCIe bandwidth than it needs."""
    for host, facts in case.gpu.items():
        for event in rows(facts, "xids"):
            if text(event, "kind") == "degraded_link" and "mlx5" in text(event, "line"):
                yield finding(
                    "nic-pcie-narrow",
                    WARN,
                    host,
                    shortened(text(event, "line")),
                    "A network adapter has fewer or slower PCIe lanes than it can use: the network is "
                    "slower than it should be.",
                    "Move the card to a slot with more lanes, seat it again, or look for the slot's "
                    "setting in the BIOS.",
                )
