# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on what NCCL and Gloo are told, and what they would choose by themselves."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import at_least
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import (
    Setting,
    active_ports,
    common_networks,
    data_interface,
    gpus,
    live,
    mapping,
    named,
    networks,
    number,
    rows,
    shortened,
    text,
    texts,
    uses_nccl,
    variables,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    INFO,
    WARN,
    About,
    Answer,
    Case,
    Data,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _settings as settings
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules._versions import groups, names

# NCCL src/misc/socket.cc, ncclFindInterfaces: ib* first, then all but these, then docker*, then lo.
_SKIPPED = ("docker", "lo", "virbr")
_VIRTUAL_KINDS = ("bridge", "tun", "wireguard", "vxlan", "dummy", "veth", "macvlan", "ipip", "sit", "gre", "ip6tnl")
_VIRTUAL_NAMES = ("br-", "veth", "cni", "flannel", "cali", "tailscale", "wg", "zt", "tun", "tap", "kube", "vxlan")
_PREFIXES = ("NCCL_", "GLOO_")
IFNAMES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
_PATHS = ("PYTHONPATH", "LD_LIBRARY_PATH")
_OF_ONE_NODE = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "NCCL_IB_HCA", "NCCL_HOSTID", "NCCL_TOPO_FILE")
"""Variables that rightly have another value on each node."""


def interfaces(case: Case, host: str) -> list[Data]:
    """The interfaces of a node that are up and have an address, in the kernel's order, which is NCCL's."""
    return [
        each
        for each in rows(case.fabric.get(host), "interfaces")
        if dig(each, "up") is True and dig(each, "carrier") is not False and rows(each, "addresses")
    ]


def holds_data(case: Case, host: str, interface: Data) -> bool:
    """Whether an interface is the one of the plan, or has the data address."""
    node = dig(case.plan, "nodes", {}).get(host)
    held = [text(each, "address") for each in rows(interface, "addresses")]
    return text(interface, "name") == (text(node, "interface") or None) or text(node, "address") in held


@rule(
    About(
        "nccl-ifname-absent-on-node",
        layer="nccl",
        severity=FAIL,
        title="NCCL_SOCKET_IFNAME names a missing interface",
        symptom="`no socket interface found`",
        source="field notes, NC#286",
    ),
    needs=("fabric",),
    applies=uses_nccl,
)
def absent(case: Case) -> t.Iterator[Answer]:
    """An interface is named that the node does not have, or only its loopback, or in a way that names none."""
    for host, facts in case.fabric.items():
        present = [text(each, "name") for each in rows(facts, "interfaces")]
        ready = [text(each, "name") for each in interfaces(case, host)]
        for variable in IFNAMES:
            for wish in settings.of(case, host, variable, reach=True) if present else ():
                value = wish.value.strip("\"'")
                misread = _misread(variable, value)
                why = misread or _unusable(variable, value, ready, present, len(case.order))
                if not value or not why or (misread and wish.where.endswith(tuple(f" of {one}" for one in case.order))):
                    continue  # whoever has the file is told what is wrong with its value
                yield finding(
                    "nccl-ifname-absent-on-node",
                    FAIL,
                    host,
                    f"{variable}={wish.value} in {wish.where}: {why}; the node has {', '.join(ready) or 'none up'}",
                    f"{variable} names an interface that the node cannot use: "
                    + ("'no socket interface found'." if variable.startswith("NCCL") else "'Unable to find address'."),
                    _name_one(case, host, variable) if misread else _own_name(variable),
                )


def _misread(variable: str, value: str) -> str:
    """Why the value is in another language than its reader's; empty for one in the right one."""
    names = value.lstrip("^=").split(",")
    if any(_is_address(name.partition("/")[0]) for name in names):
        return "an address, where the name of an interface is expected"
    if not variable.startswith("NCCL") and value[:1] in ("^", "="):
        return f"{value[0]} is NCCL's syntax; {variable.partition('_')[0].replace('GLOO', 'Gloo')} wants one whole name"
    if any(name != name.strip() for name in names):
        return "a blank, which becomes a part of the name"
    return ""


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name.strip()))
    except ValueError:
        return False


def _unusable(variable: str, value: str, ready: t.Sequence[str], present: t.Sequence[str], nodes: int) -> str:
    """Why no interface of the node serves; empty where one does."""
    if variable.startswith("NCCL"):
        hit, named_at_all = named(value, ready), bool(named(value, present))
    else:  # whole names, and each of them has to be there
        wanted = value.split(",")
        hit = [name for name in wanted if name in ready]
        named_at_all = all(name in present for name in wanted)
        if len(hit) < len(wanted):
            hit = []
    if hit and (hit != ["lo"] or nodes < 2):
        return ""
    return "only the loopback" if hit else "is down or has no address" if named_at_all else "not there"


def _own_name(variable: str) -> str:
    """The fix for a name that some nodes do not have."""
    return (
        f"Interface names differ between nodes: take {variable} out of what all of them share (trainmesh_env, "
        "~/.bashrc, .deepspeed_env, the launch script) and set each node's own in its /etc/nccl.conf, as site.yml does."
    )


def _name_one(case: Case, host: str, variable: str) -> str:
    """The fix for a value that names nothing."""
    own = text(data_interface(case, host), "name") or "INTERFACE"
    return (
        f"{variable}={own}: the name that `ip -brief address` shows, without ^, = or prefixes. Where the nodes' names "
        "differ, set it on each node."
    )


@rule("nccl-ifname-auto-virtual", needs=("fabric", "gpu"), applies=uses_nccl)
def auto_virtual(case: Case) -> t.Iterator[Answer]:
    """Nothing is said, and NCCL would choose an interface that the other nodes cannot reach."""
    if len(case.order) < 2 or not uses_nccl(case):
        return
    for host in case.fabric:
        if settings.first(case, host, "NCCL_SOCKET_IFNAME") or settings.first(case, host, "NCCL_COMM_ID"):
            continue
        if host not in case.user or host not in case.stack:
            continue  # it may be set where nobody could look
        chosen = _automatic(interfaces(case, host))
        wrong = [each for each in chosen if not holds_data(case, host, each)]
        listed = ", ".join(f"{text(each, 'name')} ({_address(each)})" for each in chosen)
        meets = chosen and chosen[0] in wrong and not _as_good(case, host, chosen[0])
        if meets and any(holds_data(case, host, each) for each in interfaces(case, host)):
            severity, seen = FAIL, f"; the data address is {text(case.node(host), 'address')}"
            cause = "NCCL meets the other ranks over an interface that is not the data network's."
        elif any(virtual(each) and not _as_good(case, host, each) for each in wrong):
            severity, seen = WARN, ""
            cause = "NCCL also uses virtual interfaces, which other nodes cannot reach: it hangs."
        else:
            continue
        yield finding(
            "nccl-ifname-auto-virtual",
            severity,
            host,
            f"NCCL's choice: {listed}{seen}",
            f"Without NCCL_SOCKET_IFNAME {cause}",
            "Put NCCL_SOCKET_IFNAME==INTERFACE of the data address into each node's /etc/nccl.conf, as site.yml does.",
        )


def _as_good(case: Case, host: str, interface: Data) -> bool:
    """Whether all nodes are in a network of the interface, and it is not known to be slower than the data network's."""
    speed, wanted = number(interface, "speed_mbps"), number(data_interface(case, host), "speed_mbps")
    return bool(common_networks(case) & set(networks(interface))) and not (speed and wanted and speed < wanted)


def virtual(interface: Data) -> bool:
    """Whether an interface is one of containers, virtual machines or a VPN."""
    return text(interface, "kind") in _VIRTUAL_KINDS or text(interface, "name").startswith(_VIRTUAL_NAMES)


def _automatic(present: t.Sequence[Data]) -> list[Data]:
    infiniband = [each for each in present if text(each, "name").startswith("ib")]
    usual = [each for each in present if not text(each, "name").startswith(_SKIPPED)]
    return infiniband or usual


def _address(interface: Data) -> str:
    return next((text(each, "address") for each in rows(interface, "addresses")), "")


@rule(
    About(
        "gloo-ifname-unset",
        layer="nccl",
        severity=WARN,
        also=(FAIL,),
        title="Gloo may choose the wrong interface",
        symptom="`connectFullMesh failed`, to 127.0.x",
        source="gloo#223, aws-do-eks#50, PT#131781",
    ),
    needs=("fabric",),
)
def gloo(case: Case) -> t.Iterator[Answer]:
    """Gloo takes the address that the node's own name has, which need not be the data network's.

    A name that resolves to a loopback address, or not at all, has rules of its own.
    """
    if dig(case.plan, "managed") is True or len(case.order) < 2:
        return  # node.env sets it for each rank
    for host, facts in case.fabric.items():
        own = mapping(facts, "resolution").get(text(facts, "hostname"))
        address = text(dig(case.plan, "nodes", {}).get(host), "address")
        found = texts(own, "addresses")
        others = [each for each in rows(facts, "interfaces") if found[:1] == [*networks(each).values()][:1]]
        elsewhere = found and address and dig(own, "loopback") is False and address not in found
        elsewhere = elsewhere and not any(common_networks(case) & set(networks(each)) for each in others)
        if elsewhere and not settings.first(case, host, "GLOO_SOCKET_IFNAME"):
            yield finding(
                "gloo-ifname-unset",
                WARN,
                host,
                f"{text(facts, 'hostname')} is {found[0]} there, the data address is {address}",
                "Gloo listens on the address of the node's own name, which is not on the data network: "
                "connectFullMesh fails.",
                "Set GLOO_SOCKET_IFNAME to the interface of the data address on each node, or let the name resolve to "
                "the data address in /etc/hosts.",
            )


def _each_switched(case: Case, *wanted: tuple[str, t.Callable[[Setting], bool]]) -> t.Iterator[tuple[str, str]]:
    """(host, evidence) of each node, all variables in it whose value the test accepts."""
    for host in case.order:
        found = [
            f"{variable}={wish.value} in {wish.where}"
            for variable, test in wanted
            for wish in settings.of(case, host, variable)
            if test(wish)
        ]
        if found:
            yield host, ", ".join(found[:4])


def _switched(case: Case, *wanted: tuple[str, t.Callable[[Setting], bool]]) -> t.Iterator[tuple[str, str]]:
    """(host, evidence) of each node where one of the variables has a value that the test accepts."""
    for host in case.order:
        for variable, test in wanted:
            found = [wish for wish in settings.of(case, host, variable) if test(wish)]
            if found:
                yield host, f"{variable}={found[0].value} in {found[0].where}"
                break


def _is(*values: str) -> t.Callable[[Setting], bool]:
    return lambda wish: wish.value.strip().lower() in values


@rule(
    About(
        "nccl-net-forced-ib",
        layer="nccl",
        severity=FAIL,
        title="NCCL is forced to InfiniBand, which is missing",
        symptom="`Failed to initialize any NET plugin`",
        source="field notes",
    ),
    needs=("fabric",),
    applies=uses_nccl,
)
def forced(case: Case) -> t.Iterator[Answer]:
    """NCCL_NET=IB is a demand, not a wish: without a port that works NCCL gives up."""
    for host, said in _switched(case, ("NCCL_NET", _is("ib"))):
        if host not in case.fabric or active_ports(case, host):
            continue
        yield finding(
            "nccl-net-forced-ib",
            FAIL,
            host,
            f"{said}; no RDMA port is ACTIVE",
            "NCCL_NET=IB is set and the node has no InfiniBand or RoCE port that works: 'Failed to initialize any NET "
            "plugin'.",
            "Take NCCL_NET out; NCCL uses InfiniBand by itself where it works. If the node should have "
            "it, look at ibstat.",
        )


@rule(
    About(
        "ib-disabled-on-ib",
        layer="nccl",
        severity=WARN,
        also=(FAIL,),
        title="InfiniBand is present but disabled",
        symptom="GPUs at full load with little power, slow",
        source="field notes, prime-rl#1599, NC#968",
    ),
    needs=("fabric",),
    applies=uses_nccl,
)
def disabled(case: Case) -> t.Iterator[Answer]:
    """InfiniBand or RoCE works on every node and is switched off; where one has none, that is what makes them meet."""
    if not all(active_ports(case, host) for host in live(case)):
        return
    wanted = (("NCCL_IB_DISABLE", lambda wish: wish.on), ("NCCL_NET", _is("socket")))
    for host, said in _switched(case, *wanted):
        if not active_ports(case, host):
            continue
        yield finding(
            "ib-disabled-on-ib",
            WARN,
            host,
            f"{said}; ACTIVE: {', '.join(active_ports(case, host))}",
            "NCCL is told not to use the RDMA network that works on the node: all traffic goes over TCP, many times "
            "slower (GPUs at 100 % with low power).",
            "Take NCCL_IB_DISABLE and NCCL_NET out of the place named, and try a job with NCCL_DEBUG=INFO: it should "
            "print 'Using network IB'.",
        )


@rule(
    About(
        "nccl-p2p-disabled-kept",
        layer="nccl",
        severity=WARN,
        also=(INFO,),
        title="GPU peer-to-peer is disabled",
        symptom="slow within one node",
        source="field notes",
    ),
    applies=uses_nccl,
)
def p2p_disabled(case: Case) -> t.Iterator[Answer]:
    """A workaround for one broken machine, kept where it only slows down."""
    wanted = (
        ("NCCL_P2P_DISABLE", lambda wish: wish.on),
        ("NCCL_P2P_LEVEL", _is("loc", "0")),
        ("NCCL_SHM_DISABLE", lambda wish: wish.on),
    )
    for host, said in _each_switched(case, *wanted):
        linked = any(number(each, "active") for each in rows(case.gpu.get(host), "nvlink"))
        what = "NVLink stays unused." if linked else "a workaround that hides its cause and slows down."
        yield finding(
            "nccl-p2p-disabled-kept",
            WARN if linked else INFO,
            host,
            f"{said}; the GPUs have NVLink" if linked else f"{said}; {len(gpus(case, host))} GPUs",
            f"NCCL is told not to let GPUs of a node talk directly: {what}",
            "Take it out of the place named. If jobs hang or compute nonsense without it, fix the cause: switch off "
            "PCI ACS and the IOMMU's translation in the BIOS.",
        )


@rule(
    About(
        "env-not-propagated",
        layer="launcher",
        severity=WARN,
        also=(INFO,),
        title="A variable reaches only the first node",
        symptom="works on the first node only",
        source="field notes, DS#91, DS#1747",
    ),
    needs=("stack",),
)
def propagated(case: Case) -> t.Iterator[Answer]:
    """Variables that ranks started by ssh get on some nodes only, or with another value."""
    known = [
        host for host, facts in case.stack.items() if text(facts, "login_environment.source") in ("session", "shell")
    ]
    found = {host: variables(case, host) for host in known}
    wanted = sorted({name for each in found.values() for name in each if name in _PATHS or name.startswith(_PREFIXES)})
    for name in wanted:
        values = {host: each.get(name, "not set") for host, each in found.items()}
        if name in _OF_ONE_NODE:
            values = {host: "set" if name in found[host] else "not set" for host in values}
        ordered = groups(values, 0)
        if len(ordered) < 2:
            continue
        for host in [host for _value, hosts in ordered[1:] for host in hosts]:
            yield finding(
                "env-not-propagated",
                INFO if name.startswith("NCCL_DEBUG") else WARN,
                host,
                shortened(f"{name}={found[host][name]}" if name in found[host] else f"{name} not set"),
                f"A command started by ssh does not get the same {name} on every node ({names(ordered[0][1])}: "
                f"{shortened(ordered[0][0], 60)}): ranks behave differently.",
                f"Set {name} for all ranks with trainmesh_env (or in .deepspeed_env), and take it out of the start-up "
                "files that only some nodes have.",
            )


@rule(
    About(
        "nccl-cumem-host",
        layer="nccl",
        severity=INFO,
        title="NCCL's host memory in containers",
        symptom="the start fails in containers and with NUMA",
        source="NC#1838, NC#2106, NC#2190, LlamaFactory#9506",
    ),
    needs=("fabric", "gpu", "stack"),
    applies=uses_nccl,
)
def cumem_host(case: Case) -> t.Iterator[Answer]:
    """In containers the host memory that newer NCCLs allocate through CUDA may be refused."""
    for host, facts in case.stack.items():
        version, cuda = text(facts, "torch.nccl"), text(case.gpu.get(host), "cuda_driver_version")
        container = text(case.fabric.get(host), "container")
        concerned = container and version and at_least(version, "2.24") and cuda and at_least(cuda, "12.6")
        if concerned and not settings.first(case, host, "NCCL_CUMEM_HOST_ENABLE"):
            yield finding(
                "nccl-cumem-host",
                INFO,
                host,
                f"{container}, NCCL {version}, driver for CUDA {cuda}",
                "In a container NCCL 2.24 and newer may fail to allocate host memory through CUDA (NUMA "
                "calls are refused).",
                "If NCCL fails when it starts, set trainmesh_env: {NCCL_CUMEM_HOST_ENABLE: '0'}, or run the container "
                "with --cap-add SYS_NICE.",
            )
