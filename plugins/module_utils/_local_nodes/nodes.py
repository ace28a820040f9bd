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

# With "init: sshd" nothing is permitted, mounted or enlarged beyond what "docker run" does by itself.
SSHD_COMMAND = "ssh-keygen -A && mkdir -p /run/sshd && exec /usr/sbin/sshd -D -p {port}"

# Systemd, the firewalls, tc and hostnamectl work with these; --privileged fails where the Docker
# Engine itself does not hold every capability.
RUN_FLAGS = (
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_NICE", "--cap-add", "SYS_PTRACE"),
    *("--security-opt", "seccomp=unconfined", "--cgroupns=private"),
    *("--tmpfs", "/run", "--tmpfs", "/tmp:exec", "--shm-size", "1g"),
    *("-e", "container=docker", "--stop-signal", "SIGRTMIN+3"),
)
Settings = dict[str, t.Any]


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
    # systemd, as a machine starts, or only sshd, as a container does that somebody started for the job
    init: str = "systemd"
    hostname: str = ""

    @property
    def settings(self) -> Settings:
        """What cannot be changed once the node is made: kept in a label of the container."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in ("name", "user")}

    @property
    def image(self) -> str:
        """What its image is made of, in one word: the base, and what it starts where that is not systemd."""
        return self.base if self.init == "systemd" else f"{self.base}+{self.init}"


@dataclasses.dataclass(frozen=True)
class NodeHave:
    """One container of ours as ``docker inspect`` tells it; ``leaving``: the engine removes it, or has failed to."""

    name: str
    container: str
    running: bool
    address: str
    settings: Settings
    networks: int
    leaving: bool = False


class Plan(t.NamedTuple):
    """What must be done.

    ``connect`` names the nodes that must get the useless network: new ones, and those whose making
    was interrupted just before.
    """

    create: list[NodeWish]
    connect: list[str]
    start: list[NodeHave]
    remove: list[NodeHave]
    faults: list[str]

    @property
    def names(self) -> dict[str, list[str]]:
        """The plan as names, for the module's result."""
        return {
            "created": [node.name for node in self.create],
            "started": [node.name for node in self.start],
            "removed": [node.name for node in self.remove],
        }


def container_name(cluster: str, node: str) -> str:
    """The container's name of a node."""
    return f"trainmesh-{cluster}-{node}"


def network_name(cluster: str, *, extra: bool = False) -> str:
    """The name of the cluster's network, or of the useless second one."""
    return f"trainmesh-{cluster}-extra" if extra else f"trainmesh-{cluster}"


def wished_nodes(
    listed: t.Sequence[t.Mapping[str, t.Any]], defaults: t.Mapping[str, t.Any], count: int, present: t.Iterable[str]
) -> list[NodeWish]:
    """The nodes asked for: those listed, cut or filled up with plain ``nodeN`` to ``count``.

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


def read_nodes(inspected: str, network: str) -> list[NodeHave]:
    """Our containers, from the JSON text of ``docker inspect``."""
    nodes = []
    for item in json.loads(inspected or "[]"):
        labels = item["Config"].get("Labels") or {}
        networks = item["NetworkSettings"].get("Networks") or {}
        endpoint = networks.get(network) or {}
        # A stopped container has no address, but keeps the one that it was made with.
        fixed = (endpoint.get("IPAMConfig") or {}).get("IPv4Address", "")
        nodes.append(
            NodeHave(
                name=labels.get(LABEL_NODE, ""),
                container=item["Name"].lstrip("/"),
                running=bool(item["State"]["Running"]),
                address=endpoint.get("IPAddress") or fixed,
                settings=_read_settings(labels.get(LABEL_SETTINGS, "")),
                networks=len(networks),
                leaving=item["State"].get("Status") in ("removing", "dead"),
            )
        )
    return sorted(nodes, key=lambda node: node.name)


def _read_settings(label: str) -> Settings:
    """What a node was made with; one made before there was a choice is what it would be now, {} is not known."""
    try:
        return {**NodeWish("").settings, **json.loads(label)}
    except (ValueError, TypeError):
        return {}


def make_plan(wish: t.Sequence[NodeWish], have: t.Sequence[NodeHave]) -> Plan:
    """Compare the nodes asked for with those there are; nodes that are there keep address and state.

    What the engine is removing, as after a killed run, can't be started any more: it is made anew.
    """
    present = {node.name: node for node in have if not node.leaving}
    wanted = {node.name for node in wish}
    extra = [node.name for node in wish if node.extra_interface]
    return Plan(
        create=[node for node in wish if node.name not in present],
        connect=[name for name in extra if name not in present or present[name].networks < 2],
        start=[node for node in present.values() if node.name in wanted and not node.running],
        remove=[node for node in have if node.name not in wanted or node.leaving],
        faults=[fault for node in wish for fault in _faults(node, present.get(node.name))],
    )


def _faults(wish: NodeWish, have: NodeHave | None) -> t.Iterator[str]:
    """Why a node cannot become what is asked."""
    asked = {
        f"firewall: {wish.firewall}": wish.firewall != "none",
        "isolated: true": wish.isolated,
        f"user: {wish.user}": wish.user != "root",
    }
    words = ", ".join(word for word, given in asked.items() if given)
    if wish.init == "sshd" and words:
        yield f"{wish.name} has init: sshd, so that it cannot have {words}: leave that out, or take init: systemd"
    if have and have.settings != wish.settings:
        old, new = (
            {key: "the default" if value == "" else value for key, value in node.settings.items()}
            for node in (have, wish)
        )
        other = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        pairs = ", ".join(f"{key} is {old.get(key, 'unknown')}, asked for {new.get(key)}" for key in other)
        yield (
            f"{wish.name} was made with other settings ({pairs}): take the nodes down first, then bring them up again"
        )


def create_argv(cluster: str, node: NodeWish, address: str, image: str, *, apparmor: bool) -> list[str]:
    """The arguments of the Docker client that make the container of a node."""
    plain = node.init == "sshd"
    argv = ["create", "--name", container_name(cluster, node.name), *(() if plain else RUN_FLAGS)]
    argv += ["--hostname", node.hostname or (node.name if plain else BAD_HOSTNAME)]
    argv += ["--label", f"{LABEL}={cluster}", "--label", f"{LABEL_NODE}={node.name}"]
    argv += ["--label", f"{LABEL_SETTINGS}={json.dumps(node.settings)}"]
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


def known_hosts(address: str, port: int, keys: t.Iterable[str]) -> list[str]:
    """The lines of known_hosts for a node: ssh looks for ``[address]:port`` unless the port is 22."""
    host = address if port == 22 else f"[{address}]:{port}"
    return [f"{host} {' '.join(key.split()[:2])}" for key in keys if len(key.split()) >= 2]


def read_subnets(inspected: str) -> list[str]:
    """The subnets from the JSON text of ``docker network inspect``."""
    return [
        config["Subnet"]
        for item in json.loads(inspected or "[]")
        for config in (item.get("IPAM", {}).get("Config") or [])
        if "." in config.get("Subnet", "")
    ]


def read_routes(text: str) -> list[str]:
    """The destinations of ``/proc/net/route`` (little-endian hex), without the default route."""
    rows = [line.split() for line in text.splitlines()[1:]]
    pairs = [[ipaddress.IPv4Address(bytes.fromhex(row[i])[::-1]) for i in (1, 7)] for row in rows if len(row) >= 8]
    return [str(ipaddress.ip_network(f"{address}/{mask}", strict=False)) for address, mask in pairs if int(mask)]


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


def free_hosts(subnet: str, used: t.Container[str]) -> list[str]:
    """The addresses of a subnet from the first one for nodes on, without those in use."""
    hosts = [str(host) for host in ipaddress.ip_network(subnet).hosts()]
    return [host for host in hosts[FIRST_HOST - 1 :] if host not in used]
