# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules on NCCL's and Gloo's variables and on RDMA: the node to mend, and nothing on sound nodes."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import rdma
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import rule as diagnosis_rule
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import setting
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import nccl_env
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import rdma as rules_rdma
from ansible_collections.trainmesh.cluster.tests.unit.samples import checks
from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import ODD, paths
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import recordings
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import (
    NAMES,
    PORT,
    gpu_case,
    interface,
    put,
)

RULES = checks.rules_of(nccl_env, rules_rdma)


def said(case: Case) -> list[tuple[str, str, tuple[str, ...]]]:
    return checks.said(case, RULES)


def variables(case: Case, host: str, **values: str) -> None:
    case.stack[host]["login_environment"]["variables"].update(values)


def everywhere(case: Case, **values: str) -> None:
    for host in case.order:
        variables(case, host, **values)


def add(case: Case, host: str, *interfaces: dict[str, t.Any]) -> None:
    case.fabric[host]["interfaces"] += interfaces


def test_sound_nodes_are_not_accused() -> None:
    assert said(gpu_case()) == []
    assert said(gpu_case(1)) == []
    assert said(Case(plan=gpu_case().plan)) == []


def test_where_a_variable_comes_from() -> None:
    case = gpu_case()
    case.user["node1"]["nccl_conf"] = [
        {"path": "/etc/nccl.conf", "values": {"NCCL_A": "system"}},
        {"path": "~/.nccl.conf", "values": {"NCCL_A": "user"}},
    ]
    assert setting(case, "node1", "NCCL_A") == ("user", "~/.nccl.conf")
    case.user["node1"]["deepspeed_env"] = [{"path": "~/.deepspeed_env", "text": "X=1\nNCCL_A=pushed\n"}]
    assert setting(case, "node1", "NCCL_A") == ("pushed", "~/.deepspeed_env")
    variables(case, "node1", NCCL_A="login")
    assert setting(case, "node1", "NCCL_A") == ("login", "the login environment")
    case.plan["env"]["NCCL_A"] = "job"
    assert setting(case, "node1", "NCCL_A") == ("job", "trainmesh_env")
    assert setting(case, "node1", "NCCL_B") is None


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ("eth1", ["eth1", "eth10"]),
        ("=eth1", ["eth1"]),
        ("eth,ib", ["eth1", "eth10", "ib0"]),
        ("^eth", ["lo", "ib0"]),
        ("^=eth1", ["lo", "eth10", "ib0"]),
        ("nosuch", []),
    ],
)
def test_how_nccl_reads_a_list_of_interfaces(value: str, want: list[str]) -> None:
    assert nccl_env.named(value, ["lo", "eth1", "eth10", "ib0"]) == want


@pytest.mark.parametrize("variable", ["NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"])
def test_an_interface_that_one_node_lacks(variable: str) -> None:
    case = gpu_case()
    everywhere(case, **{variable: "eth0"})
    case.fabric["node2"]["interfaces"][1]["name"] = "eno1"
    assert said(case) == [("nccl-ifname-absent-on-node", "fail", ("node2",))]
    finding = checks.answers(case, RULES)[0]
    assert isinstance(finding, diagnosis_rule.Finding)
    assert "eno1" in finding.evidence["node2"]
    assert variable in finding.cause


def test_an_interface_that_is_down_or_the_loopback_serves_nobody() -> None:
    case = gpu_case()
    case.plan["env"]["NCCL_SOCKET_IFNAME"] = "=eth0"
    case.fabric["node3"]["interfaces"][1]["up"] = False
    assert said(case) == [("nccl-ifname-absent-on-node", "fail", ("node3",))]
    case = gpu_case()
    case.plan["env"]["NCCL_SOCKET_IFNAME"] = "lo"
    assert said(case) == [("nccl-ifname-absent-on-node", "fail", NAMES)]


def test_gloo_knows_whole_names_only() -> None:
    case = gpu_case()
    everywhere(case, GLOO_SOCKET_IFNAME="eth")
    assert said(case) == [("nccl-ifname-absent-on-node", "fail", NAMES)]


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("br-12ab", "bridge", True),
        ("tailscale0", "tun", True),
        ("docker0", "bridge", False),
        ("virbr0", "bridge", False),
        ("eno2", "physical", False),
    ],
)
def test_virtual_interfaces_that_nccl_would_use_as_well(name: str, kind: str, found: bool) -> None:
    case = gpu_case()
    add(case, "node2", interface(name, "172.18.0.1", kind))
    assert said(case) == ([("nccl-ifname-auto-virtual", "warn", ("node2",))] if found else [])
    everywhere(case, NCCL_SOCKET_IFNAME="eth0")
    assert said(case) == []


def test_the_first_interface_is_where_ranks_meet() -> None:
    case = gpu_case()
    case.fabric["node1"]["interfaces"].insert(1, interface("eno1", "192.168.7.2"))
    assert said(case) == [("nccl-ifname-auto-virtual", "fail", ("node1",))]
    add(case, "node1", interface("ib0", "10.9.0.1"))
    assert [hosts for diagnosis_rule, _severity, hosts in said(case)] == [("node1",)]
    for facts in case.gpu.values():
        facts.update(status="none", gpus=[])
    assert said(case) == []  # no GPUs, no NCCL


def test_what_could_not_be_read_may_say_which_interface_to_use() -> None:
    case = gpu_case()
    add(case, "node2", interface("tailscale0", "100.64.0.2", "tun"))
    del case.user["node2"]
    assert said(case) == []


def test_rdma_matters_little_where_no_job_uses_it() -> None:
    case = gpu_case()
    case.fabric["node2"]["rdma"]["devices"][0]["ports"][0]["state"] = "DOWN"
    for facts in case.gpu.values():
        facts.update(status="none", gpus=[])
    assert said(case) == [("ib-port-not-active", "info", ("node2",))]


def test_a_veth_is_the_real_interface_of_a_container() -> None:
    case = gpu_case()
    for facts in case.fabric.values():
        facts["interfaces"][1]["kind"] = "veth"
    assert said(case) == []


def test_gloo_takes_the_address_of_the_nodes_name() -> None:
    case = gpu_case()
    case.fabric["node2"]["resolution"]["node2"]["addresses"] = ["192.168.7.2"]
    assert said(case) == [("gloo-ifname-unset", "warn", ("node2",))]
    case.plan["managed"] = True
    assert said(case) == []
    case.plan["managed"] = False
    variables(case, "node2", GLOO_SOCKET_IFNAME="eth0")
    assert [rule for rule, _severity, _hosts in said(case) if rule.startswith("gloo")] == []
    case = gpu_case()
    case.fabric["node2"]["resolution"]["node2"] = {"addresses": ["127.0.1.1"], "loopback": True}
    assert said(case) == []  # name-loopback-127-0-1-1 says it


def test_infiniband_that_is_demanded_and_not_there() -> None:
    case = gpu_case()
    case.plan["env"]["NCCL_NET"] = "IB"
    assert said(case) == []
    case.fabric["node2"]["rdma"]["devices"] = []
    assert ("nccl-net-forced-ib", "fail", ("node2",)) in said(case)


@pytest.mark.parametrize(("name", "value"), [("NCCL_IB_DISABLE", "1"), ("NCCL_NET", "Socket")])
def test_infiniband_that_works_and_is_switched_off(name: str, value: str) -> None:
    case = gpu_case()
    case.user["node3"]["nccl_conf"] = [{"path": "/etc/nccl.conf", "values": {name: value}}]
    assert said(case) == [("ib-disabled-on-ib", "warn", ("node3",))]
    case.user["node3"]["nccl_conf"][0]["values"] = {"NCCL_IB_DISABLE": "0"}
    assert said(case) == []
    case = gpu_case()
    for host in NAMES:
        case.fabric[host]["rdma"]["devices"] = []
    case.plan["env"][name] = value
    assert said(case) == []  # without any, it does no harm


def test_a_workaround_that_was_kept() -> None:
    case = gpu_case()
    case.plan["env"]["NCCL_P2P_DISABLE"] = "1"
    case.gpu["node3"]["nvlink"] = []
    assert said(case) == [
        ("nccl-p2p-disabled-kept", "warn", ("node1", "node2")),
        ("nccl-p2p-disabled-kept", "info", ("node3",)),
    ]
    case.plan["env"]["NCCL_P2P_DISABLE"] = "0"
    assert said(case) == []


@pytest.mark.parametrize(
    ("name", "value", "severity"),
    [
        ("NCCL_IB_TIMEOUT", "22", "warn"),
        ("PYTHONPATH", "/home/u/code", "warn"),
        ("LD_LIBRARY_PATH", "/x", "warn"),
        ("NCCL_DEBUG", "INFO", "info"),
    ],
)
def test_a_variable_that_only_one_node_has(name: str, value: str, severity: str) -> None:
    case = gpu_case()
    variables(case, "node1", **{name: value})
    assert said(case) == [("env-not-propagated", severity, ("node1",))]
    everywhere(case, **{name: value})
    assert said(case) == []


def test_names_of_interfaces_may_differ_but_not_be_absent() -> None:
    case = gpu_case()
    for number, host in enumerate(NAMES):
        case.fabric[host]["interfaces"][1]["name"] = case.plan["nodes"][host]["interface"] = f"eth{number}"
        variables(case, host, NCCL_SOCKET_IFNAME=f"eth{number}")
    assert said(case) == []
    del case.stack["node2"]["login_environment"]["variables"]["NCCL_SOCKET_IFNAME"]
    assert said(case) == [("env-not-propagated", "warn", ("node2",))]
    case.stack["node2"]["login_environment"]["source"] = "unknown"
    assert said(case) == []


def test_new_ncclss_in_containers_are_worth_a_word() -> None:
    case = gpu_case()
    case.fabric["node1"]["container"] = "docker"
    assert said(case) == [("nccl-cumem-host", "info", ("node1",))]
    case.plan["env"]["NCCL_CUMEM_HOST_ENABLE"] = "0"
    assert said(case) == []


@pytest.mark.parametrize(
    ("path", "value", "rule", "severity"),
    [
        ("rdma/libibverbs", False, "ib-libibverbs-missing", "warn"),
        ("rdma/devices/0/ports/0/state", "DOWN", "ib-port-not-active", "fail"),
        ("rdma/devices/0/ports/0/rate_gbps", 100, "ib-rails-not-connected", "warn"),
        ("peermem", False, "gdr-unavailable", "warn"),
        ("acs", {"enabled": True, "bridges": ["0000:00:01.0"]}, "p2p-acs-iommu", "warn"),
        ("iommu", {"enabled": True, "groups": 2, "types": {"DMA-FQ": 2}}, "p2p-acs-iommu", "warn"),
    ],
)
def test_a_fault_of_rdma_is_found_on_its_node(path: str, value: t.Any, rule: str, severity: str) -> None:
    case = gpu_case()
    put(case.fabric["node2"], path, value)
    assert said(case) == [(rule, severity, ("node2",))]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rdma/libibverbs", None),
        ("rdma/uverbs", []),
        ("rdma/uverbs", None),
        ("peermem", None),
        ("iommu", {"enabled": True, "groups": 2, "types": {"identity": 2}}),
        ("acs", {"enabled": None, "bridges": []}),
    ],
)
def test_what_is_normal_or_unknown_of_rdma_is_no_fault(path: str, value: t.Any) -> None:
    case = gpu_case()
    put(case.fabric["node2"], path, value)
    assert said(case) == []


def test_ports_that_are_down_everywhere_are_meant_so() -> None:
    case = gpu_case()
    spare = {**PORT, "state": "DOWN", "phys_state": "Disabled"}
    for facts in case.fabric.values():
        facts["rdma"]["devices"].append({"name": "mlx5_1", "ports": [spare]})
    assert said(case) == []
    for host in ("node1", "node2"):
        case.fabric[host]["rdma"]["devices"][1] = {"name": "mlx5_1", "ports": [PORT]}
    assert said(case) == [("ib-port-not-active", "warn", ("node3",))]


def test_a_port_that_is_held_down_though_its_link_is_up() -> None:
    case = gpu_case()
    for facts in case.fabric.values():
        spare = {**PORT, "port": 2, "state": "DOWN", "phys_state": "LinkUp"}
        facts["rdma"]["devices"].append({"name": "mlx5_7", "ports": [spare]})
    assert said(case) == [("ib-port-not-active", "warn", NAMES)]
    found = [each for each in rules_rdma.not_active(case) if isinstance(each, Finding)]
    assert all("vf NUMBER state auto" in each.remedy for each in found)


def test_a_port_with_a_link_waits_for_a_subnet_manager() -> None:
    case = gpu_case()
    for facts in case.fabric.values():
        facts["rdma"]["devices"][0]["ports"][0]["state"] = "INIT"
    assert said(case) == [("ib-port-not-active", "warn", NAMES)]
    case.plan["env"]["NCCL_IB_DISABLE"] = "1"
    assert said(case) == []


def test_a_container_without_the_device_files() -> None:
    case = gpu_case()
    case.fabric["node2"].update(container="docker")
    case.fabric["node2"]["rdma"]["uverbs"] = []
    case.plan["env"]["NCCL_CUMEM_HOST_ENABLE"] = "0"
    assert said(case) == [("ib-container-devices", "warn", ("node2",))]


def roce(case: Case) -> None:
    gids = [
        {"index": index, "gid": "0000::ffff:0a00:0001", "type": kind, "interface": "eth0"}
        for index, kind in enumerate(["IB/RoCE v1", "IB/RoCE v1", "RoCE v1", "RoCE v2"])
    ]
    for facts in case.fabric.values():
        facts["rdma"]["devices"][0]["ports"][0].update(link_layer="Ethernet", gids=gids)


def test_the_place_of_the_roce_address() -> None:
    case = gpu_case()
    roce(case)
    assert said(case) == []
    case.stack["node2"]["torch"]["nccl"] = "2.18.1"
    assert said(case) == [("roce-gid-index", "warn", ("node2",))]
    case.plan["env"]["NCCL_IB_GID_INDEX"] = "3"
    assert said(case) == []
    case.plan["env"]["NCCL_IB_GID_INDEX"] = "0"
    assert said(case) == [("roce-gid-index", "fail", NAMES)]


def test_adapters_that_are_named_and_not_there() -> None:
    case = gpu_case()
    case.plan["env"]["NCCL_IB_HCA"] = "mlx5_0:1"
    case.fabric["node2"]["rdma"]["devices"][0]["name"] = "bnxt_re0"
    assert said(case) == [("ib-rails-not-connected", "fail", ("node2",))]
    case.plan["env"]["NCCL_IB_HCA"] = "^mlx5_7"
    assert said(case) == []


def test_acs_matters_where_gpus_or_adapters_talk_over_pci() -> None:
    case = gpu_case()
    for facts in case.fabric.values():
        facts["acs"]["enabled"] = True
        facts["rdma"]["devices"] = []
    assert said(case) == []  # NVLink joins the GPUs
    case.gpu["node1"]["nvlink"] = []
    assert said(case) == [("p2p-acs-iommu", "warn", ("node1",))]
    case.fabric["node1"]["virtual"] = "kvm"
    assert said(case) == []


def test_a_network_adapter_in_a_narrow_slot() -> None:
    case = gpu_case()
    line = "mlx5_core 0000:9c:00.0: 63.008 Gb/s available PCIe bandwidth, limited by 8.0 GT/s PCIe x8 link"
    case.gpu["node2"]["xids"] = [{"kind": "degraded_link", "xid": None, "line": line}]
    assert said(case) == [("nic-pcie-narrow", "warn", ("node2",))]


def test_a_recorded_machine_with_infiniband_is_sound() -> None:
    base = recordings("sysfs_infiniband") / "h100"
    root = next((pathlib.Path(each) for each in (base, *base.iterdir()) if (each / "mlx5_0").is_dir()), None)
    devices = rdma.sysfs_devices(Tree("/"), str(root)) if root else []
    if not devices:
        pytest.skip(f"no devices in {base}")
    case = gpu_case()
    for facts in case.fabric.values():
        facts["rdma"]["devices"] = devices
    assert said(case) == []
    case.fabric["node2"]["rdma"]["devices"] = devices[1:]
    assert said(case) == [("ib-rails-not-connected", "warn", ("node2",))]


SAMPLE = {part: getattr(gpu_case(1), part)["node1"] for part in ("fabric", "stack", "user")}
PLACES = sorted(place for place in paths(SAMPLE) if "/" in place and "//" not in place)


@settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PLACES), ODD)
def test_odd_facts_break_no_rule(place: str, value: t.Any) -> None:
    case = gpu_case()
    part, _slash, path = place.partition("/")
    case.plan["env"].update(NCCL_IB_HCA="x", NCCL_IB_GID_INDEX="1")
    put(getattr(case, part)["node1"], path, value)
    assert isinstance(checks.answers(case, RULES), list)
