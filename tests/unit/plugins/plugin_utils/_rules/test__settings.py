# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NCCL's and Gloo's variables in user files are judged like those of the environment."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _settings, nccl_env
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import rdma as rules_rdma
from ansible_collections.trainmesh.cluster.tests.unit.samples import checks
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import NAMES, gpu_case, interface

RULES = checks.rules_of(nccl_env, rules_rdma)
BY_HAND = "torchrun --nnodes 3 --node_rank $1 --master_addr 10.0.0.11 /t.py"
OVER_SSH = "deepspeed --hostfile /job/hosts --master_addr 10.0.0.11 /t.py"


def said(case):
    return checks.said(case, RULES)


def hand_in(case, *lines, hosts=NAMES, kind="launch_script"):
    text = "\n".join((*lines, ""))
    for host in hosts:
        row = {"kind": kind, "path": f"/job/{kind}", "exists": True, "text": text, "error": None}
        case.user[host].setdefault("files", []).append(row)
    return case


def test_where_values_come_from():
    case = hand_in(gpu_case(), "export NCCL_A=1", "NCCL_B=2 " + BY_HAND, "NCCL_C=3", hosts=("node1",))
    assert _settings.of(case, "node1", "NCCL_A") == [("1", "/job/launch_script line 1")]
    assert _settings.of(case, "node1", "NCCL_B") == [("2", "/job/launch_script line 2")]
    assert _settings.of(case, "node1", "NCCL_C") == []
    assert _settings.of(case, "node2", "NCCL_A") == []
    assert _settings.of(case, "node2", "NCCL_A", reach=True) == [("1", "/job/launch_script line 1 of node1")]
    case.plan["env"]["NCCL_A"] = "0"
    assert [one.value for one in _settings.of(case, "node1", "NCCL_A")] == ["0", "1"]


def test_what_deepspeed_sends_reaches_every_node():
    case = hand_in(gpu_case(), "export NCCL_A=1 GLOO_B=2", OVER_SSH, hosts=("node1",))
    assert _settings.of(case, "node3", "NCCL_A", reach=True)
    assert not _settings.of(case, "node3", "GLOO_B", reach=True)


@pytest.mark.parametrize(
    "lines",
    [
        ["if [ -z $X ]; then export NCCL_A=1; fi"],
        ["export NCCL_A=$(hostname)"],
        ["export NCCL_A=$ELSEWHERE"],
        ["# export NCCL_A=1"],
        ["echo export NCCL_A=1"],
        ["export NCCL_A=1", "unset NCCL_A"],
    ],
)
def test_what_is_not_certain_is_not_judged(lines):
    assert _settings.of(hand_in(gpu_case(), *lines, BY_HAND), "node1", "NCCL_A") == []


def test_a_script_that_writes_deepspeeds_environment_file():
    for lines in (["echo 'NCCL_A=1' >> ~/.deepspeed_env"], ["cat > ~/.deepspeed_env <<EOF", "NCCL_A=1", "EOF"]):
        case = hand_in(gpu_case(), *lines, OVER_SSH, hosts=("node1",))
        assert [one.value for one in _settings.of(case, "node2", "NCCL_A", reach=True)] == ["1"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("^lo,docker", "NCCL's syntax"),
        ("=eth0", "NCCL's syntax"),
        ("10.0.0.11", "an address"),
        ("10.0.0.0/24", "an address"),
        ("eth", "not there"),
        ("eth0, eth1", "a blank"),
        ("eth0,eno9", "not there"),
    ],
)
@pytest.mark.parametrize("variable", ["GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME"])
def test_gloo_takes_whole_names_alone(variable, value, words):
    case = hand_in(gpu_case(), f"export {variable}='{value}'", BY_HAND)
    assert said(case) == [("nccl-ifname-absent-on-node", "fail", NAMES)]
    assert words in checks.answers(case, RULES)[0].evidence["node2"]
    case = gpu_case()
    case.plan["env"][variable] = value
    assert said(case) == [("nccl-ifname-absent-on-node", "fail", NAMES)]


def test_gloo_with_a_bridge_that_is_up():
    case = gpu_case()
    for host in NAMES:
        case.fabric[host]["interfaces"].append(interface("docker0", "172.17.0.1", "bridge"))
    case.plan["env"]["GLOO_SOCKET_IFNAME"] = "=^lo,docker0"
    assert said(case) == [("nccl-ifname-absent-on-node", "fail", NAMES)]


@pytest.mark.parametrize("value", ["eth0", "eth", "=eth0", "^lo,docker", "eth,ib"])
def test_nccl_takes_prefixes_and_signs(value):
    assert said(hand_in(gpu_case(), f"export NCCL_SOCKET_IFNAME={value}", BY_HAND)) == []


def test_nccl_takes_no_address():
    case = hand_in(gpu_case(), "export NCCL_SOCKET_IFNAME=10.0.0.12", BY_HAND, hosts=("node2",))
    assert said(case) == [("nccl-ifname-absent-on-node", "fail", ("node2",))]


def test_an_interface_that_another_node_lacks():
    case = hand_in(gpu_case(), "export NCCL_SOCKET_IFNAME=eth0", OVER_SSH, hosts=("node1",))
    case.fabric["node3"]["interfaces"][1]["name"] = "eno1"
    assert said(case) == [("nccl-ifname-absent-on-node", "fail", ("node3",))]
    assert "of node1" in checks.answers(case, RULES)[0].evidence["node3"]


def test_infiniband_and_peer_to_peer():
    case = hand_in(gpu_case(), "export NCCL_NET=IB", BY_HAND)
    assert said(case) == []
    case.fabric["node2"]["rdma"]["devices"][0]["ports"][0]["state"] = "DOWN"
    assert ("nccl-net-forced-ib", "fail", ("node2",)) in said(case)
    off = hand_in(gpu_case(), "export NCCL_IB_DISABLE=1", BY_HAND, hosts=("node1",))
    assert said(off) == [("ib-disabled-on-ib", "warn", ("node1",))]
    sent = hand_in(gpu_case(), "NCCL_IB_DISABLE=1", hosts=("node1",), kind="deepspeed_env")
    assert said(sent) == [("ib-disabled-on-ib", "warn", ("node1",))]
    peers = hand_in(gpu_case(), "NCCL_P2P_DISABLE=1 " + OVER_SSH, hosts=("node1",))
    assert said(peers) == [("nccl-p2p-disabled-kept", "warn", ("node1",))]
    both = hand_in(gpu_case(), "export NCCL_P2P_DISABLE=1 NCCL_SHM_DISABLE=1", OVER_SSH, hosts=("node1",))
    assert "NCCL_SHM_DISABLE=1" in checks.answers(both, RULES)[0].evidence["node1"]
    mpi = hand_in(gpu_case(), "mpirun -np 2 -x GLOO_SOCKET_IFNAME=^lo python /t.py", hosts=("node1",))
    assert said(mpi) == [("nccl-ifname-absent-on-node", "fail", ("node1",))]
    adapters = hand_in(gpu_case(), "export NCCL_IB_HCA=mlx5_9", BY_HAND, hosts=("node1",))
    assert said(adapters) == [("ib-rails-not-connected", "fail", NAMES)]
