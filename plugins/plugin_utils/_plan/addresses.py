# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data address of every node: one by which NCCL and gloo of all the others reach it, in one network where that is.

A node's own routes say best which address that is. But a bridge of containers, the card by which a BMC talks to its
host, and what is local to a link or to the machine lead nobody there; and of two cards in one subnet the kernel takes
whichever route stands first, which may be another one on each node.
"""

from __future__ import annotations

import collections
import ipaddress
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.line_check import is_loopback
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.source_rules import told_apart
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import ssh_sources

if t.TYPE_CHECKING:
    from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.nodes import Facts, Host

# Drivers of the USB cards by which a BMC and its host talk (Redfish host interface), each with a network of their own.
BMC_DRIVERS = frozenset(("cdc_ether", "cdc_ncm", "cdc_eem", "cdc_subset", "rndis_host"))
NEVER = frozenset(("loopback", "dummy", "ifb", "sit", "ip6tnl"))


class Held(t.NamedTuple):
    """An address that other nodes may reach: on which interface, in which network, and how fast that is (Mb/s)."""

    address: str
    interface: str
    network: str
    speed: float


class Choice(t.NamedTuple):
    """The data addresses by host, and what the user should know of them."""

    addresses: dict[str, str]
    warnings: list[str]


def usable(host: Host) -> list[Held]:
    """The addresses of a host by which others may reach it; those alone in their network have none."""
    interfaces: list[Facts] = list(host.fabric.get("interfaces") or [])
    found = []
    for interface in interfaces:
        if _leads_nowhere(interface, interfaces):
            continue
        for own in interface["addresses"]:
            address = str(own["address"])
            if own.get("scope", "global") == "global" and not is_local(address):
                speed = float(interface.get("speed_mbps") or 0)
                found.append(Held(address, str(interface["name"]), _network(address, own.get("prefix")), speed))
    return found


def _leads_nowhere(interface: Facts, interfaces: t.Sequence[Facts]) -> bool:
    of_bmc = interface.get("driver") in BMC_DRIVERS
    return interface.get("kind") in NEVER or of_bmc or ssh_sources.for_guests(interface, interfaces)


def is_local(address: str) -> bool:
    """Whether an address means this machine, or something on this link alone, to whoever uses it."""
    try:
        return is_loopback(address) or ipaddress.ip_address(address.split("%", 1)[0]).is_link_local
    except ValueError:
        return True


def _network(address: str, prefix: t.Any) -> str:
    try:
        network = ipaddress.ip_interface(f"{address}/{prefix}").network if isinstance(prefix, int) else None
    except ValueError:
        network = None
    return str(network) if network is not None and network.num_addresses > 1 else ""


def of_host(host: Host, shared: t.Collection[str] = ()) -> str:
    """The data address by one host's facts alone: asked for, or the source of the routes to the other nodes, or the
    one that ssh came in by. One of ``shared``, which other hosts have too, is the last choice."""
    if host.wish.get("address"):
        return str(host.wish["address"])
    every = [str(own["address"]) for item in host.fabric.get("interfaces") or [] for own in item["addresses"]]
    held = sorted(usable(host), key=lambda each: each.address in shared)
    good = {each.address for each in held} - {*shared}
    routes = (host.fabric.get("routes") or {}).items()
    sources = [route.get("source") for peer, route in routes if route.get("address", peer) not in every]
    counted = collections.Counter(source for source in sources if source and not is_local(source))
    seen = [source for source, _count in counted.most_common()]
    candidates: list[t.Any] = [*seen, (host.fabric.get("ssh_session") or {}).get("server_address")]
    candidates.append((host.fabric.get("default_route") or {}).get("address"))
    known = [str(item) for item in candidates if item]
    # A login over loopback stays: nothing better is known then, and the plan refuses it and asks for an address.
    fits = (address for address in known if address in good or address not in every or is_loopback(address))
    best = next(fits, "")
    return best or next(iter(each.address for each in held), next(iter(known), _any(host)))


def _any(host: Host) -> str:
    """Some global address, for a host that has nothing better."""
    for interface in host.fabric.get("interfaces") or []:
        for own in interface["addresses"]:
            if own.get("scope") == "global":
                return str(own["address"])
    return ""


def choose(hosts: t.Sequence[Host]) -> Choice:
    """The data addresses of all hosts with facts; what the user asked for is never changed."""
    known = [host for host in hosts if host.fabric]
    shared = _shared(known)
    found = {host.name: of_host(host, shared) for host in known}
    held = {host.name: [each for each in usable(host) if each.address not in shared] for host in known}
    _into_one_network(known, held, found)
    alone = {of_host(host) for host in known}
    told = {address: names for address, names in shared.items() if address in alone - {*found.values()}}
    return Choice(found, [*_of_shared(told, found), *_of_two_cards(known, held, found)])


def _shared(hosts: t.Sequence[Host]) -> dict[str, list[str]]:
    """{address: its hosts} of those that several have, as virtual machines have 10.0.2.15 behind a NAT each."""
    holders: dict[str, list[str]] = {}
    for host in hosts:
        for address in dict.fromkeys(each.address for each in usable(host)):
            holders.setdefault(address, []).append(host.name)
    return {address: names for address, names in holders.items() if len(names) > 1}


def _of_shared(shared: t.Mapping[str, list[str]], found: t.Mapping[str, str]) -> list[str]:
    return [
        f"{', '.join(names)}: each of them has {address}, as behind a NAT of the hypervisor: it leads to none of them. "
        f"The plan takes {', '.join(dict.fromkeys(found[name] for name in names))}; trainmesh_address decides"
        for address, names in shared.items()
    ]


def _network_of(held: t.Sequence[Held], address: str) -> str:
    return next((each.network for each in held if each.address == address), "")


def _into_one_network(hosts: t.Sequence[Host], held: t.Mapping[str, list[Held]], found: dict[str, str]) -> None:
    """Where the addresses lie in several networks and one of these is common to all, everybody gets that one."""
    networks = collections.Counter(_network_of(held[host.name], found[host.name]) for host in hosts)
    if len(networks) < 2 or "" in networks:
        return
    for network, _count in networks.most_common():
        inside = {host.name: [each for each in held[host.name] if each.network == network] for host in hosts}
        free = [host for host in hosts if not host.wish.get("address")]
        chosen = {host.name: inside[host.name][0].address for host in free if inside[host.name]}
        fixed = all(
            found[host.name] in {each.address for each in inside[host.name]} for host in hosts if host not in free
        )
        every = {**found, **chosen}
        if fixed and len(chosen) == len(free) and len({*every.values()}) == len(every):
            kept = {name: found[name] for name in chosen if found[name] in {each.address for each in inside[name]}}
            found.update({**chosen, **kept})
            return


def _of_two_cards(hosts: t.Sequence[Host], held: t.Mapping[str, list[Held]], found: dict[str, str]) -> list[str]:
    """Of several cards in the network of the data the same one everywhere; and what is to be told of them."""
    warnings = []
    several = {}
    for host in hosts:
        network = _network_of(held[host.name], found[host.name])
        inside = {each.interface: each for each in reversed(held[host.name]) if network and each.network == network}
        if len(inside) > 1:
            several[host.name] = inside
    free = {host.name: host for host in hosts if host.name in several and not host.wish.get("address")}
    speeds = {each.speed for inside in several.values() for each in inside.values()}
    for name, host in free.items():
        found[name] = _preferred(host, several[name], found[name], bool(speeds) and 0 not in speeds)
    for name, inside in several.items():
        taken = next((each.interface for each in inside.values() if each.address == found[name]), "")
        network = next(iter(inside.values())).network
        if _have_own_ways(hosts, name, [each.address for each in inside.values()], found[name]):
            continue
        warnings.append(
            f"{name}: {' and '.join(sorted(inside))} are both in {network}: the kernel sends by whichever route stands "
            f"first, which may differ on each node and after each boot. The plan takes {taken or 'neither'} "
            f"({found[name]}); trainmesh_address decides, and narrower masks or rules by source end it"
        )
    return warnings


def _have_own_ways(hosts: t.Sequence[Host], name: str, held: list[str], chosen: str) -> bool:
    """Whether rules by source keep the cards of a host apart, and what it sends unasked leaves by the chosen one."""
    fabric = next(host.fabric for host in hosts if host.name == name)
    sources = {route.get("source") for route in (fabric.get("routes") or {}).values()}
    return told_apart(fabric.get("source_rules") or (), held) and not sources & {*held} - {chosen}


def _preferred(host: Host, inside: t.Mapping[str, Held], now: str, by_speed: bool) -> str:
    """The interface asked for; where all speeds are known the fastest; else the address by which the host is known."""
    asked = inside.get(str(host.wish.get("interface") or ""))
    if asked:
        return asked.address
    fastest = max(each.speed for each in inside.values())
    best = [each.address for each in inside.values() if each.speed == fastest]
    if by_speed and len(best) == 1:
        return best[0]
    named = [host.ansible_host, str((host.fabric.get("ssh_session") or {}).get("server_address") or "")]
    return next((address for address in named if address in {each.address for each in inside.values()}), now)
