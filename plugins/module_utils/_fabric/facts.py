# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the facts of one node's network and host together."""

from __future__ import annotations

import os
import pwd
import socket
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import alike
from ansible_collections.trainmesh.cluster.plugins.module_utils._base import resolver as names
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, printable
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import hosts_file as config_hosts_file
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import kernel_name
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import (
    cloud_init,
    disk,
    filtered,
    firewall,
    host,
    name_service,
    netlink,
    pci,
    ports,
    rdma,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import interfaces as net
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import ssh_session as session
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.clock import clock

Facts = dict[str, t.Any]

TIMEOUT_S = 10.0
"""Seconds that everything together may wait where nobody says otherwise."""

OPTIONS: dict[str, dict[str, t.Any]] = {
    "peers": {"type": "list", "elements": "str", "default": []},
    "names": {"type": "list", "elements": "str", "default": []},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "paths": {"type": "list", "elements": "str", "default": ["/opt/trainmesh", "~/.cache"]},
    "devices_root": {"type": "path"},
}
"""The options of every module that returns these facts; documented in the fragment ``node.fabric``."""

RESOLVE_LIMIT_S = 3.0
LEAST_LIMIT_S = 0.2


class Wish(t.NamedTuple):
    """What a caller wants to know: peers and names to look up, paths to measure, seconds for all of it.

    ``account`` is the job user: ~ in a path is that home, and the limits are those of that login; None for the
    user who asks. ``addresses`` are where each of ``names`` and ``peers`` should lead; with them, what is said of all
    alike is said once.
    """

    peers: t.Sequence[str] = ()
    names: t.Sequence[str] = ()
    paths: t.Sequence[str] = ()
    timeout: float = TIMEOUT_S
    account: pwd.struct_passwd | None = None
    addresses: t.Sequence[str] = ()


class Gathering:
    """One run: the trees to read, the time that is left, and what went wrong on the way."""

    def __init__(self, wish: Wish, root: str = "/", devices_root: str | None = None) -> None:
        self.wish = wish
        self.files = Tree(root)
        self.rdma_files = Tree(devices_root) if devices_root else self.files
        self.deadline = time.monotonic() + wish.timeout
        self.errors: dict[str, str] = {}

    def left(self) -> float:
        """Seconds that a step may still take."""
        return max(LEAST_LIMIT_S, self.deadline - time.monotonic())

    def part(self, name: str, read: t.Callable[[], t.Any]) -> t.Any:
        """What ``read`` returns, or None with its error noted under ``name``.

        Readers take what is absent as ordinary; if one fails all the same, the others must still be heard.
        """
        try:
            return read()
        except Exception as error:
            self.errors[name] = f"{type(error).__name__}: {error}"
            return None


def read(wish: Wish, root: str = "/", devices_root: str | None = None) -> tuple[Facts, str | None]:
    """(all facts of the node, what to warn of); never raises. The directories are those of ``gather``."""
    facts = gather(wish, root, devices_root)
    recorded = f"the RDMA devices are those of the recorded machine {devices_root}, not of this node"
    return facts, recorded if devices_root else None


def gather(wish: Wish, root: str = "/", devices_root: str | None = None) -> Facts:
    """All facts of the node; the module's RETURN documentation describes every key. Never raises.

    ``root`` replaces "/" for every file that is read; the network is always the real one.
    ``devices_root`` replaces it for RDMA devices alone.
    """
    run = Gathering(wish, root, devices_root)
    hostname = socket.gethostname()
    wanted = dict.fromkeys([hostname, *wish.names, *wish.peers])
    limit = min(RESOLVE_LIMIT_S, run.left())
    resolution, fqdn = run.part("resolution", lambda: names.resolve(wanted, limit)) or ({}, None)
    network = _network(run, resolution)
    facts: Facts = {
        **_identity(run, hostname, fqdn, resolution),
        **network,
        **_login(run),
        **_firewalls(run, network),
        **_machine(run),
        "resolution": resolution,
        "replayed_from": devices_root,
        "errors": run.errors,
    }
    return folded(t.cast(Facts, printable(facts)), wish)


def folded(facts: Facts, wish: Wish) -> Facts:
    """The facts with what is said of all nodes alike in ``alike``; whole where no addresses were given."""
    if not wish.addresses:
        return {**facts, "alike": {}}
    names, peers = alike.by_name(wish.names, wish.addresses), alike.by_peer(wish.peers, wish.addresses)
    others = {peer: own for peer, own in peers.items() if peer not in names}
    common: Facts = {}
    rest, common["resolution"] = alike.fold(facts["resolution"], names)
    facts["resolution"], common["resolution_of_peers"] = alike.fold(rest, others)
    facts["routes"], common["routes"] = alike.fold(facts["routes"], peers)
    block = facts["cluster_block"]
    listed = {node["name"]: node for node in block["nodes"]} if block else {}
    if block and len(listed) == len(block["nodes"]):
        rest, common["cluster_block"] = alike.fold(listed, names)
        facts["cluster_block"] = {**block, "nodes": list(rest.values())}
    return {**facts, "alike": {key: value for key, value in common.items() if value}}


def _identity(run: Gathering, hostname: str, fqdn: str | None, resolution: Facts) -> Facts:
    """Names, distribution and what kind of machine it is."""
    files, system = run.files, os.uname()
    hosts_file = files.text("/etc/hosts", 1024 * 1024) or ""
    entries = config_hosts_file.parse_hosts(hosts_file)
    own = {hostname, fqdn or "", hostname.partition(".")[0]}
    return {
        "hostname": hostname,
        "hostname_file": files.line("/etc/hostname"),
        "can_set_hostname": kernel_name.may_set(files.text(kernel_name.STATUS) or "") if os.geteuid() == 0 else None,
        "fqdn": fqdn,
        "hosts_entries": config_hosts_file.own_entries(entries, own),
        "name_service": run.part("name_service", lambda: name_service.read(files, resolution, entries)),
        "cloud_init": run.part("cloud_init", lambda: cloud_init.read(files)),
        "cluster_block": config_hosts_file.block_of(hosts_file),
        "machine_id": host.machine_id(files),
        "os": host.os_release(files),
        "kernel": system.release,
        "arch": system.machine,
        "glibc": host.glibc(),
        "python": run.part("python", lambda: host.system_python(run.left())),
        "package_manager": host.package_manager(files),
        "container": run.part("container", lambda: host.container(files, os.environ)),
        "virtual": run.part("virtual", lambda: host.virtual(files)),
        "selinux": host.selinux(files),
        "apparmor": host.apparmor(files),
    }


def _network(run: Gathering, resolution: Facts) -> Facts:
    """Interfaces, RDMA devices and routes."""
    links = run.part("links", lambda: netlink.parse_links(netlink.dump(netlink.RTM_GETLINK))) or []
    addresses = run.part("addresses", lambda: netlink.parse_addresses(netlink.dump(netlink.RTM_GETADDR))) or []
    devices = run.part("rdma", lambda: rdma.rdma(run.rdma_files, run.files, run.left()))
    rdma_of = rdma.devices_of_interfaces(devices["devices"] if devices else [])
    found = run.part("interfaces", lambda: net.interfaces(links, addresses, run.files, rdma_of)) or []
    return {
        "interfaces": found,
        "default_route": run.part("default_route", lambda: net.default_route(run.files, found)),
        "source_rules": run.part("rules", lambda: netlink.source_rules(netlink.dump(netlink.RTM_GETRULE))) or [],
        "vrf_accepts": run.files.number("/proc/sys/net/ipv4/tcp_l3mdev_accept") == 1,
        "strict_reverse_path": run.part("reverse_path", lambda: _strict_reverse_path(run, found)) or [],
        "routes": run.part("routes", lambda: _routes(run, resolution, found)) or {},
        "rdma": devices,
        "peermem": pci.peermem(run.rdma_files),
        "dmabuf": pci.dmabuf(run.rdma_files, os.uname().release),
        "iommu": run.part("iommu", lambda: pci.iommu(run.files)),
        "acs": run.part("acs", lambda: pci.acs(run.files)),
    }


def _strict_reverse_path(run: Gathering, found: t.Sequence[Facts]) -> list[str]:
    """None is told where rules of routing, such as those by source, say where an answer leaves."""
    strict = net.strict_reverse_path(run.files, found)
    return [] if not strict or netlink.has_policy_routing(netlink.dump(netlink.RTM_GETRULE)) else strict


def _routes(run: Gathering, resolution: Facts, found: t.Sequence[Facts]) -> Facts:
    routes, table = {}, run.files.text("/proc/net/route", 512 * 1024) or ""
    for peer in run.wish.peers:
        answer = resolution.get(peer) or {}
        first = next(iter(answer.get("addresses", ())), None)
        routes[peer] = net.route_to(peer, first, answer.get("error"), found, table)
    return routes


def _login(run: Gathering) -> Facts:
    """The ssh session, its limits, what listens and which firewalls filter it."""
    files = run.files
    chain = run.part("ancestors", lambda: session.ancestors(files)) or []
    login = run.part("ssh_session", lambda: session.ssh_session(files, os.environ, chain))
    port = login["server_port"] if login else None
    found = run.part("listening_ports", lambda: ports.listeners(files)) or []
    return {
        "ssh_session": login,
        "limits": run.part("limits", lambda: session.limits(files, chain, run.wish.account, run.left())),
        "listening_ports": sorted({listener.port for listener in found}),
        "sshd": run.part("sshd", lambda: ports.sshd(files, found, port, chain)),
        "port_range": ports.port_range(files),
        "unprivileged_port_start": files.number("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
    }


def _firewalls(run: Gathering, network: Facts) -> Facts:
    """Which firewalls are in force, and which of their rules keep back what goes to the peers, or comes from them."""
    loaded = run.part("firewall_rules", lambda: firewall.read_rules(run.files, run.left()))
    loaded = loaded or firewall.Rules(None, None, None)
    ways = _ways(network, run.wish.addresses)
    uid = run.wish.account.pw_uid if run.wish.account else None
    return {
        "firewalls": run.part("firewalls", lambda: firewall.firewalls(run.files, run.left(), loaded)),
        "filtered": run.part("filtered", lambda: filtered.rows(loaded.chains, ways, uid)),
        "filtered_at_boot": run.part("filtered_at_boot", lambda: filtered.at_boot(run.files, ways, uid, run.left())),
    }


def _ways(network: Facts, more: t.Iterable[str]) -> dict[str, tuple[str, str]]:
    """{address of a peer: (own address, interface) on the way there}; those of this node are left out."""
    own = {each["address"] for item in network["interfaces"] for each in item["addresses"]}
    routes = {str(route["address"]): route for route in network["routes"].values() if route["address"]}
    found = {address: (str(route["source"] or ""), str(route["interface"] or "")) for address, route in routes.items()}
    found = {**dict.fromkeys(more, ("", "")), **found}
    return {address: way for address, way in found.items() if address and address not in own}


def _machine(run: Gathering) -> Facts:
    """Memory, processors, disks, mounted name files and the clock."""
    files = run.files
    table = run.part("mounts", lambda: disk.mounts(files)) or []
    home = run.wish.account.pw_dir if run.wish.account else None
    uid = run.wish.account.pw_uid if run.wish.account else os.geteuid()
    return {
        **host.memory(files),
        "cpus": host.cpus(),
        "cgroup_limits": run.part(
            "cgroup_limits", lambda: {**host.cgroup_limits(files), "login": host.login_tasks(files, uid)}
        ),
        "shm": run.part("shm", lambda: disk.shared_memory(table)),
        "disks": run.part("disks", lambda: disk.disks(table, run.wish.paths, run.left(), home)) or {},
        "hostname_file_mounted": disk.is_mounted(table, "/etc/hostname"),
        "hosts_file_mounted": disk.is_mounted(table, "/etc/hosts"),
        "clock": run.part("clock", lambda: clock(files)),
    }
