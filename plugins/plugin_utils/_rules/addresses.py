# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the data addresses, on the interfaces that hold them, and on their speed."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.source_rules import told_apart
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    absent,
    active_ports,
    addresses,
    common_networks,
    data_interface,
    limit,
    live,
    names,
    networks,
    node,
    number,
    rows,
    texts,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.mesh import address_taken, tcp_results
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    Finding,
    dig,
    finding,
    once,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._either_end import into_bridge

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
CONTAINERS = frozenset({"docker", "podman", "lxc", "kubernetes", "containerd", "container"})
TUNNELS = frozenset({"tun", "sit", "ip6tnl", "ipip", "gre", "gretap", "wireguard", "ppp"})
CABLED = frozenset({"physical", "bond", "team", "vlan"})


def _address(text: t.Any) -> Address | None:
    try:
        return ipaddress.ip_address(str(text))
    except ValueError:
        return None


@once
def data_addresses(case: Case) -> dict[str, Address]:
    """The data address of every node that has a proper one."""
    found = {name: _address(dig(node(case, name), "address")) for name in names(case)}
    return {name: address for name, address in found.items() if address is not None}


@rule(
    About(
        "net-public-private-mix",
        layer="network",
        severity=FAIL,
        also=(WARN,),
        title="Public and private addresses are mixed",
        symptom="unreachable, or slow",
        source="field notes, DS#2973",
    ),
    needs=("fabric",),
)
def public_private(case: Case) -> t.Iterable[Answer]:
    """Traffic between the nodes that does not run between their data addresses."""
    known = data_addresses(case)
    private = [name for name, address in known.items() if not address.is_global]
    odd = [name for name, address in known.items() if address.is_global] if private else []
    for name in [name for name in odd if name not in absent(case)]:
        yield finding(
            "net-public-private-mix",
            WARN,
            name,
            f"its data address is {known[name]}, others have private ones such as {known[private[0]]}",
            "Public and private addresses are mixed in one cluster: packets go over gateways and NAT, if at all.",
            "Set trainmesh_address to the node's address in the same private network (ip -br address shows them).",
        )
    cause = "Its packets to the other nodes come from another address than the one that the plan has for it."
    remedy = "Set trainmesh_address to the address that ip route get PEER shows as src, or fix the route."
    twins = two_cards(case)
    seen = [item for item in tcp_results(case) if item.failure == "wrong_interface" and item.source not in twins]
    for item in seen:
        yield finding("net-public-private-mix", FAIL, item.source, f"{item.target}: {item.evidence}", cause, remedy)
    told = {*odd, *twins, *(item.source for item in seen)}
    for host in [name for name in live(case) if name not in told and str(known.get(name)) in addresses(case, name)]:
        for other, address in known.items():
            route = dig(case.fabric[host], "routes", {}).get(str(address))
            source = dig(route, "source")
            elsewhere = dig(route, "interface") != dig(data_interface(case, host), "name")  # not a second address of it
            if source and other != host and source != str(known[host]) and elsewhere:
                evidence = f"to {other} ({address}) it uses {dig(route, 'interface')} with {source}, not {known[host]}"
                yield finding("net-public-private-mix", WARN, host, evidence, cause, remedy)


@once
def two_cards(case: Case) -> dict[str, tuple[str, dict[str, str]]]:
    """{node: (network, {interface: address in it})} where several cards are in the network of the data."""
    found = {}
    for host in live(case) if len(names(case)) > 1 else ():
        chosen = data_interface(case, host)
        address = str(dig(node(case, host), "address", ""))
        network = next((net for net, own in networks(chosen).items() if own == address), "")
        inside = {
            str(dig(item, "name")): networks(item)[network]
            for item in rows(case.fabric[host], "interfaces")
            if network in networks(item) and dig(item, "up") is not False and not dig(item, "master")
        }
        if network and len(inside) > 1:
            found[host] = (network, inside)
    return found


@rule(
    About(
        "net-two-cards-one-subnet",
        layer="network",
        severity=WARN,
        title="Two network cards are in one subnet",
        symptom="NCCL_SOCKET_IFNAME is set, and connections come from another card",
        source="NC#1581, NC#1580, NC#1269",
    ),
    needs=("fabric",),
)
def one_subnet(case: Case) -> t.Iterable[Answer]:
    """Several cards in the network of the data: the kernel, and not NCCL, says which one sends."""
    failed = {item.pair for item in tcp_results(case) if not item.ok}
    for host, (network, inside) in two_cards(case).items():
        if any(pair[0] == host and into_bridge(case, *pair) for pair in failed):
            continue  # told with the connections that end in it
        chosen = str(dig(data_interface(case, host), "name", ""))
        used = _sends_by(case, host, inside)
        if used in ("", chosen) and told_apart(texts(case.fabric[host], "source_rules"), inside.values()):
            continue
        cards = " and ".join(f"{name} ({address})" for name, address in sorted(inside.items()))
        yield finding(
            "net-two-cards-one-subnet",
            WARN,
            host,
            f"{cards} are both in {network}" + (f"; the kernel sends by {used}, the plan has {chosen}" if used else ""),
            "Of two cards in one subnet the kernel sends by the one whose route stands first, which depends on the "
            "boot and may be another one on each node; NCCL_SOCKET_IFNAME only says where to listen.",
            "ip route show dev INTERFACE; give the cards networks of their own (narrower masks), or the route of the "
            "slower one a higher metric, or rules by source (ip rule add from ADDRESS table N); else take one down.",
        )


def _sends_by(case: Case, host: str, inside: t.Mapping[str, str]) -> str:
    """The interface by which the kernel sends to the other nodes."""
    routes = dig(case.fabric[host], "routes", {})
    for other, address in data_addresses(case).items():
        source = dig(routes.get(str(address)), "source") if other != host else None
        name = next((name for name, own in inside.items() if own == source), "")
        if name:
            return name
    return ""


@rule(
    About(
        "net-different-subnets",
        layer="network",
        severity=INFO,
        title="The nodes are in different subnets",
        symptom="the wrong interface, reachable one way only",
        source="field notes",
    ),
    needs=("fabric",),
)
def subnets(case: Case) -> t.Iterable[Answer]:
    """Data addresses in several networks: routed, which costs speed and must be symmetric."""
    found: dict[str, str] = {}
    for name, address in data_addresses(case).items():
        for own in dig(data_interface(case, name), "addresses", []):
            if dig(own, "address") == str(address) and dig(own, "prefix") is not None:
                network = ipaddress.ip_interface(f"{address}/{own['prefix']}").network
                if network.num_addresses > 1:  # clouds give every machine a network of its own alone
                    found[name] = str(network)
    if len(set(found.values())) > 1:
        yield Finding(
            "net-different-subnets",
            INFO,
            tuple(found),
            {name: f"its data address is in {network}" for name, network in found.items()},
            "The data addresses lie in several networks, so that a router is between the nodes.",
            "Where the nodes share a network, set trainmesh_address to the address in it; else see that routes and MTU "
            "are the same in both directions (tracepath PEER).",
        )


@rule(
    About(
        "net-hostname-multi-ip",
        layer="network",
        severity=INFO,
        title="The head has several addresses in no fixed order",
        symptom="`hostname -I` says something else after a restart",
        source="DS#2612",
    ),
    needs=("fabric",),
)
def several_addresses(case: Case) -> t.Iterable[Answer]:
    """hostname -I on the head names several addresses; DeepSpeed without --master_addr takes the first."""
    head = str(dig(case.plan, "head", ""))
    found = [text for text in addresses(case, head) if "." in text and not text.startswith("169.254.")]
    plain = "deepspeed" in dig(case.plan, "launchers", []) and not dig(case.plan, "managed", False)
    if plain and len(found) > 1 and head not in absent(case):
        yield Finding(
            "net-hostname-multi-ip",
            INFO,
            (head,),
            {head: f"it has {', '.join(found)}"},
            "The head has several addresses, and DeepSpeed takes the first of hostname -I unless it is told.",
            f"Always give --master_addr {dig(node(case, head), 'address', 'ADDRESS')} --master_port PORT.",
        )


@rule(
    About(
        "ctr-bridge-network",
        layer="network",
        severity=FAIL,
        title="A container is behind a bridge network",
        symptom="NCCL binds 172.17.x; `unhandled system error`",
        source="field notes, NC#331, PT#23363, insightface#1444, ACC#2107",
    ),
    needs=("fabric",),
)
def bridge(case: Case) -> t.Iterable[Answer]:
    """A container behind its host's bridge: nobody outside the host reaches the addresses that it has."""
    known = data_addresses(case)
    failing_targets = {item.target for item in tcp_results(case) if item.source != item.target and not item.ok}
    docker = ipaddress.ip_network("172.17.0.0/16")  # Docker's default bridge, the same on every host
    for host in [name for name in live(case) if dig(case.fabric[name], "container") in CONTAINERS]:
        own, address = addresses(case, host), known.get(host)
        if address is None or not own:
            continue
        if dig(data_interface(case, host), "kind") in CABLED:
            continue  # it is on the network of its host
        failing = host in failing_targets
        twins = [other for other in known if other != host and known[other] == address]
        if str(address) not in own or (address in docker and (failing or twins)):
            yield finding(
                "ctr-bridge-network",
                FAIL,
                host,
                f"the container has {', '.join(own)}; the plan has {address} for it",
                "It runs in a container behind its host's bridge: NCCL and gloo announce an address that other hosts "
                "can't reach.",
                "Start the container with --network host --ipc host (sshd on a port of its own), or on a macvlan "
                "network.",
            )


@rule(
    About(
        "net-address-taken",
        layer="network",
        severity=FAIL,
        title="Another machine has the address of a node",
        symptom="now and then another host key, `Connection refused` or nothing",
        source="arp(7), RFC 5227",
    ),
    needs=("mesh",),
)
def taken(case: Case) -> t.Iterable[Answer]:
    """Connections to a node's address that fail and lead to a card which is not the node's."""
    owners = {
        str(dig(item, "mac") or "").lower(): name
        for name in live(case)
        for item in rows(case.fabric[name], "interfaces")
        if dig(item, "kind") != "loopback"
    }
    for (source, target), hardware in address_taken(case).items():
        address = str(dig(node(case, target), "address", ""))
        holder = owners.get(hardware)
        card = str(dig(data_interface(case, source), "name", "INTERFACE"))
        seen = f"{source} finds {address} at {hardware}, which is no card of {target}"
        yield finding(
            "net-address-taken",
            FAIL,
            holder or target,
            f"{seen} but of {holder}" if holder else seen,
            f"Another node has the address of {target} too, or answers for it (proxy_arp)."
            if holder
            else "A machine that is no node has its address too: packets go now to the one, now to the other.",
            f"arping -c 3 -I {card} {address} on {source} shows who answers. Take {address} from the other one (ip "
            "addr del, its DHCP lease, a clone of the machine), then ip neigh flush all on the nodes.",
        )


def _lonely_ports(item: Data) -> str:
    """What is wrong with a bond by LACP whose ports did not come together; empty where nothing is."""
    ports = [port for port in rows(item, "bond.ports") if dig(port, "up") is True]
    groups = {dig(port, "aggregator") for port in ports}
    if dig(item, "bond.mode") != "802.3ad" or len(ports) < 2 or None in groups or len(groups) < 2:
        return ""
    silent = not str(dig(item, "bond.partner") or "0").strip("0:")
    names = " and ".join(str(dig(port, "name")) for port in ports)
    return f"{names} are in {len(groups)} aggregators" + (", no switch answers by LACP" if silent else "")


@rule(
    About(
        "net-flaky-interface",
        layer="network",
        severity=WARN,
        also=(FAIL,),
        title="A network interface is unreliable",
        symptom="`Connection reset`, closed by the remote peer",
        source="NC#914, NC#529, NT#166",
    ),
    needs=("fabric",),
)
def flaky(case: Case) -> t.Iterable[Answer]:
    """A data interface that is a tunnel, has no carrier, or whose link comes and goes."""
    for host in live(case):
        item = data_interface(case, host)
        name, kind = str(dig(item, "name", "")), dig(item, "kind")
        cables = [
            str(dig(other, "name"))
            for other in dig(case.fabric[host], "interfaces", [])
            if dig(other, "kind") in CABLED and dig(other, "carrier") and common_networks(case) & set(networks(other))
        ]
        changes, errors = number(item, "carrier_changes"), number(item, "rx_errors")
        remedy = f"ip -s link show {name} and dmesg on it; change cable, switch port or transceiver."
        if kind in TUNNELS and cables:
            cause = "The jobs run through a tunnel, which is slow and breaks under load, beside a real network."
            wish = f"Set trainmesh_address to an address of {', '.join(cables)}."
            yield finding("net-flaky-interface", WARN, host, f"{name} is a {kind}", cause, wish)
        elif apart := _lonely_ports(item):
            cause = (
                "The ports of its bond (802.3ad) did not come together: one of them carries everything, and what the "
                "switch sends to the others is dropped, some peers and ports among it."
            )
            wish = (
                f"cat /proc/net/bonding/{name}: make the ports of the switch one group with LACP (of one speed, on one "
                f"switch or an MLAG); else mode=active-backup for {name}."
            )
            yield finding("net-flaky-interface", WARN, host, f"{name}: {apart}", cause, wish)
        elif item and dig(item, "carrier") is False and kind in CABLED:
            yield finding("net-flaky-interface", FAIL, host, f"{name} has no carrier", "Its data link is down.", remedy)
        elif changes is not None and changes >= limit(case, "carrier_changes_warn"):
            cause = "The link of its data interface has come and gone: connections are reset in the middle of a job."
            yield finding("net-flaky-interface", WARN, host, f"{name}: {changes:.0f} carrier changes", cause, remedy)
        elif errors is not None and errors >= limit(case, "rx_errors_warn"):
            cause = "Its data interface receives broken packets."
            yield finding("net-flaky-interface", WARN, host, f"{name}: {errors:.0f} receive errors", cause, remedy)


@once
def faster(case: Case, host: str) -> Data:
    """A faster interface of the node in a network that all nodes are in; empty when there is none."""
    chosen = number(data_interface(case, host), "speed_mbps")
    found = [
        item
        for item in rows(case.fabric.get(host), "interfaces")
        if dig(item, "up") and dig(item, "carrier") and common_networks(case) & set(networks(item))
    ]
    best: Data = max(found, key=lambda item: number(item, "speed_mbps") or 0, default={})
    return best if chosen and (number(best, "speed_mbps") or 0) > chosen else {}


@rule(
    About(
        "perf-wrong-nic",
        layer="network",
        severity=WARN,
        title="Training uses the slower network",
        symptom="it is only slow",
        source="field notes",
    ),
    About(
        "perf-ethernet-bound",
        layer="network",
        severity=WARN,
        also=(INFO,),
        title="The network is too slow for the GPUs",
        symptom="several nodes are slower than one",
        source="field notes",
    ),
    needs=("fabric",),
)
def nic_speed(case: Case) -> t.Iterable[Answer]:
    """A slower interface than the node has, or a network that GPUs will wait for."""
    gpus = bool(dig(case.plan, "gpus", False))
    for host in live(case) if len(names(case)) > 1 else ():
        item, better = data_interface(case, host), faster(case, host)
        speed = number(item, "speed_mbps")
        if better:
            yield finding(
                "perf-wrong-nic",
                WARN,
                host,
                f"{dig(item, 'name')} has {speed:.0f} Mb/s, {dig(better, 'name')} {dig(better, 'speed_mbps')} Mb/s",
                "The jobs use a slower interface than the one that all nodes are on as well.",
                "Set trainmesh_address of every node to its address on the faster network, then run site.yml.",
            )
        elif gpus and speed and speed < limit(case, "ethernet_info_mbps") and not active_ports(case, host):
            severity = WARN if speed <= limit(case, "ethernet_warn_mbps") else INFO
            yield finding(
                "perf-ethernet-bound",
                severity,
                host,
                f"{dig(item, 'name')} has {speed:.0f} Mb/s",
                "GPUs will wait for the network: gradients of a large model take longer than the computation.",
                "Use InfiniBand, RoCE or a faster Ethernet; else ZeRO stage 1 or 2 and gradient_accumulation_steps.",
            )
