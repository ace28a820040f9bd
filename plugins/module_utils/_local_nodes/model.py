# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the embedded nodes are, as plain data, and what must be done to get there.

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

# What a node starts: systemd, as a machine does, or only sshd, as a container does that somebody started for the job.
INITS = ("systemd", "sshd")
LATER_SETTINGS = {"base": "", "init": "systemd", "hostname": ""}  # left out of the label where they are the default
# Nothing is permitted, mounted or enlarged beyond what "docker run" does by itself.
SSHD_COMMAND = "ssh-keygen -A && mkdir -p /run/sshd && exec /usr/sbin/sshd -D -p {port}"

# Systemd, the firewalls, tc and hostnamectl work with these; --privileged fails where the Docker
# Engine itself does not hold every capability.
RUN_FLAGS = (
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_NICE", "--cap-add", "SYS_PTRACE"),
    *("--security-opt", "seccomp=unconfined", "--cgroupns=private"),
    *("--tmpfs", "/run", "--tmpfs", "/tmp:exec", "--shm-size", "1g"),
    *("-e", "container=docker", "--stop-signal", "SIGRTMIN+3"),
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
    init: str = "systemd"
    hostname: str = ""

    @property
    def settings(self) -> str:
        """What cannot be changed once the node is made, as JSON: kept in a label of the container."""
        built_in = dataclasses.asdict(self)
        del built_in["name"], built_in["user"]
        # Nodes made before there was a choice are what they would be now.
        kept = {key: value for key, value in built_in.items() if LATER_SETTINGS.get(key) != value}
        return json.dumps(kept, sort_keys=True)

    @property
    def image(self) -> str:
        """What its image is made of, in one word: the base, and what it starts where that is not systemd."""
        return self.base if self.init == "systemd" else f"{self.base}+{self.init}"


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


def unlike_a_container(node: NodeWish) -> list[str]:
    """Return what is asked of a node with sshd alone that only a node with systemd can give."""
    asked = {
        f"firewall: {node.firewall}": node.firewall != "none",
        "isolated: true": node.isolated,
        f"user: {node.user}": node.user != "root",
    }
    words = ", ".join(word for word, given in asked.items() if given)
    if node.init != "sshd" or not words:
        return []
    return [f"{node.name} has init: sshd, so that it cannot have {words}: leave that out, or take init: systemd"]


def make_plan(wish: t.Sequence[NodeWish], have: t.Sequence[NodeHave], subnet: str) -> Plan:
    """Compare the nodes asked for with those there are; nodes that are there keep address and state."""
    present = {node.name: node for node in have}
    wanted = {node.name for node in wish}
    addresses = {name: present[name].address for name in wanted if name in present and present[name].address}
    hosts = iter(_free_hosts(subnet, {node.address for node in have}))
    faults = [fault for node in wish for fault in unlike_a_container(node)]
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
    old, new = {**LATER_SETTINGS, **old}, {**LATER_SETTINGS, **json.loads(wish)}
    different = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    shown = {key: [values.get(key) or "the default" for values in (old, new)] for key in LATER_SETTINGS}
    pairs = {key: shown.get(key) or [old.get(key), new.get(key)] for key in different}
    return ", ".join(f"{key} is {pair[0]}, asked for {pair[1]}" for key, pair in pairs.items())


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
    plain = node.init == "sshd"
    argv = ["create", "--name", container_name(cluster, node.name), *(() if plain else RUN_FLAGS)]
    argv += ["--hostname", node.hostname or (node.name if plain else BAD_HOSTNAME)]
    argv += ["--label", f"{LABEL}={cluster}", "--label", f"{LABEL_NODE}={node.name}"]
    argv += ["--label", f"{LABEL_SETTINGS}={node.settings}"]
    argv += ["--network", network_name(cluster), "--ip", address]
    if plain:
        return [*argv, image, "sh", "-c", SSHD_COMMAND.format(port=node.ssh_port)]
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
