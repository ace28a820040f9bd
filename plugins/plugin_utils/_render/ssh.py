# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ssh files by which nodes log in to each other."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import ssh_sources

KEY = "~/.ssh/trainmesh/id_ed25519"
CERTIFICATE = "~/.ssh/trainmesh/id_ed25519-cert.pub"
KNOWN_HOSTS = "~/.ssh/trainmesh/known_hosts"
WRITTEN = "# Written by trainmesh.cluster"
# What a diff shows in check mode for a key that the run is still to make.
NOT_YET = "ssh-ed25519 (made on the node by the run)"


def authorized_keys(cluster: Cluster, names: t.Container[str] | None = None) -> list[str]:
    """One line a node that logs in to others; each key opens the door only from the addresses of its own node.

    With ``names`` the lines of these nodes alone.
    """
    sources = ssh_sources.told_apart(cluster.nodes)
    nodes = [node for node in cluster.login_sources if names is None or node.name in names]
    return [_key_line(node, sources[node.name]) for node in nodes if node.public_key or node.reachable]


def loopback_key(node: Node, home: t.Sequence[str] = ()) -> list[str]:
    """The line with which a node may log in to itself by a loopback address; no other node gets it.

    Nodes with one ``home`` have one key, and this line says who they are: by it a node that leaves sees the others.
    """
    names = list(home) or [node.name]
    return [_key_line(node, ["127.0.0.0/8", "::1"], names)] if node.public_key or node.reachable else []


def _key_line(node: Node, sources: t.Iterable[str], names: t.Sequence[str] = ()) -> str:
    """``restrict`` forbids all forwarding and ~/.ssh/rc; launchers, rsync, git and mpirun run commands only."""
    who = " ".join(names or [node.name])
    return f'restrict,pty,from="{",".join(sources)}" {node.public_key or NOT_YET} trainmesh {who}'


def authority_key(public_key: str, principal: str) -> str:
    """The line that admits every node by its certificate, which says from where; it allows what a node's key does."""
    return f'restrict,pty,cert-authority,principals="{principal}" {public_key} trainmesh certificates'


def known_hosts(cluster: Cluster, names: t.Container[str] | None = None) -> list[str]:
    """One line a node and host key, with every name and address; with ``names`` of these nodes alone."""
    nodes = [node for node in cluster.nodes if names is None or node.name in names]
    return [f"{','.join(_looked_up(node))} {key}" for node in nodes for key in node.host_keys]


def authority_hosts(cluster: Cluster, public_key: str) -> list[str]:
    """The line that knows every node by its host certificate."""
    names = ",".join(name for node in cluster.nodes for name in _looked_up(node))
    return [f"@cert-authority {names} {public_key}"]


def revoked_hosts(keys: t.Iterable[str]) -> list[str]:
    """A line for each host key whose certificate nobody shall accept any more."""
    return [f"@revoked * {key}" for key in keys]


def _looked_up(node: Node) -> list[str]:
    """The names under which ssh looks for a node's host key, in the C([name]:port) form for other ports than 22."""
    names = [*node.names, node.address]
    return names if node.ssh_port == 22 else [f"[{name}]:{node.ssh_port}" for name in names]


def client_config(cluster: Cluster, certified: bool = False) -> str:
    """A Host block for each node and one for all, with the keys (``certified``: and certificates) of the nodes."""
    everyone = " ".join(name for node in cluster.nodes for name in (*node.names, node.address))
    common = [
        f"Host {everyone}",
        f"  IdentityFile {KEY}",
        *([f"  CertificateFile {CERTIFICATE}"] if certified else []),
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
