# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters that are well: plain ones of any kind, and unusual ones. No check may accuse them."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine, options
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import (
    GIB,
    answer,
    gpu_case,
    healthy_case,
    interface,
    number_of,
    put,
)


def told(case):
    """(rule, hosts) of all that all checks say and that is worse than info."""
    found = engine.judge(case, options.Options()).findings
    return [(item.rule, item.hosts) for item in found if item.severity != "info"]


@pytest.mark.parametrize("managed", [True, False])
@pytest.mark.parametrize(("nodes", "gpus"), [(1, 0), (3, 0), (1, 8), (2, 1), (3, 8), (12, 2)])
def test_plain_clusters(nodes, gpus, managed):
    assert told(healthy_case(nodes, gpus, managed)) == []


def second_network(case, first, **more):
    """A second interface in a network that all nodes share, before or behind that of the data."""
    for name in case.order:
        other = interface("eno9", f"192.168.7.{number_of(name)}", "physical", **more)
        case.fabric[name]["interfaces"].insert(1 if first else 2, other)


def management_network_first(case):
    second_network(case, True)
    for name in case.order:  # and the nodes' own names are those in it
        case.fabric[name]["resolution"][name] = answer(f"192.168.7.{number_of(name)}")


def jumbo_frames_on_the_side(case):
    second_network(case, False, mtu=9000)


def bridges_of_docker(case):
    for name in case.order:
        facts = case.fabric[name]
        facts["interfaces"][1].update(speed_mbps=1000)
        facts["interfaces"].append(interface("docker0", "172.17.0.1", "bridge", speed_mbps=10000))
        case.links[name] = {}


def a_fast_link_between_two_only(case):
    for name in case.order:
        case.fabric[name]["interfaces"][1].update(speed_mbps=10000)
        for row in case.links[name].values():
            row["mbps"] = 9000.0
    for name in ("node1", "node2"):
        case.fabric[name]["interfaces"].append(
            interface("eth9", f"192.168.9.{name[-1]}", "physical", speed_mbps=100000)
        )


def over_a_vpn(case):
    for name in case.order:
        facts = case.fabric[name]
        facts["interfaces"][1].update(kind="wireguard", name="wg0", mtu=1420)
        case.plan["nodes"][name]["interface"] = "wg0"
        for route in facts["routes"].values():
            route["interface"] = "wg0"
        facts["interfaces"].append(interface("eno1", f"192.168.{name[-1]}.5", "physical"))  # each on its own site
    case.plan["env"]["NCCL_SOCKET_IFNAME"] = "=wg0"


def addresses_of_a_carrier(case):
    """100.64.0.0/10, as Tailscale gives them, beside private ones."""
    for name in case.order:
        case.fabric[name]["firewalls"][0]["active"] = True
    case.plan["nodes"]["node3"]["address"] = "100.64.0.13"
    case.fabric["node3"]["interfaces"][1]["addresses"][0].update(address="100.64.0.13", prefix=10)
    for name in case.order:
        for alias in ("node3", "node3.example.org"):
            case.fabric[name]["resolution"][alias] = answer("100.64.0.13")
    case.fabric["node3"]["routes"] = {}


def ipv6_alone(case):
    """With temporary addresses, from which packets leave."""
    for name in case.order:
        address = f"fd00::{number_of(name)}"
        case.plan["nodes"][name]["address"] = address
        own = {"prefix": 64, "family": "ipv6", "scope": "global"}
        case.fabric[name]["interfaces"][1]["addresses"] = [
            {**own, "address": address},
            {**own, "address": f"fd00::abc:{number_of(name)}"},
        ]
        case.fabric[name]["resolution"] = {other: answer(f"fd00::{number_of(other)}") for other in case.order}
        case.fabric[name]["routes"] = {
            f"fd00::{number_of(other)}": {
                "interface": "eth0",
                "source": f"fd00::abc:{number_of(name)}",
                "reachable": True,
            }
            for other in case.order
            if other != name
        }
    case.plan["master"]["address"] = "fd00::1"


def a_comment_in_the_file_of_the_name(case):
    for name in case.order:
        case.fabric[name]["hostname_file"] = "# set by cloud-init"


def an_old_out_of_memory(case):
    case.fabric["node2"].update(container=None)
    case.fabric["node2"]["clock"]["epoch"] = 1_790_000_000.0
    case.user["node2"]["oom_kills"] = [{"time": "2026-01-05T10:00:00Z", "line": "Killed process 4711 (chrome)"}]


def kubernetes_resolver(case):
    """Names get the search list of the pod's resolv.conf; the machine knows its service's full name."""
    for name in case.order:
        full = f"{name}.train.default.svc.cluster.local"
        case.plan["nodes"][name].update(fqdn=full, names=[name, full])
        case.fabric[name].update(container="kubernetes", fqdn=full)
        for other in case.order:
            case.fabric[name]["resolution"][f"{other}.train.default.svc.cluster.local"] = answer(
                case.plan["nodes"][other]["address"]
            )


def no_systemd(case):
    for name in case.order:
        case.fabric[name].update(container="podman", firewalls=[])
        case.fabric[name]["sshd"].update(systemd=False, unit=None)
        case.fabric[name]["clock"] = {"source": None, "synchronised": None, "epoch": 1000.5}


@pytest.mark.parametrize(
    "change",
    [
        management_network_first,
        jumbo_frames_on_the_side,
        bridges_of_docker,
        a_fast_link_between_two_only,
        over_a_vpn,
        addresses_of_a_carrier,
        ipv6_alone,
        a_comment_in_the_file_of_the_name,
        an_old_out_of_memory,
        kubernetes_resolver,
        no_systemd,
    ],
)
@pytest.mark.parametrize("kind", [healthy_case, gpu_case])
def test_unusual_networks_and_systems(kind, change):
    case = kind()
    change(case)
    assert told(case) == []


def unused_rdma(case):
    """A network card that could do RDMA, with the limit of every distribution, and no InfiniBand anywhere."""
    for name in case.order:
        case.fabric[name]["rdma"]["devices"][0]["ports"][0].update(state="DOWN", phys_state="Disabled")
        case.fabric[name]["limits"]["memlock"] = 8 * 2**20


def infiniband_on_some_and_off_for_all(case):
    case.fabric["node3"]["rdma"]["devices"] = []
    case.plan["env"]["NCCL_IB_DISABLE"] = "1"
    for name in case.order:
        case.fabric[name]["limits"]["memlock"] = 8 * 2**20


def wsl(case):
    """No NVIDIA device on the bus that can be seen, and no file of the driver's below /proc."""
    for name in case.order:
        case.gpu[name]["counts"].update(pci=0, driver=None)
        case.fabric[name].update(firewalls=[])


def a_gpu_that_computes(case):
    busy = {"pid": 7, "type": "C", "memory_mib": 1}
    put(case.gpu["node2"], "gpus/0/processes", [busy])
    put(case.gpu["node2"], "gpus/0/throttle_reasons", ["sw_thermal_slowdown"])


@pytest.mark.parametrize("change", [unused_rdma, infiniband_on_some_and_off_for_all, wsl, a_gpu_that_computes])
def test_unusual_machines_with_gpus(change):
    case = gpu_case()
    change(case)
    assert told(case) == []


def summed(case, seconds, mbps=9000.0):
    ranks = [{"rank": at, "host": name, "seconds": own} for at, (name, own) in enumerate(zip(case.order, seconds))]
    rows = [{"bytes": GIB, "busbw_gbps": mbps / 8000}]
    return {"ok": True, "backend": "nccl", "sweep": rows, "ranks": ranks, "nccl": {}, "suspects": [], "error": None}


def test_an_older_model_is_slower_without_being_ill():
    case = gpu_case()
    for gpu in case.gpu["node3"]["gpus"]:
        gpu["name"] = "V100-SXM2-32GB"
    slow = healthy_case(3, 2, collective=summed(case, (0.010, 0.010, 0.020)))
    assert told(slow) == [("collective-straggler", ("node3",))]
    slow.gpu.update(case.gpu)
    assert "collective-straggler" not in [rule for rule, _hosts in told(slow)]


def test_only_the_adapters_that_nccl_is_given_count():
    case = gpu_case()
    for name in case.order:
        first = case.fabric[name]["rdma"]["devices"][0]
        case.fabric[name]["rdma"]["devices"].append({**first, "name": "mlx5_1"})
    answered = summed(case, (0.01,) * 3, mbps=130_000.0)
    answered["nccl"] = {"node1": {"networks": ["IB"]}}
    case = healthy_case(3, 2, managed=False, fabric=case.fabric, collective=answered)
    assert told(case) == [("collective-slow", ())]
    case.plan["env"]["NCCL_IB_HCA"] = "=mlx5_0:1"
    assert told(case) == []


def test_a_log_that_names_the_vpn_of_the_plan():
    case = gpu_case()
    over_a_vpn(case)
    text = "node1:1:1 [0] NCCL INFO NET/Socket : Using [0]wg0:10.0.0.11<0>\n"
    case.user["node1"]["files"] = [{"kind": "nccl_log", "path": "/tmp/log", "exists": True, "text": text}]
    assert told(case) == []
    case.user["node1"]["files"][0]["text"] = text.replace("wg0", "tailscale0")
    assert told(case) == [("nccl-ifname-auto-virtual", ("node1",))]


def test_a_port_that_could_not_be_had_for_another_reason_is_not_tested():
    case = healthy_case()
    case.listeners["node1"] = {"29500": [24, "Too many open files"]}
    found = engine.judge(case, options.Options())
    assert told(case) == []
    assert ("rdzv-connect-failed", ("node1",)) in [(item.rule, item.hosts) for item in found.untested]
