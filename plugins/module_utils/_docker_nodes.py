# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: what the embedded nodes are, as plain data, and what must be done to get there.

Nothing here runs a command: the answers of the Docker client go in, argument lists and plans come out.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
import typing as t

LABEL = "io.trainmesh.local-nodes"  # value: the cluster's name; on networks and containers
LABEL_NODE = "io.trainmesh.local-node"  # value: the node's name in the inventory
LABEL_SETTINGS = "io.trainmesh.local-node-settings"  # value: JSON of what the node was made with
INIT = "/usr/local/sbin/trainmesh-node-init"
BAD_HOSTNAME = "localhost.localdomain"
FIRST_HOST = 11  # .1 is the bridge; the addresses below are left for what a user may add
FIREWALLS = ("none", "firewalld", "ufw")

# Systemd, the firewalls, tc and hostnamectl work with these; --privileged fails where the Docker
# Engine itself does not hold every capability.
RUN_FLAGS = (
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_NICE", "--cap-add", "SYS_PTRACE"),
    *("--security-opt", "seccomp=unconfined", "--cgroupns=private"),
    *("--tmpfs", "/run", "--tmpfs", "/tmp:exec", "--shm-size", "1g"),
    *("-e", "container=docker", "--stop-signal", "SIGRTMIN+3", "--hostname", BAD_HOSTNAME),
)


@dataclasses.dataclass(frozen=True)
class NodeWish:
    """One node as it is asked for; ``user`` is the login user of the inventory, the rest is built in."""

    name: str
    ssh_port: int = 22
    firewall: str = "none"
    extra_interface: bool = False
    isolated: bool = False
    bind_mounts: bool = False
    user: str = "root"
    base: str = ""

    @property
    def settings(self) -> str:
        """What cannot be changed once the node is made, as JSON: kept in a label of the container."""
        built_in = dataclasses.asdict(self)
        del built_in["name"], built_in["user"]
        if not self.base:
            del built_in["base"]  # nodes made before there was a choice are what they would be now
        return json.dumps(built_in, sort_keys=True)


@dataclasses.dataclass(frozen=True)
class NodeHave:
    """One container of ours as ``docker inspect`` tells it."""

    name: str
    container: str
    running: bool
    address: str
    settings: str
    networks: tuple[str, ...] = ()


class Plan(t.NamedTuple):
    """What must be done; addresses are given to every node that is asked for.

    ``connect`` names the nodes that must get the useless network: new ones, and those whose making
    was interrupted just before.
    """

    create: list[NodeWish]
    connect: list[str]
    start: list[NodeHave]
    remove: list[NodeHave]
    addresses: dict[str, str]
    faults: list[str]

    @property
    def changed(self) -> bool:
        """True when anything must be done."""
        return bool(self.create or self.connect or self.start or self.remove)


def container_name(cluster: str, node: str) -> str:
    """Return the container's name of a node."""
    return f"trainmesh-{cluster}-{node}"


def network_name(cluster: str, *, extra: bool = False) -> str:
    """Return the name of the cluster's network, or of the useless second one."""
    return f"trainmesh-{cluster}-extra" if extra else f"trainmesh-{cluster}"


def read_nodes(inspected: str, network: str) -> list[NodeHave]:
    """Return our containers from the JSON text of ``docker inspect``."""
    nodes = []
    for item in json.loads(inspected or "[]"):
        labels = item["Config"].get("Labels") or {}
        endpoint = (item["NetworkSettings"].get("Networks") or {}).get(network) or {}
        # A stopped container has no address, but keeps the one that it was made with.
        fixed = (endpoint.get("IPAMConfig") or {}).get("IPv4Address", "")
        nodes.append(
            NodeHave(
                name=labels.get(LABEL_NODE, ""),
                container=item["Name"].lstrip("/"),
                running=bool(item["State"]["Running"]),
                address=endpoint.get("IPAddress") or fixed,
                settings=labels.get(LABEL_SETTINGS, ""),
                networks=tuple(sorted(item["NetworkSettings"].get("Networks") or {})),
            )
        )
    return sorted(nodes, key=lambda node: node.name)


def read_subnets(inspected: str) -> list[str]:
    """Return the subnets from the JSON text of ``docker network inspect``."""
    return [
        config["Subnet"]
        for item in json.loads(inspected or "[]")
        for config in (item.get("IPAM", {}).get("Config") or [])
        if "." in config.get("Subnet", "")
    ]


def read_routes(text: str) -> list[str]:
    """Return the destinations of ``/proc/net/route`` (little-endian hex), without the default route."""
    routes = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[7] == "00000000":
            continue
        address, mask = (
            ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(field), "little")) for field in (fields[1], fields[7])
        )
        routes.append(str(ipaddress.ip_network(f"{address}/{mask}", strict=False)))
    return routes


def free_subnets(taken: t.Iterable[str]) -> t.Iterator[str]:
    """Yield private /24 subnets that overlap with none of ``taken``.

    The search starts far from what Docker itself gives out (172.16/12, 192.168/16) and from where
    home and company networks usually are.
    """
    used = [ipaddress.ip_network(item, strict=False) for item in taken]
    for pool in ("10.213.0.0/16", "10.214.0.0/16", "172.30.0.0/16", "192.168.192.0/18"):
        for subnet in ipaddress.ip_network(pool).subnets(new_prefix=24):
            if not any(subnet.overlaps(other) for other in used):
                yield str(subnet)


def make_plan(wish: t.Sequence[NodeWish], have: t.Sequence[NodeHave], subnet: str) -> Plan:
    """Compare the nodes asked for with those there are; nodes that are there keep address and state."""
    present = {node.name: node for node in have}
    wanted = {node.name for node in wish}
    addresses = {name: present[name].address for name in wanted if name in present and present[name].address}
    hosts = iter(_free_hosts(subnet, {node.address for node in have}))
    faults = []
    for node in wish:
        if node.name in present and present[node.name].settings != node.settings:
            faults.append(
                f"{node.name} was made with other settings ({_difference(present[node.name].settings, node.settings)}):"
                " take the nodes down first, then bring them up again"
            )
        if node.name not in addresses:
            addresses[node.name] = next(hosts)
    extra = [node.name for node in wish if node.extra_interface]
    return Plan(
        create=[node for node in wish if node.name not in present],
        connect=[name for name in extra if name not in present or len(present[name].networks) < 2],
        start=[node for node in have if node.name in wanted and not node.running],
        remove=[node for node in have if node.name not in wanted],
        addresses=addresses,
        faults=faults,
    )


def _free_hosts(subnet: str, used: set[str]) -> t.Iterator[str]:
    """Yield the addresses of a subnet from the first one for nodes on, without those in use."""
    network = ipaddress.ip_network(subnet)
    for host in list(network.hosts())[FIRST_HOST - 1 :]:
        if str(host) not in used:
            yield str(host)


def _difference(have: str, wish: str) -> str:
    """Name the settings that differ: "firewall is ufw, asked for none"."""
    try:
        old = json.loads(have)
    except ValueError:
        return "unknown"
    new = json.loads(wish)
    different = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return ", ".join(
        f"{key} is {old.get(key, 'the default')}, asked for {new.get(key, 'the default')}" for key in different
    )


def wished_nodes(
    listed: t.Sequence[t.Mapping[str, t.Any]],
    defaults: t.Mapping[str, t.Any],
    count: int,
    present: t.Iterable[str],
) -> list[NodeWish]:
    """Return the nodes asked for: those listed, cut or filled up with plain ``nodeN`` to ``count``.

    With a count of 0 nothing is cut, and a plain node that was added earlier (``present``) stays.
    """
    given = {key: value for key, value in defaults.items() if value is not None}
    wish = [NodeWish(**{**given, **{key: v for key, v in item.items() if v is not None}}) for item in listed]
    names = {node.name for node in wish}
    if count:
        wish = wish[:count]
        plain = (f"node{number}" for number in range(1, len(listed) + count + 1))
        added = [name for name in plain if name not in names][: count - len(wish)]
    else:
        numbers = sorted(int(name[4:]) for name in set(present) - names if re.fullmatch(r"node[0-9]+", name))
        added = [f"node{number}" for number in numbers]
    return wish + [NodeWish(name=name, **given) for name in added]


def create_argv(cluster: str, node: NodeWish, address: str, image: str, *, apparmor: bool) -> list[str]:
    """Return the arguments of the Docker client that make the container of a node."""
    argv = ["create", "--name", container_name(cluster, node.name), *RUN_FLAGS]
    argv += ["--label", f"{LABEL}={cluster}", "--label", f"{LABEL_NODE}={node.name}"]
    argv += ["--label", f"{LABEL_SETTINGS}={node.settings}"]
    argv += ["--network", network_name(cluster), "--ip", address]
    if apparmor:
        argv += ["--security-opt", "apparmor=unconfined"]
    if node.isolated:
        # The way out is closed by the first process; names must not be resolved either.
        argv += ["-e", "TRAINMESH_NODE_ISOLATED=1", "--dns", "127.0.0.1"]
    if node.bind_mounts:
        argv += ["-e", "TRAINMESH_NODE_BIND_MOUNTS=1"]
    return [*argv, image, INIT]


def describe(plan: Plan) -> dict[str, list[str]]:
    """Return the plan as names, for the module's result."""
    return {
        "created": [node.name for node in plan.create],
        "started": [node.name for node in plan.start],
        "removed": [node.name for node in plan.remove],
    }


def known_hosts(address: str, port: int, keys: t.Iterable[str]) -> list[str]:
    """Return the lines of known_hosts for a node: ssh looks for ``[address]:port`` unless the port is 22."""
    host = address if port == 22 else f"[{address}]:{port}"
    return [f"{host} {' '.join(key.split()[:2])}" for key in keys if len(key.split()) >= 2]


__all__ = (
    "FIREWALLS",
    "LABEL",
    "NodeHave",
    "NodeWish",
    "Plan",
    "container_name",
    "create_argv",
    "describe",
    "free_subnets",
    "known_hosts",
    "make_plan",
    "network_name",
    "read_nodes",
    "read_routes",
    "read_subnets",
    "wished_nodes",
)
