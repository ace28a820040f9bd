# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From one host's variables and facts to its node of the model."""

from __future__ import annotations

import ipaddress
import types
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import kernel_name, reserved_ports
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import cloud_init
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.host_names import host_name, is_host_name
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import addresses, node_check
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.fault import Fault
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import ssh_sources

Facts = t.Mapping[str, t.Any]
# States of the NVIDIA stack with which nothing can train; what each means: gpu_facts.
BROKEN = (
    "no_driver",
    "driver_not_loaded",
    "library_mismatch",
    "gpu_lost",
    "no_permission",
    "no_devices",
    "hung",
    "unknown",
)
MOST_LOGINS = 6


class Host(t.NamedTuple):
    """What is known of one host of the inventory.

    ``wish`` are its variables by short name, ``fabric`` and ``gpu`` its facts, ``identity`` the result of
    ssh_identity, ``sshd`` the settings of its sshd (user_facts), ``stack`` its software; all but ``wish`` are empty
    when this run could not, or should not, reach it.
    """

    name: str
    wish: Facts
    ansible_host: str
    ansible_port: int
    fabric: Facts
    gpu: Facts
    identity: Facts
    sshd: Facts = types.MappingProxyType({})
    stack: Facts = types.MappingProxyType({})


def checked(hosts: t.Sequence[Host]) -> tuple[list[Host], list[Fault]]:
    """The hosts, those whose facts have not the shape of facts without them, and why, one sentence each."""
    found, problems = list[Host](), list[Fault]()
    for host in hosts:
        facts = {part: getattr(host, part) for part in node_check.SHAPES}
        problem = node_check.misshapen(facts, len(hosts))
        if problem:
            problems.append(Fault(f"what it says of itself can't be used: {problem}", host.name))
        found.append(Host(*host[:4], {}, {}, {}) if problem else host)
    return found, problems


def logins_at_once(hosts: t.Iterable[Host]) -> int:
    """How many logins each node may have under way while all nodes try each other: half of the lowest MaxStartups.

    From that number on (10 by default, sshd_config(5)) sshd closes some at random; all nodes at once bring to each
    about as many as one node has under way.
    """
    starts = [str(host.sshd.get("maxstartups") or "").partition(":")[0] for host in hosts]
    lowest = min((int(start) for start in starts if start.isdigit()), default=10)
    return max(1, min(MOST_LOGINS, lowest // 2))


def may_be_given_away(host: Host, port: int) -> bool:
    """Whether the kernel may give the port to any connection: it is in the ephemeral range and not reserved."""
    span = host.fabric.get("port_range") or {}
    inside = bool(span) and span["low"] <= port <= span["high"]
    return inside and not reserved_ports.holds(span.get("reserved"), port)


def order(names: t.Sequence[str], head: str | None, remembered: t.Sequence[str]) -> list[str]:
    """Inventory names in rank order.

    The head leads: the one asked for, else the one of earlier runs, else the first of the inventory. Then come
    the nodes of earlier runs in their order, and at last the new ones, so that no old rank moves.
    """
    old = [name for name in remembered if name in names]
    new = [name for name in names if name not in old]
    first = head if head is not None and head in names else (old or new)[0]
    return [first, *(name for name in [*old, *new] if name != first)]


def own_addresses(host: Host) -> list[str]:
    """Every global address of the node."""
    found = []
    for interface in host.fabric.get("interfaces") or []:
        found += [item["address"] for item in interface["addresses"] if item.get("scope") == "global"]
    return found


def interface_of(host: Host, address: str) -> str:
    """The interface asked for, or the one that holds the address; empty when none does."""
    if host.wish.get("interface"):
        return str(host.wish["interface"])
    for interface in host.fabric.get("interfaces") or []:
        if any(item["address"] == address for item in interface["addresses"]):
            return str(interface["name"])
    return ""


def ssh_port(host: Host) -> int:
    """The port of the node's sshd as its peers see it, which may differ from the controller's (port forwarding)."""
    if host.wish.get("ssh_port"):
        return int(host.wish["ssh_port"])
    listening = (host.fabric.get("sshd") or {}).get("ports") or []
    if not listening or host.ansible_port in listening:
        return host.ansible_port
    return int(listening[0])


def usable_gpus(host: Host) -> list[Facts]:
    """GPUs that a rank can have to itself."""
    return list(host.gpu.get("gpus") or []) if host.gpu.get("status") == "ok" else []


def build_node(host: Host, rank: int, domain: str, use_gpus: bool, chosen: str | None = None) -> Node:
    """The node of a host whose facts are there; ``chosen`` is its data address where all hosts were looked at."""
    gpus = usable_gpus(host) if use_gpus else []
    address = addresses.of_host(host) if chosen is None else chosen
    hostname = host_name(host.name, host.wish.get("hostname"))
    capabilities = [gpu["compute_capability"] for gpu in gpus if gpu.get("compute_capability")]
    sizes = [gpu["memory_mib"] for gpu in gpus if gpu.get("memory_mib")]
    limits = [host.fabric.get("memory_bytes"), (host.fabric.get("cgroup_limits") or {}).get("memory_bytes")]
    weakest = min(capabilities, key=key, default=None)
    return Node(
        name=host.name,
        rank=rank,
        address=address,
        ssh_port=ssh_port(host),
        slots=int(host.wish.get("slots") or len(gpus) or 1),
        interface=interface_of(host, address),
        hostname=hostname,
        fqdn=host.wish.get("fqdn")
        or (host.name if "." in host.name and is_host_name(host.name) else f"{hostname}.{domain}"),
        addresses=tuple(dict.fromkeys([address, *own_addresses(host)])),
        sources=ssh_sources.of_host(host.fabric, address),
        gpus=tuple(str(gpu.get("name")) for gpu in gpus),
        gpu_memory_mib=min(sizes, default=None),
        compute_capability=weakest,
        driver_version=host.gpu.get("driver_version"),
        cpus=int(host.fabric.get("cpus") or 1),
        memory_bytes=min((limit for limit in limits if limit is not None), default=None),
        home=str(host.identity.get("home") or ""),
        public_key=str(host.identity.get("public_key") or ""),
        host_keys=tuple(host.identity.get("host_keys") or ()),
        python_version=str((host.fabric.get("python") or {}).get("version") or ""),
        glibc=str(host.fabric.get("glibc") or ""),
        arch=str(host.fabric.get("arch") or "x86_64"),
    )


def faults(host: Host, node: Node, use_gpus: bool) -> list[str]:
    """Why this host can't be a node as it is, one sentence each."""
    problems = []
    if not node.address:
        problems.append("no address leads to the other nodes: set trainmesh_address")
    elif not node.interface:
        held = ", ".join(own_addresses(host)) or "none"
        problems.append(
            f"no interface holds the data address {node.address} (it has {held}): set trainmesh_address to one it has"
        )
    names = [item["name"] for item in host.fabric.get("interfaces") or []]
    if node.interface and names and node.interface not in names:
        problems.append(f"trainmesh_interface: expected one of {', '.join(names)}, found {node.interface}")
    status = host.gpu.get("status")
    if use_gpus and status in BROKEN:
        advice = (
            "repair it, or take the node out of the inventory, or set trainmesh_torch_build: cpu to train without GPUs"
        )
        problems.append(f"its GPUs can't be used ({status}): {host.gpu.get('problem')}; {advice}")
    if node.gpus and node.slots > len(node.gpus):
        problems.append(
            f"trainmesh_slots: expected at most {len(node.gpus)}, the GPUs that were found, found {node.slots}"
        )
    if use_gpus and any(str(gpu.get("mig_mode")).lower() == "enabled" for gpu in usable_gpus(host)):
        problems.append("MIG is enabled, and MIG instances can't train together: nvidia-smi -mig 0")
    return problems


EL = frozenset(("rhel", "centos", "rocky", "almalinux", "ol", "scientific"))
PACKAGES = ("pdsh", "rsync")


def package_faults(host: Host) -> list[Fault]:
    """Packages that Ansible can't install there: the dnf of EL8 runs on Python 3.6 alone, which ansible-core left."""
    system = host.fabric.get("os") or {}
    family = {str(system.get("id")), *str(system.get("id_like") or "").split()}
    old = bool(family & EL) and str(system.get("version_id") or "").partition(".")[0] == "8"
    tools = host.stack.get("tools")
    lacking = [name for name in PACKAGES if not tools.get(name)] if isinstance(tools, t.Mapping) and old else []
    if not lacking:
        return []
    found = (
        f"it is EL8, whose packages this Ansible can't install (dnf there needs Python 3.6): dnf install "
        f"{' '.join(lacking)} by hand (pdsh is in EPEL), or set trainmesh_packages_install: false"
    )
    return [Fault(found, host.name)]


def cloud_init_faults(host: Host) -> list[Fault]:
    """A file of others in the place of the drop-in that is asked for."""
    found = host.fabric.get("cloud_init") or {}
    return [Fault(cloud_init.taken(), host.name)] if found.get("needs") and found.get("foreign") else []


def kept_name(host: Host, node: Node) -> list[str]:
    """What the role hosts will say of a node that keeps the host name it has."""
    name = str(host.fabric.get("hostname") or "")
    refuses = host.fabric.get("can_set_hostname") is False and name not in ("", node.hostname)
    return [f"{host.name}: {kernel_name.kept(name, node.hostname)}"] if refuses else []


def unreached(rows: t.Mapping[str, t.Any], nodes: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Where the nodes may look for the hosts that the controller could not reach, for mesh_probe.

    ``rows`` are those of reach_check. A node that is remembered has a data address and a port of its own; the
    controller's address is another machine's to a node when it is a loopback one, and maybe a router's when the
    ports differ.
    """
    found = []
    for name, row in rows.items():
        if row.get("ok") is not False:
            continue
        known, port = nodes.get(name) or {}, row.get("port")
        addresses = [known["address"]] if known.get("address") else []
        same = not known or port == known.get("ssh_port")
        if same and _may_be_tried(str(row.get("address") or "")):
            addresses.append(str(row["address"]))
        if addresses:
            port = int(known.get("ssh_port") or port or 22)
            found.append({"name": name, "addresses": list(dict.fromkeys(addresses)), "port": port})
    return found


def _may_be_tried(address: str) -> bool:
    """Whether it is an address, and one that means the same machine everywhere."""
    try:
        return not (found := ipaddress.ip_address(address)).is_loopback and not found.is_link_local
    except ValueError:
        return False
