# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces of a node and the ones that lead to its peers."""

from __future__ import annotations

import ipaddress
import socket
import struct
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.line_check import is_loopback
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.resolver import address_text
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import netlink

RTF_UP, RTF_REJECT = 0x1, 0x200
# Kinds whose speed the kernel makes up (veth always says 10000) or never knows.
NO_SPEED = frozenset({"loopback", "veth", "tun", "dummy", "ifb", "wireguard", "virtual"})


def interfaces(
    links: t.Sequence[netlink.Link],
    addresses: t.Sequence[netlink.Address],
    sysfs: Tree,
    rdma_of: t.Mapping[str, str],
) -> list[dict[str, t.Any]]:
    """Describe every interface; ``rdma_of`` maps interface names to RDMA devices.

    Speed is in Mb/s. Sources: rtnetlink, /sys/class/net/NAME/{speed,carrier_changes,statistics/rx_errors,
    device/numa_node,device/driver}; carrier changes and errors count since the interface is there.
    """
    names = {link.number: link.name for link in links}
    return [_interface(link, addresses, names, sysfs, rdma_of) for link in links]


def _interface(
    link: netlink.Link,
    addresses: t.Sequence[netlink.Address],
    names: t.Mapping[int, str],
    sysfs: Tree,
    rdma_of: t.Mapping[str, str],
) -> dict[str, t.Any]:
    base = f"/sys/class/net/{link.name}"
    kind = kind_of(link, sysfs.has(f"{base}/device"))
    physical = kind == "physical"
    speed = None if kind in NO_SPEED else sysfs.number(f"{base}/speed")
    numa = sysfs.number(f"{base}/device/numa_node") if physical else None
    own = [found for found in addresses if found.number == link.number]
    return {
        "name": link.name,
        "kind": kind,
        "type": link.type,
        "up": link.up,
        "state": link.state,
        "carrier": link.carrier,
        "speed_mbps": speed if speed is not None and 0 < speed < 2**31 else None,
        "mtu": link.mtu,
        "mac": link.mac,
        "master": names.get(link.master) if link.master else None,
        "driver": sysfs.target(f"{base}/device/driver") if physical else None,
        "numa_node": numa if numa is not None and numa >= 0 else None,
        "rdma_device": rdma_of.get(link.name),
        **({"xdp": True} if link.xdp else {}),
        **({"bond": bond(sysfs, link.name)} if kind == "bond" else {}),
        "carrier_changes": sysfs.number(f"{base}/carrier_changes"),
        "rx_errors": sysfs.number(f"{base}/statistics/rx_errors"),
        "addresses": [{key: found._asdict()[key] for key in ("address", "prefix", "family", "scope")} for found in own],
    }


def kind_of(link: netlink.Link, has_device: bool) -> str:
    """What an interface is: loopback, the kernel's own kind (bond, bridge, vlan, veth, ...), physical or virtual."""
    if link.type == "loopback":
        return "loopback"
    if link.info:
        return link.info
    return "physical" if has_device else "virtual"


def bond(sysfs: Tree, name: str) -> dict[str, t.Any]:
    """``mode``, ``partner`` (the switch, by LACP) and ``ports`` of a bond. See bonding.rst of the kernel."""
    base = f"/sys/class/net/{name}/bonding"
    ports = []
    for port in (sysfs.line(f"{base}/slaves") or "").split():
        own = f"/sys/class/net/{port}/bonding_slave"
        up = sysfs.line(f"{own}/mii_status") == "up"
        ports.append({"name": port, "up": up, "aggregator": sysfs.number(f"{own}/ad_aggregator_id")})
    mode = (sysfs.line(f"{base}/mode") or "").split(" ", 1)[0] or None
    return {"mode": mode, "partner": sysfs.line(f"{base}/ad_partner_mac") or None, "ports": ports}


def holder(address: str | None, found: t.Sequence[t.Mapping[str, t.Any]]) -> str | None:
    """The name of the interface that has ``address``; one that is up is preferred, loopback comes last."""
    if not address:
        return None
    plain = address.split("%", 1)[0]
    holders = [item for item in found if any(own["address"] == plain for own in item["addresses"])]
    if is_loopback(plain) and not holders:
        holders = [item for item in found if item["kind"] == "loopback"]
    holders.sort(key=lambda item: (item["kind"] == "loopback", not item["up"]))
    return holders[0]["name"] if holders else None


def source_to(address: str) -> str:
    """The source address that the kernel would use to reach a numeric ``address``.

    Connecting a datagram socket sends nothing: the kernel only looks up the route, policy routing
    included. Raises OSError when there is no route, or when ``address`` is not numeric.
    """
    info = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
    with socket.socket(info[0], socket.SOCK_DGRAM) as probe:
        probe.connect(info[4])
        return address_text(probe.getsockname())


def route_to(
    peer: str,
    address: str | None,
    error: str | None,
    found: t.Sequence[t.Mapping[str, t.Any]],
    table: str = "",
) -> dict[str, t.Any]:
    """How this node reaches a peer whose name came to ``address`` (None with an ``error`` when it did not).

    ``reachable`` says that there is a route and a source address; no packet is sent. ``refused_by`` is there, and the
    network of the entry, where one of the routing ``table`` (/proc/net/route) refuses to send anything there;
    ``leaves_by`` where packets leave by another interface than the one that has their source address.
    """
    result: dict[str, t.Any] = {
        "address": address,
        "interface": None,
        "source": None,
        "reachable": False,
        "error": error,
    }
    if not address:
        result["error"] = error or f"{peer} has no address"
        return result
    try:
        result["source"] = source_to(address)
    except (OSError, UnicodeError, ValueError) as problem:
        result["error"] = getattr(problem, "strerror", None) or str(problem)
        refused = refusing_entry(table, address)
        return {**result, "refused_by": refused} if refused else result
    result["interface"] = holder(result["source"], found)
    result["reachable"] = True
    way_out = leaves_by(address, result["source"])
    return {**result, "leaves_by": way_out} if way_out and way_out != result["interface"] else result


def leaves_by(address: str, source: str) -> str | None:
    """The name of the interface by which packets from ``source`` leave; None where that is not known."""
    try:
        number = netlink.leaves_by(address, source)
        return socket.if_indextoname(number) if number else None
    except (OSError, ValueError):
        return None


def refusing_entry(text: str, address: str) -> str | None:
    """The network of the narrowest entry of /proc/net/route for an address, where it is there to refuse (RTF_REJECT).

    The kernel shows blackhole, prohibit and unreachable routes so.
    """
    try:
        wanted = ipaddress.IPv4Address(address)
    except ValueError:
        return None
    best: tuple[int, int, ipaddress.IPv4Network, bool] | None = None
    for line in text.splitlines()[1:]:
        fields = line.split()
        numbers = [to_int(field, 16) for field in (*fields[1:2], *fields[3:4], *fields[7:8])]
        metric = to_int(fields[6]) if len(fields) > 7 else None
        if len(numbers) != 3 or metric is None or None in numbers:
            continue
        place, flags, mask = (t.cast(int, number) for number in numbers)
        size = bin(mask & 0xFFFFFFFF).count("1")
        network = ipaddress.IPv4Network((struct.pack("=I", place & 0xFFFFFFFF), size), strict=False)
        if wanted in network and (best is None or (size, -metric) > best[:2]):
            best = (size, -metric, network, bool(flags & RTF_REJECT))
    return str(best[2]) if best and best[3] else None


def strict_reverse_path(files: Tree, found: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """The interfaces that drop an IPv4 packet whose answer would leave by another one (rp_filter 1 of ip-sysctl).

    Of the value for all interfaces and that of one the larger counts; 2 is loose.
    """
    place = "/proc/sys/net/ipv4/conf"
    every = files.number(f"{place}/all/rp_filter") or 0
    names = [str(item["name"]) for item in found if item["kind"] != "loopback" and item["addresses"]]
    return [name for name in names if max(every, files.number(f"{place}/{name}/rp_filter") or 0) == 1]


def default_route(files: Tree, found: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any] | None:
    """The default route with the lowest metric, IPv4 before IPv6, and the address used on it."""
    route = parse_ipv4_default(files.text("/proc/net/route", 512 * 1024) or "")
    probe = "198.51.100.1"  # TEST-NET-2 (RFC 5737), which takes the default route; nothing is sent
    if route is None:
        route = parse_ipv6_default(files.text("/proc/net/ipv6_route", 512 * 1024) or "")
        probe = "2001:db8::1"
    if route is None:
        return None
    interface, gateway = route[0], route[1]
    try:
        address: str | None = source_to(probe)
    except OSError:
        address = None
    if holder(address, found) != interface:  # a rule of policy routing, or a route of its own, led elsewhere
        family = "ipv6" if ":" in probe else "ipv4"
        own = [item for item in found if item["name"] == interface]
        usable = [a["address"] for i in own for a in i["addresses"] if a["family"] == family and a["scope"] == "global"]
        address = usable[0] if usable else address
    return {"interface": interface, "gateway": gateway, "address": address}


def parse_ipv4_default(text: str) -> tuple[str, str | None] | None:
    """(interface, gateway) of the best default route in /proc/net/route, or None."""
    best: tuple[int, str, str | None] | None = None
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[1] != "00000000" or fields[7] != "00000000":
            continue
        gateway, flags, metric = to_int(fields[2], 16), to_int(fields[3], 16), to_int(fields[6])
        if gateway is None or flags is None or metric is None or not flags & RTF_UP or flags & RTF_REJECT:
            continue
        via = socket.inet_ntoa(struct.pack("=I", gateway & 0xFFFFFFFF)) if gateway else None
        if best is None or metric < best[0]:
            best = (metric, fields[0], via)
    return (best[1], best[2]) if best else None


def parse_ipv6_default(text: str) -> tuple[str, str | None] | None:
    """(interface, gateway) of the best default route in /proc/net/ipv6_route, or None."""
    best: tuple[int, str, str | None] | None = None
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10 or fields[0].strip("0") or fields[1] != "00" or fields[9] == "lo":
            continue
        metric, flags = to_int(fields[5], 16), to_int(fields[8], 16)
        if metric is None or flags is None or not flags & RTF_UP or flags & RTF_REJECT:
            continue
        try:
            via = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(fields[4])) if fields[4].strip("0") else None
        except (OSError, ValueError):
            continue
        if best is None or metric < best[0]:
            best = (metric, fields[9], via)
    return (best[1], best[2]) if best else None
