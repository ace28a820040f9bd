# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the embedded nodes what the plan says, and take them away."""

from __future__ import annotations

import concurrent.futures
import os
import socket
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import Host, LocalNodesError
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.model import (
    LABEL,
    NodeHave,
    NodeWish,
    Plan,
    container_name,
    create_argv,
    known_hosts,
    make_plan,
    network_name,
    read_nodes,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.subnets import (
    free_subnets,
    read_routes,
    read_subnets,
)

GIB = 1024**3
# A node's environment (torch, deepspeed, accelerate) takes 0.85 to 1.1 GB; wheels and image come on top.
DISK_BASE_BYTES = 3 * GIB
DISK_NODE_BYTES = 3 * GIB
# An idle node takes 20 MiB, one rank that trains on a CPU about 0.6 GiB, pulling in torch included.
MEMORY_NODE_BYTES = GIB
WORKERS = 4
SETUP_LIMIT = 180.0  # seconds for the first boot of one node on a busy machine
SSH_LIMIT = 60.0  # seconds until sshd greets


def subnet_of(host: Host, cluster: str) -> str | None:
    """Return the subnet of the cluster's network, None when there is no such network."""
    outcome = host.docker("network", "inspect", network_name(cluster))
    subnets = read_subnets(outcome.out) if outcome.ok else []
    return subnets[0] if subnets else None


def _filter(cluster: str) -> str:
    """Return the filter for what belongs to a cluster; an empty name stands for every cluster."""
    return f"label={LABEL}={cluster}" if cluster else f"label={LABEL}"


def nodes_of(host: Host, cluster: str) -> list[NodeHave]:
    """Return the containers of a cluster, running or not; of every cluster when the name is empty."""
    ids = host.need("list the containers", "ps", "-aq", "--filter", _filter(cluster)).split()
    if not ids:
        return []
    return read_nodes(host.need("read the containers", "inspect", *ids), network_name(cluster))


def read_plan(host: Host, cluster: str, wish: t.Sequence[NodeWish]) -> Plan:
    """Compare the wish with what there is; raises :class:`LocalNodesError` when a node cannot become what is asked."""
    subnet = subnet_of(host, cluster) or next(free_subnets(_taken(host)), "")
    if not subnet:
        raise LocalNodesError("no private /24 network is free on this machine: its routes cover all that were tried")
    plan = make_plan(wish, nodes_of(host, cluster), subnet)
    if plan.faults:
        raise LocalNodesError("; ".join(plan.faults))
    return plan


def _taken(host: Host) -> list[str]:
    """Return every subnet that this machine routes or that a Docker network holds."""
    with open("/proc/net/route", encoding="ascii") as stream:
        routes = read_routes(stream.read())
    ids = host.need("list the networks", "network", "ls", "-q").split()
    return routes + read_subnets(host.need("read the networks", "network", "inspect", *ids))


def check_resources(new_nodes: int, disk_path: str) -> None:
    """Raise :class:`LocalNodesError` when disk or memory cannot hold that many more nodes."""
    if not new_nodes:
        return
    while not os.path.exists(disk_path):
        disk_path = os.path.dirname(disk_path)
    stat = os.statvfs(disk_path)
    free, wanted = stat.f_bavail * stat.f_frsize, DISK_BASE_BYTES + new_nodes * DISK_NODE_BYTES
    if free < wanted:
        raise LocalNodesError(
            f"too little disk: {disk_path} has {free / GIB:.1f} GiB free,"
            f" {new_nodes} new nodes with their training environments need {wanted / GIB:.0f} GiB"
        )
    available, wanted = _memory_available(), new_nodes * MEMORY_NODE_BYTES
    if available < wanted:
        raise LocalNodesError(
            f"too little memory: {available / GIB:.1f} GiB available,"
            f" {new_nodes} new nodes that train need {wanted / GIB:.0f} GiB"
        )


def _memory_available() -> int:
    """Return the bytes that can be used without swapping (``MemAvailable``)."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        for line in stream:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def apply_plan(host: Host, cluster: str, plan: Plan, images: t.Mapping[str, str]) -> None:
    """Make, start and remove containers; every step can be repeated after an interruption.

    ``images``: the image of every kind of node that is to be made, by :attr:`NodeWish.image`.
    """
    bare = sorted({node.image or "the default" for node in plan.create if not images.get(node.image)})
    if bare:
        raise LocalNodesError(
            f"no image was given for the base {', '.join(bare)}: run the step 'image' for these nodes"
        )
    apparmor = "apparmor" in host.need("ask the engine", "info", "--format", "{{.SecurityOptions}}")
    for gone in plan.remove:
        host.need(f"remove {gone.name}", "rm", "-f", "-v", gone.container)
    for node in plan.create:
        argv = create_argv(cluster, node, plan.addresses[node.name], images[node.image], apparmor=apparmor)
        host.need(f"make {node.name}", *argv)
    for name in plan.connect:
        extra = network_name(cluster, extra=True)
        host.need(f"connect {name}", "network", "connect", extra, container_name(cluster, name))
    for name in [container_name(cluster, node.name) for node in plan.create] + [node.container for node in plan.start]:
        host.need(f"start {name}", "start", name)


def ensure_networks(host: Host, cluster: str, *, extra: bool, apply: bool) -> bool:
    """Make the cluster's network, and the useless one where a node has it; True when one was missing."""
    changed = False
    for name, internal in ((network_name(cluster), False), (network_name(cluster, extra=True), True)):
        if (internal and not extra) or host.docker("network", "inspect", name).ok:
            continue
        changed = True
        if apply:
            _make_network(host, cluster, name, internal=internal)
    return changed


def _make_network(host: Host, cluster: str, name: str, *, internal: bool) -> None:
    """Make a network on the first free subnet; another program may take one while we look."""
    error = "no private /24 network is free on this machine"
    for count, subnet in enumerate(free_subnets(_taken(host))):
        flags = ["--internal"] if internal else []
        argv = ["network", "create", "--label", f"{LABEL}={cluster}", "--subnet", subnet, *flags, name]
        outcome = host.docker(*argv)
        if outcome.ok:
            return
        error = outcome.text.strip()
        if "overlap" not in error.lower() or count > 20:
            break
    raise LocalNodesError(f"could not make the network {name}: {error}")


def set_up(
    host: Host, cluster: str, wish: t.Sequence[NodeWish], options: dict[str, str]
) -> tuple[list[dict[str, t.Any]], bool]:
    """Finish the first boot of every node and return (what an inventory needs of each, anything changed).

    ``options``: ``script`` (text of setup.sh), ``account`` and ``public_key``.
    """
    addresses = {node.name: node.address for node in nodes_of(host, cluster)}
    missing = [node.name for node in wish if not addresses.get(node.name)]
    if missing:
        raise LocalNodesError(f"not running: {', '.join(missing)}: bring the nodes up first")
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        results = list(pool.map(lambda node: _set_up_node(host, cluster, node, addresses[node.name], options), wish))
    return [result for result, _changed in results], any(changed for _result, changed in results)


def _set_up_node(
    host: Host, cluster: str, node: NodeWish, address: str, options: dict[str, str]
) -> tuple[dict[str, t.Any], bool]:
    """Set one node up unless that is done; wait until its sshd greets."""
    container = container_name(cluster, node.name)
    ready = host.docker("exec", container, "grep", "-qxF", options["public_key"], "/root/.ssh/authorized_keys").ok
    ready = ready and host.docker("exec", container, "test", "-e", "/etc/trainmesh-node/ready").ok
    if not ready:
        arguments = [str(node.ssh_port), node.firewall, options["account"], options["public_key"], node.init]
        command = ["exec", "-i", container, "sh", "-s", "--", *arguments]
        host.need(f"set {node.name} up", *command, limit=SETUP_LIMIT, stdin=options["script"])
    keys = host.need(
        f"read the host keys of {node.name}", "exec", container, "sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"
    ).splitlines()
    _wait_for_ssh(node.name, address, node.ssh_port)
    result = {
        "name": node.name,
        "address": address,
        "port": node.ssh_port,
        "user": node.user,
        "known_hosts": known_hosts(address, node.ssh_port, keys),
    }
    return result, not ready


def _wait_for_ssh(name: str, address: str, port: int) -> None:
    """Wait until sshd sends its greeting; raises :class:`LocalNodesError` at the limit."""
    deadline, error = time.monotonic() + SSH_LIMIT, "nothing was tried"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, port), timeout=5) as connection:
                connection.settimeout(5)
                if connection.recv(4) == b"SSH-":
                    return
                error = "no ssh greeting"
        except OSError as caught:
            error = str(caught)
        time.sleep(0.3)
    raise LocalNodesError(f"sshd of {name} does not answer on {address} port {port} after {SSH_LIMIT:.0f} s: {error}")


def remove_all(host: Host, cluster: str, *, apply: bool) -> list[str]:
    """Remove the containers and networks of a cluster, of all with an empty name; returns their names."""
    nodes = [node.container for node in nodes_of(host, cluster)]
    listed = host.need("list the networks", "network", "ls", "--filter", _filter(cluster), "--format", "{{.Name}}")
    networks = sorted(listed.split())
    if apply and nodes:
        host.need("remove the nodes", "rm", "-f", "-v", *nodes, limit=180)
    if apply and networks:
        host.need("remove the networks", "network", "rm", *networks)
    return nodes + networks
