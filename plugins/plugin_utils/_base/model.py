# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster model, computed once on the controller.

Everything that is the same on every node, or that one node must know of the others, is read from
here; roles only put the finished texts in their place.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.host_names import is_host_name


@dataclasses.dataclass(frozen=True)
class Node:
    """One machine of the cluster.

    ``rank`` is the node rank, ``address`` the data address (the one on the route to the other
    nodes), ``ssh_port`` the port on which the peers reach its sshd, ``compute_capability`` that of
    its weakest GPU, ``gpu_memory_mib`` that of its smallest one, ``memory_bytes`` what jobs may use of
    the host's. ``addresses`` are all its global addresses, ``sources`` those from which the
    peers see its connections, ``host_keys`` and ``public_key`` lines as OpenSSH writes them.
    ``reachable`` is False when this run could not reach the node and
    its values are those remembered from an earlier one.
    """

    name: str
    rank: int
    address: str
    ssh_port: int
    slots: int
    interface: str
    hostname: str
    fqdn: str
    aliases: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    gpu_memory_mib: int | None = None
    compute_capability: str | None = None
    driver_version: str | None = None
    cpus: int = 1
    memory_bytes: int | None = None
    home: str = ""
    public_key: str = ""
    host_keys: tuple[str, ...] = ()
    python_version: str = ""
    glibc: str = ""
    arch: str = "x86_64"
    reachable: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of the node, the one in launch files first, without repeats."""
        return tuple(dict.fromkeys((self.launch_name, self.hostname, self.fqdn, *self.aliases)))

    @property
    def launch_name(self) -> str:
        """The name in launch files and ssh configurations: the inventory's, where that is a host name."""
        return self.name if is_host_name(self.name) else self.hostname

    def remembered(self) -> dict[str, t.Any]:
        """Plain data for the controller's memory of the cluster."""
        data = dataclasses.asdict(self)
        del data["reachable"], data["rank"]
        return data


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The whole cluster; ``nodes`` in rank order, the head first.

    ``precision`` is V(bf16), V(fp16) or V(fp32), ``ssh_topology`` V(mesh) or V(head).
    """

    nodes: tuple[Node, ...]
    user: str
    prefix: str
    master_port: int
    precision: str
    zero_stage: int = 2
    launchers: tuple[str, ...] = ("deepspeed", "accelerate", "accelerate_standard", "torchrun")
    ssh_topology: str = "mesh"

    @property
    def head(self) -> Node:
        """The node of rank 0: it launches the jobs and serves the rendezvous."""
        return self.nodes[0]

    @property
    def login_sources(self) -> tuple[Node, ...]:
        """The nodes that log in to every node: all of a mesh, of a star the head alone. Nobody else decides this."""
        return self.nodes if self.ssh_topology == "mesh" else (self.head,)

    @property
    def master_address(self) -> str:
        """The head's data address."""
        return self.head.address

    @property
    def world_size(self) -> int:
        """Number of ranks: the sum of the slots."""
        return sum(node.slots for node in self.nodes)

    @property
    def gpus(self) -> bool:
        """True when every node has GPUs; a cluster with a GPU-less node trains on CPUs."""
        return all(node.gpus for node in self.nodes)

    @property
    def equal_slots(self) -> bool:
        """True when every node has as many slots as the others (accelerate needs it)."""
        return len({node.slots for node in self.nodes}) == 1

    @property
    def python(self) -> str:
        """The interpreter of the environment, the same path on every node."""
        return f"{self.prefix}/env/bin/python"

    def node(self, name: str) -> Node:
        """The node of this inventory name; KeyError when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)
