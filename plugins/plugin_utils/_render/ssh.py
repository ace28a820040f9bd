# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ssh files by which nodes log in to each other."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import ssh_sources

KEY = "~/.ssh/trainmesh/id_ed25519"
KNOWN_HOSTS = "~/.ssh/trainmesh/known_hosts"
WRITTEN = "# Written by trainmesh.cluster"
# What a diff shows in check mode for a key that the run is still to make.
NOT_YET = "ssh-ed25519 (made on the node by the run)"


def authorized_keys(cluster: Cluster) -> list[str]:
    """One line a node that logs in to others; each key opens the door only from the addresses of its own node."""
    sources = ssh_sources.told_apart(cluster.nodes)
    return [_key_line(node, sources[node.name]) for node in cluster.login_sources if node.public_key or node.reachable]


def loopback_key(node: Node) -> list[str]:
    """The line with which a node may log in to itself by a loopback address; no other node gets it."""
    return [_key_line(node, ["127.0.0.0/8", "::1"])] if node.public_key or node.reachable else []


def _key_line(node: Node, sources: t.Iterable[str]) -> str:
    """``restrict`` forbids all forwarding and ~/.ssh/rc; launchers, rsync, git and mpirun run commands only."""
    return f'restrict,pty,from="{",".join(sources)}" {node.public_key or NOT_YET} trainmesh {node.name}'


def known_hosts(cluster: Cluster) -> list[str]:
    """One line a node and host key, with every name and address, and the C([name]:port) forms."""
    lines = []
    for node in cluster.nodes:
        names = [*node.names, node.address]
        if node.ssh_port != 22:
            names = [f"[{name}]:{node.ssh_port}" for name in names]
        lines += [f"{','.join(names)} {key}" for key in node.host_keys]
    return lines


def client_config(cluster: Cluster) -> str:
    """A Host block for each node and one for all, with the keys that the nodes have."""
    everyone = " ".join(name for node in cluster.nodes for name in (*node.names, node.address))
    common = [
        f"Host {everyone}",
        f"  IdentityFile {KEY}",
        "  IdentitiesOnly yes",
        f"  UserKnownHostsFile {KNOWN_HOSTS}",
        "  StrictHostKeyChecking yes",
        "  ConnectTimeout 10",
        "  ServerAliveInterval 30",
    ]
    return host_blocks(cluster) + "\n".join(common) + "\n"


def host_blocks(cluster: Cluster) -> str:
    """A Host block for each node. No trailing comments: old OpenSSH reads them as values."""
    return "\n".join([WRITTEN, *(_host_block(node, cluster.user) for node in cluster.nodes)]) + "\n"


def _host_block(node: Node, user: str) -> str:
    lines = [
        f"Host {' '.join((*node.names, node.address))}",
        f"  HostName {node.address}",
        f"  User {user}",
        f"  Port {node.ssh_port}",
    ]
    return "\n".join(lines)


def hosts_entries(cluster: Cluster) -> list[dict[str, t.Any]]:
    """Address and names of every node for /etc/hosts, the fully qualified name first, as getfqdn wants it."""
    return [
        {"address": node.address, "names": list(dict.fromkeys((node.fqdn, node.hostname, *node.names)))}
        for node in cluster.nodes
    ]
