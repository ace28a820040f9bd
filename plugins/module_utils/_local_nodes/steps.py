# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the module docker_nodes, each ``params -> result``."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes import apply as nodes
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes import kernel
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import (
    Host,
    LocalNodesError,
    find_tool,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.engine import (
    ensure_engine,
    started_here,
    stop_engine,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.image import ensure_images, remove_images
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.model import (
    NodeHave,
    NodeWish,
    describe,
    network_name,
    wished_nodes,
)

Params = t.Mapping[str, t.Any]
Result = dict[str, t.Any]


def _wish(params: Params, present: list[NodeHave]) -> list[NodeWish]:
    """Return the nodes that the user asked for."""
    names = [node.name for node in present]
    return wished_nodes(params["nodes"], params["defaults"] or {}, params["count"], names)


def _diff(before: list[str], after: list[str]) -> dict[str, str]:
    """Return the difference of two lists of names as Ansible shows it."""
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
    wish = _wish(params, nodes.nodes_of(host, params["cluster"]) if answers else [])
    bases = sorted({node.image for node in wish})
    if not answers and not apply:
        return {"changed": True, "summary": "the image would be built", "images": dict.fromkeys(bases, "")}
    made = ensure_images(host, params["recipe"], bases, apply=apply)
    return {
        "changed": any(changed for changed, _tag, _how in made),
        "images": {base: tag for base, (_changed, tag, _how) in zip(bases, made)},
        "summary": "; ".join(f"{tag}: {how or 'would be built'}" for _changed, tag, how in made),
        "diff": _diff([tag for changed, tag, _how in made if not changed], [tag for _changed, tag, _how in made]),
    }


def containers(params: Params, *, apply: bool) -> Result:
    """Make the networks and the containers what is asked."""
    host, cluster = Host(), params["cluster"]
    if not host.engine_version() and not apply:
        names = [node.name for node in _wish(params, [])]
        return {"changed": True, "summary": f"would be created: {', '.join(names)}", "diff": _diff([], names)}
    wish = _wish(params, nodes.nodes_of(host, cluster))
    plan = nodes.read_plan(host, cluster, wish)
    nodes.check_resources(len(plan.create), _docker_root(host))
    gone = {node.container for node in plan.remove}
    settings = [node.settings for node in nodes.nodes_of(host, "") if node.container not in gone]
    systemd = kernel.count_systemd([*settings, *(node.settings for node in plan.create)])
    warnings = kernel.warnings(systemd, len(wish), Tree()) if plan.create else []
    extra = any(node.extra_interface for node in wish)
    networks = nodes.ensure_networks(host, cluster, extra=extra, apply=apply)
    if apply:
        plan = nodes.read_plan(host, cluster, wish)  # the subnet is known only now
        nodes.apply_plan(host, cluster, plan, params["images"])
    done = [f"{what} {', '.join(names)}" for what, names in describe(plan).items() if names]
    before = sorted({node.name for node in wish} - {node.name for node in plan.create} | {n.name for n in plan.remove})
    return {
        "changed": networks or plan.changed,
        "summary": f"{len(wish)} nodes on {nodes.subnet_of(host, cluster) or 'a new network'}: "
        + ("; ".join(done) or "all there"),
        "diff": _diff(before, sorted(node.name for node in wish)),
        "nodes": [dataclasses.asdict(node) for node in wish],
        "warnings": warnings,
        **describe(plan),
    }


def _docker_root(host: Host) -> str:
    """Return the directory in which the engine keeps images and containers."""
    return host.need("ask the engine", "info", "--format", "{{.DockerRootDir}}").strip() or "/var/lib/docker"


def setup(params: Params, *, apply: bool) -> Result:
    """Finish the first boot of every node."""
    wish = _wish(params, [])
    if not apply:
        return {"changed": False, "summary": "not done in check mode", "hosts": []}
    with open(os.path.join(params["recipe"], "setup.sh"), encoding="utf-8") as stream:
        options = {"script": stream.read(), "account": params["account"], "public_key": params["public_key"].strip()}
    host = Host()
    host.engine_version()
    hosts, changed = nodes.set_up(host, params["cluster"], wish, options)
    reached = ", ".join(f"{item['name']} {item['address']}:{item['port']}" for item in hosts)
    inventory = {
        item["name"]: {"ansible_host": item["address"], "ansible_port": item["port"], "ansible_user": item["user"]}
        for item in hosts
    }
    summary = f"sshd answers on {reached}"
    return {"changed": changed, "hosts": hosts, "inventory": inventory, "summary": summary}


def status(params: Params, **_other: bool) -> Result:
    """Read what there is of a cluster."""
    host = Host()
    if not host.engine_version():
        return {"changed": False, "hosts": [], "summary": "no Docker Engine answers, so there are no nodes"}
    found = nodes.nodes_of(host, params["cluster"])
    hosts = [{"name": node.name, "address": node.address, "running": node.running} for node in found]
    lines = [f"{node.name} {node.address or '-'} {'running' if node.running else 'stopped'}" for node in found]
    subnet = nodes.subnet_of(host, params["cluster"])
    summary = f"network {network_name(params['cluster'])} ({subnet or 'not there'}): {'; '.join(lines) or 'no nodes'}"
    return {"changed": False, "hosts": hosts, "summary": summary}


def absent(params: Params, *, apply: bool) -> Result:
    """Remove the cluster; with purge every cluster, the images and the engine that we started."""
    host = Host()
    removed: list[str] = []
    remarks: list[str] = []
    if params["purge"] and apply and started_here():
        ensure_engine(host, apply=True)  # stopped since, by a reboot: it still holds what must be removed
    if host.engine_version():
        removed = nodes.remove_all(host, "" if params["purge"] else params["cluster"], apply=apply)
        if params["purge"]:
            removed += remove_images(host, apply=apply)
    changed = bool(removed)
    if params["purge"]:
        stopped, remark = stop_engine(host, apply=apply)
        changed = changed or stopped
        removed += ["the Docker Engine's process"] if stopped else []
        remarks += [remark] if remark else []
    summary = "; ".join([f"removed {', '.join(removed)}" if removed else "nothing to remove", *remarks])
    return {"changed": changed, "summary": summary, "diff": _diff(removed, [])}


STEPS: dict[str, t.Callable[..., Result]] = {
    "engine": engine,
    "image": image,
    "nodes": containers,
    "setup": setup,
    "status": status,
    "absent": absent,
}
