# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the module docker_nodes, each ``params -> result``; every one can be repeated after an interruption."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import os
import socket
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes import limits, nodes
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import (
    RECORD,
    Host,
    LocalNodesError,
    ensure_engine,
    find_tool,
    reason,
    stop_engine,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.image import ensure_image, remove_images

WORKERS = 4
SETUP_LIMIT = 180.0  # seconds for the first boot of one node on a busy machine
SSH_LIMIT = 60.0  # seconds until sshd greets
PATIENCE_S = 60.0  # seconds until the engine is through with a removal

Params = t.Mapping[str, t.Any]
Result = dict[str, t.Any]


def _filter(cluster: str) -> str:
    """The filter for what belongs to a cluster; an empty name stands for every cluster."""
    return f"label={nodes.LABEL}={cluster}" if cluster else f"label={nodes.LABEL}"


def _nodes_of(host: Host, cluster: str) -> list[nodes.NodeHave]:
    """The containers of a cluster, running or not; of every cluster when the name is empty."""
    ids = host.need("list the containers", "ps", "-aq", "--filter", _filter(cluster)).split()
    inspected = host.inspect("read the containers", "inspect", *ids) if ids else "[]"
    return nodes.read_nodes(inspected, nodes.network_name(cluster))


def _subnet_of(host: Host, cluster: str) -> str:
    """The subnet of the cluster's network, nothing when there is no such network."""
    outcome = host.docker("network", "inspect", nodes.network_name(cluster))
    return next(iter(nodes.read_subnets(outcome.out)), "") if outcome.ok else ""


def _wish(params: Params, present: list[nodes.NodeHave]) -> list[nodes.NodeWish]:
    """The nodes that the user asked for."""
    names = [node.name for node in present]
    return nodes.wished_nodes(params["nodes"], params["defaults"] or {}, params["count"], names)


def _diff(before: list[str], after: list[str]) -> dict[str, str]:
    """The difference of two lists of names as Ansible shows it."""
    return {"before": "".join(f"{item}\n" for item in before), "after": "".join(f"{item}\n" for item in after)}


def engine(_params: Params, *, apply: bool) -> Result:
    """Make a Docker Engine answer; what else the nodes need of this machine is looked at first."""
    if not find_tool("ssh-keygen"):
        raise LocalNodesError(
            "ssh-keygen is missing on this machine, and makes the key that logs in to the nodes: install openssh-client"
            " (Debian, Ubuntu) or openssh-clients (RHEL)"
        )
    changed, version = ensure_engine(Host(), apply=apply)
    summary = f"Docker Engine {version} answers" if version else "no Docker Engine answers: one would be started"
    return {"changed": changed, "summary": summary, "diff": _diff([] if changed else ["engine"], ["engine"])}


def image(params: Params, *, apply: bool) -> Result:
    """Build the image of each kind of node that is asked for."""
    host = Host()
    answers = host.engine_version()
    wish = _wish(params, _nodes_of(host, params["cluster"]) if answers else [])
    kinds = sorted({node.image for node in wish})
    if not answers and not apply:
        return {"changed": True, "summary": "the image would be built", "images": dict.fromkeys(kinds, "")}
    made = [ensure_image(host, params["recipe"], kind, apply=apply) for kind in kinds]
    return {
        "changed": any(changed for changed, _tag, _how in made),
        "images": {kind: tag for kind, (_changed, tag, _how) in zip(kinds, made)},
        "summary": "; ".join(f"{tag}: {how or 'would be built'}" for _changed, tag, how in made),
        "diff": _diff([tag for changed, tag, _how in made if not changed], [tag for _changed, tag, _how in made]),
    }


def containers(params: Params, *, apply: bool) -> Result:
    """Make the networks and the containers what is asked."""
    host, cluster = Host(), params["cluster"]
    if not host.engine_version() and not apply:
        names = [node.name for node in _wish(params, [])]
        return {"changed": True, "summary": f"would be created: {', '.join(names)}", "diff": _diff([], names)}
    have = _nodes_of(host, cluster)
    wish = _wish(params, have)
    plan = nodes.make_plan(wish, have)
    if plan.faults:
        raise LocalNodesError("; ".join(plan.faults))
    warnings = []
    if plan.create:
        disk = host.need("ask the engine", "info", "--format", "{{.DockerRootDir}}").strip() or "/var/lib/docker"
        limits.check_resources(len(plan.create), disk, Tree())
        gone = {node.container for node in plan.remove}
        stay = [node.settings for node in _nodes_of(host, "") if node.container not in gone]
        # What is not known of a node is that it starts anything but systemd.
        systemd = sum(made.get("init") != "sshd" for made in [*stay, *(node.settings for node in plan.create)])
        warnings = limits.warnings(systemd, len(wish), Tree())
    networks = ensure_networks(host, cluster, extra=any(node.extra_interface for node in wish), apply=apply)
    if apply:
        subnet = _subnet_of(host, cluster)
        addresses = nodes.free_hosts(subnet, {node.address for node in have}) if subnet else []
        apply_plan(host, cluster, plan, addresses, params["images"])
    done = [f"{what} {', '.join(names)}" for what, names in plan.names.items() if names]
    return {
        "changed": networks or bool(done or plan.connect),
        "summary": f"{len(wish)} nodes on {_subnet_of(host, cluster) or 'a new network'}: "
        + ("; ".join(done) or "all there"),
        "diff": _diff([node.name for node in have], sorted(node.name for node in wish)),
        "nodes": [dataclasses.asdict(node) for node in wish],
        "warnings": warnings,
        **plan.names,
    }


def ensure_networks(host: Host, cluster: str, *, extra: bool, apply: bool) -> bool:
    """Make the cluster's network, and the useless one where a node has it; True when one was missing."""
    wanted: dict[str, list[str]] = {nodes.network_name(cluster): []}
    if extra:
        wanted[nodes.network_name(cluster, extra=True)] = ["--internal"]
    missing = [name for name in wanted if not host.docker("network", "inspect", name).ok]
    for name in missing:
        with open("/proc/net/route", encoding="ascii") as stream:
            routes = nodes.read_routes(stream.read())
        ids = host.need("list the networks", "network", "ls", "-q").split()
        held = nodes.read_subnets(host.inspect("read the networks", "network", "inspect", *ids))
        why = "no private /24 network is free on this machine: its routes cover all that were tried"
        for subnet in itertools.islice(nodes.free_subnets(routes + held), 20):
            argv = ["network", "create", "--label", f"{nodes.LABEL}={cluster}", "--subnet", subnet, *wanted[name], name]
            outcome = host.docker(*argv) if apply else None
            why = reason(outcome) if outcome and not outcome.ok else ""
            if "overlap" not in why.lower():  # another program may take the subnet while we look
                break
        if why:
            raise LocalNodesError(f"could not make the network {name}: {why}")
    return bool(missing)


def apply_plan(
    host: Host, cluster: str, plan: nodes.Plan, addresses: t.Sequence[str], images: t.Mapping[str, str]
) -> None:
    """Make, start and remove containers.

    ``addresses`` are those that are free, ``images`` the image of every kind of node, by :attr:`nodes.NodeWish.image`.
    """
    bare = sorted({node.image or "the default" for node in plan.create if not images.get(node.image)})
    if bare:
        raise LocalNodesError(
            f"no image was given for the base {', '.join(bare)}: run the step 'image' for these nodes"
        )
    if len(addresses) < len(plan.create):
        raise LocalNodesError(
            f"{len(plan.create)} new nodes need an address, and the network has {len(addresses)} left"
        )
    apparmor = "apparmor" in host.need("ask the engine", "info", "--format", "{{.SecurityOptions}}")
    for gone in plan.remove:
        _patiently(host, f"remove {gone.name}", "rm", "-f", "-v", gone.container)
    for node, address in zip(plan.create, addresses):
        argv = nodes.create_argv(cluster, node, address, images[node.image], apparmor=apparmor)
        host.need(f"make {node.name}", *argv)
    for name in plan.connect:
        extra = nodes.network_name(cluster, extra=True)
        host.need(f"connect {name}", "network", "connect", extra, nodes.container_name(cluster, name))
    made = [nodes.container_name(cluster, node.name) for node in plan.create]
    for name in [*made, *(node.container for node in plan.start)]:
        host.need(f"start {name}", "start", name)


def setup(params: Params, *, apply: bool) -> Result:
    """Finish the first boot of every node."""
    if not apply:
        return {"changed": False, "summary": "not done in check mode", "hosts": []}
    with open(os.path.join(params["recipe"], "setup.sh"), encoding="utf-8") as stream:
        script = stream.read()
    host, wish = Host(), _wish(params, [])
    host.engine_version()
    addresses = {node.name: node.address for node in _nodes_of(host, params["cluster"])}
    missing = [node.name for node in wish if not addresses.get(node.name)]
    if missing:
        raise LocalNodesError(f"not running: {', '.join(missing)}: bring the nodes up first")
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        results = list(pool.map(lambda node: _set_up_node(host, params, node, addresses[node.name], script), wish))
    hosts = [one for one, _changed in results]
    inventory = {
        one["name"]: {"ansible_host": one["address"], "ansible_port": one["port"], "ansible_user": one["user"]}
        for one in hosts
    }
    summary = "sshd answers on " + ", ".join(f"{one['name']} {one['address']}:{one['port']}" for one in hosts)
    changed = any(changed for _one, changed in results)
    return {"changed": changed, "hosts": hosts, "inventory": inventory, "summary": summary}


def _set_up_node(host: Host, params: Params, node: nodes.NodeWish, address: str, script: str) -> tuple[Result, bool]:
    """Set one node up unless that is done, and wait until its sshd greets; returns (what it is, anything changed)."""
    inside, key = ["exec", "-i", nodes.container_name(params["cluster"], node.name)], params["public_key"].strip()
    done = 'test -e /etc/trainmesh-node/ready && grep -qxF "$0" /root/.ssh/authorized_keys'
    ready = host.docker(*inside, "sh", "-c", done, key).ok
    if not ready:
        arguments = [str(node.ssh_port), node.firewall, params["account"], key, node.init]
        host.need(f"set {node.name} up", *inside, "sh", "-s", "--", *arguments, limit=SETUP_LIMIT, stdin=script)
    keys = host.need(f"read the host keys of {node.name}", *inside, "sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub")
    _wait_for_ssh(node.name, address, node.ssh_port)
    result = {"name": node.name, "address": address, "port": node.ssh_port, "user": node.user}
    return {**result, "known_hosts": nodes.known_hosts(address, node.ssh_port, keys.splitlines())}, not ready


def _wait_for_ssh(name: str, address: str, port: int) -> None:
    """Wait until sshd sends its greeting; raises :class:`LocalNodesError` at the limit."""
    deadline = time.monotonic() + SSH_LIMIT
    while True:
        try:
            with socket.create_connection((address, port), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":
                    return
                why = "no ssh greeting"
        except OSError as error:
            why = str(error)
        if time.monotonic() > deadline:
            raise LocalNodesError(
                f"sshd of {name} does not answer on {address} port {port} after {SSH_LIMIT:.0f} s: {why}"
            )
        time.sleep(0.3)


def status(params: Params, **_other: bool) -> Result:
    """Read what there is of a cluster."""
    host = Host()
    if not host.engine_version():
        return {"changed": False, "hosts": [], "summary": "no Docker Engine answers, so no nodes are seen"}
    found = _nodes_of(host, params["cluster"])
    hosts = [{"name": node.name, "address": node.address, "running": node.running} for node in found]
    lines = [f"{node.name} {node.address or '-'} {'running' if node.running else 'stopped'}" for node in found]
    network = f"network {nodes.network_name(params['cluster'])} ({_subnet_of(host, params['cluster']) or 'not there'})"
    return {"changed": False, "hosts": hosts, "summary": f"{network}: {'; '.join(lines) or 'no nodes'}"}


def absent(params: Params, *, apply: bool) -> Result:
    """Remove the cluster; with purge every cluster, the images and the engine that we started.

    Without an engine that answers nobody knows what there is: ``looked`` is false then.
    """
    host, purge, remark = Host(), params["purge"], ""
    removed: list[str] = []
    if purge and apply and os.path.exists(RECORD) and find_tool("dockerd"):
        ensure_engine(host, apply=True)  # stopped since, by a reboot: it still holds what must be removed
    answers = host.engine_version()
    if answers:
        ours = _filter("" if purge else params["cluster"])
        made = host.need("list the containers", "ps", "-a", "--filter", ours, "--format", "{{.Names}}").split()
        networks = host.need("list the networks", "network", "ls", "--filter", ours, "--format", "{{.Name}}").split()
        if apply and made:
            _patiently(host, "remove the nodes", "rm", "-f", "-v", *made, limit=180 + 10 * len(made))
        for network in networks if apply else ():
            _patiently(host, "remove the networks", "network", "rm", network)
        removed = sorted(made) + sorted(networks) + (remove_images(host, apply=apply) if purge else [])
    if purge:
        stopped, remark = stop_engine(host, apply=apply)
        removed += ["the Docker Engine's process"] if stopped else []
    summary = "nothing to remove" if answers else "nothing was removed, as no Docker Engine answers"
    summary = "; ".join(filter(None, [f"removed {', '.join(removed)}" if removed else summary, remark]))
    return {"changed": bool(removed), "looked": bool(answers), "summary": summary, "diff": _diff(removed, [])}


def _patiently(host: Host, doing: str, *argv: str, limit: float = 60) -> None:
    """Again where the engine is not yet through with what came before.

    On a busy machine a network has its containers for a while after they are gone, and the removal of a container,
    whose client was killed, goes on.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            host.need(doing, *argv, limit=limit)
            return
        except LocalNodesError as error:
            unready = "active endpoints" in str(error) or "already in progress" in str(error)
            if not unready or time.monotonic() > deadline:
                raise
            time.sleep(1)


STEPS: dict[str, t.Callable[..., Result]] = {
    "engine": engine,
    "image": image,
    "nodes": containers,
    "setup": setup,
    "status": status,
    "absent": absent,
}
