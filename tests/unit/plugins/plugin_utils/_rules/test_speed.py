# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on the speed of each GPU: the slow one with its reason, and nothing for the healthy or the incomparable."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    REGISTRY,
    Answer,
    Case,
    Finding,
    Untested,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import speed as rules_speed

SPEEDS = {"tflops": 251.0, "memory_gbps": 1310.0, "host_gbps": 24.1, "peer_gbps": 231.0}
LOAD = {
    "sm_mhz": 1305.0, "sm_max_mhz": 1410.0, "memory_mhz": 1215.0, "memory_max_mhz": 1215.0, "power_w": 391.0,
    "power_limit_w": 400.0, "power_default_w": 400.0, "temperature_c": 61, "throttle_reasons": ["sw_power_cap"],
    "pcie": {"gen_current": 4, "gen_max": 4, "width_current": 16, "width_max": 16},
}  # fmt: skip
IDLE = {"load1": 0.5, "cores": 64, "throttled": 0.0, "stolen": 0.0}
CPU = {"threads": 64, "gflops": 1500.0, "memory_gbps": 40.0, "governor": "performance", "throttled": 0, "errors": {}}
Change = dict[str, t.Any]


def gpu(host: str, index: int, change: Change) -> dict[str, t.Any]:
    """A healthy GPU with these changes; those of ``under_load`` add to the state."""
    load = {**LOAD, **change.get("under_load", {})}
    about = {
        "index": index, "uuid": f"GPU-{host}-{index}", "pci_bus_id": f"00000000:{index + 10}:00.0", "errors": {},
        "name": "A100-SXM4-40GB", "memory_mib": 40960, "power_limit_w": load["power_limit_w"], "reason": None,
        "power_default_w": 400.0, "near": True, "peer": f"GPU-{host}-{1 - index}",
    }  # fmt: skip
    return {**about, **SPEEDS, **change, "under_load": load}


def cluster(
    changes: t.Mapping[tuple[str, int], Change] | None = None,
    nodes: int = 2,
    every: Change | None = None,
    answers: t.Mapping[str, Change] | None = None,
    wiring: str = "NV12",
) -> Case:
    """Nodes with two GPUs each; ``every`` changes all of them, ``changes`` single ones, ``answers`` what nodes said."""
    hosts = [f"node{number + 1}" for number in range(nodes)]
    speed, facts, load = {}, {}, {}
    for host in hosts:
        gpus = [gpu(host, index, {**(every or {}), **(changes or {}).get((host, index), {})}) for index in (0, 1)]
        base = {
            "device": "gpu",
            "precision": "bf16",
            "reason": None,
            "torch": "2.13.0+cu126",
            "boot": host,
            "gpus": gpus,
        }
        speed[host] = {**base, "load": IDLE, "processor": "EPYC", "cpu": None, **(answers or {}).get(host, {})}
        known = [{"uuid": each["uuid"], "ecc": {"mode": "Enabled"}} for each in gpus]
        facts[host] = {"gpus": known, "topology": {"gpu_gpu": [["X", wiring], [wiring, "X"]]}}
        load[host] = {"speed": speed[host]["load"]}
    plan = {"order": hosts, "nodes": {host: {"name": host} for host in hosts}}
    return Case(plan=plan, gpu=facts, speed=speed, load=load)


def answers(case: Case) -> list[Answer]:
    ours = [rule for rule in REGISTRY if rule.judge.__module__ == rules_speed.__name__]
    return engine.merged((answer for rule in ours for answer in rule.judge(case)), case.order)


def told(case: Case) -> list[tuple[str, tuple[str, ...], str]]:
    return [(each.rule, each.hosts, each.severity) for each in answers(case) if isinstance(each, Finding)]


def untested(case: Case) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.rule, each.hosts) for each in answers(case) if isinstance(each, Untested)]


def only(case: Case) -> Finding:
    (found,) = answers(case)
    assert isinstance(found, Finding), found
    return found


def test_gpus_that_are_as_fast_as_each_other_are_not_told():
    some = {("node1", 0): {"tflops": 236.0, "memory_gbps": 1290.0, "host_gbps": 20.5}, ("node2", 1): {"tflops": 262.0}}
    assert answers(cluster(some)) == answers(cluster()) == answers(Case(plan={"order": [], "nodes": {}})) == []


@pytest.mark.parametrize(
    ("under", "cause", "fix"),
    [
        (
            {"throttle_reasons": ["hw_slowdown", "hw_thermal_slowdown"], "temperature_c": 93},
            "heat",
            "nvidia-smi -q -d T",
        ),
        ({"throttle_reasons": ["sw_thermal_slowdown"]}, "heat", "nvidia-smi -q -d T"),
        ({"throttle_reasons": ["hw_slowdown", "hw_power_brake_slowdown"]}, "power supply", "nvidia-smi -q -d POWER"),
        ({"throttle_reasons": ["applications_clocks_setting"], "sm_mhz": 765.0}, "clocks", "nvidia-smi -i 1 -rac"),
        ({"throttle_reasons": []}, "no reason", "dcgmi diag -r 3 there"),
    ],
)
def test_a_gpu_that_computes_slower_than_its_like_with_the_reason(under, cause, fix):
    found = only(cluster({("node2", 1): {"tflops": 140.0, "under_load": under}}))
    assert (found.rule, found.hosts, found.severity) == ("gpu-slow", ("node2",), "warn")
    assert cause in found.cause and found.remedy.startswith(fix)
    seen = found.evidence["node2"]
    assert seen.startswith(
        "GPU 1 (A100-SXM4-40GB, 00000000:11:00.0): 140 TFLOP/s in bf16, the median of 4 alike is 251"
    )
    for part in ("of 1410 MHz", "391 of 400 W (default 400)", " C, ", "PCIe generation 4 of 4, 16 of 16 lanes"):
        assert part in seen


def test_two_gpus_make_no_median_and_the_table_is_wide():
    slow = {("node1", 1): {"tflops": 140.0, "memory_gbps": 900.0, "host_gbps": 15.0, "peer_gbps": 160.0}}
    assert answers(cluster(slow, nodes=1)) == []
    slower = {("node1", 1): {"tflops": 70.0, "memory_gbps": 700.0, "host_gbps": 11.0, "peer_gbps": 140.0}}
    ids = ["gpu-slow", "gpu-memory-slow", "gpu-host-copy-slow", "gpu-peer-copy-slow"]
    assert told(cluster(slower, nodes=1)) == [(each, ("node1",), "warn") for each in ids]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "A100-PCIE-40GB"},
        {"memory_mib": 81920},
        {"under_load": {"power_limit_w": 250.0}},
    ],
)
def test_another_model_memory_or_power_limit_is_not_compared(change):
    slow = {("node2", 1): {"tflops": 180.0, "memory_gbps": 1000.0, **change}}
    assert [each for each in told(cluster(slow)) if each[2] == "warn"] == []


def test_another_torch_or_precision_is_not_compared():
    slow = {("node2", index): {"tflops": 150.0} for index in (0, 1)}
    assert answers(cluster(slow, answers={"node2": {"torch": "2.9.0+cu126"}})) == []
    assert answers(cluster(slow, answers={"node2": {"precision": "fp32"}})) == []


def test_a_lower_power_limit_than_the_others_is_told_but_no_fault():
    found = only(cluster({("node2", 1): {"tflops": 180.0, "under_load": {"power_limit_w": 250.0}}}))
    assert (found.rule, found.severity, found.hosts) == ("gpu-power-cap", "info", ("node2",))
    assert found.remedy.startswith("nvidia-smi -i 1 -pl 400") and "limit of 250 W" in found.evidence["node2"]
    everywhere = cluster(every={"tflops": 70.0, "under_load": {"power_limit_w": 150.0}})
    assert answers(everywhere) == [], "meant for all of them, and below the table for that reason"


@pytest.mark.parametrize("name", ["A40-48Q", "GRID A100-10C", "GeForce RTX 4090 Laptop GPU", "Unknown 9000"])
def test_a_part_of_a_gpu_and_a_model_of_no_table_are_compared_with_their_like_only(name):
    every = {"name": name, "tflops": 20.0, "memory_gbps": 90.0}
    assert answers(cluster(every=every)) == []
    assert told(cluster({("node1", 0): {"tflops": 9.0}}, every=every)) == [("gpu-slow", ("node1",), "warn")]


@pytest.mark.parametrize(("clock", "fix"), [(1215.0, "dcgmi diag -r 3 there"), (810.0, "nvidia-smi -i 0 -rmc")])
def test_slow_memory(clock, fix):
    found = only(cluster({("node1", 0): {"memory_gbps": 800.0, "under_load": {"memory_mhz": clock}}}))
    assert found.rule == "gpu-memory-slow" and found.remedy.startswith(fix)


@pytest.mark.parametrize(("link", "fix"), [({}, "numactl --hardware"), ({"gen_current": 1}, "lspci -vvs 0000:10:00.0")])
def test_slow_copies_from_the_host(link, fix):
    under = {"pcie": {**LOAD["pcie"], **link}}
    found = only(cluster({("node1", 0): {"host_gbps": 6.1, "under_load": under}}))
    assert found.rule == "gpu-host-copy-slow" and found.remedy.startswith(fix)
    assert "6.1 GB/s from the host" in found.evidence["node1"]


def test_copies_over_half_the_lanes_are_compared_with_their_like():
    narrow = {"host_gbps": 12.3, "under_load": {"pcie": {**LOAD["pcie"], "width_current": 8}}}
    assert answers(cluster(every=narrow)) == [], "eight lanes are usual on many cloud machines"
    assert answers(cluster({("node1", 0): narrow})) == [], "gpu-pcie-narrow tells it"


def test_copies_across_sockets_or_from_one_machine_are_not_judged():
    slow = {("node1", 0): {"host_gbps": 6.0, "near": False}}
    assert (told(cluster(slow)), untested(cluster(slow))) == ([], [("gpu-host-copy-slow", ("node1",))])
    together = cluster({("node1", 0): {"host_gbps": 6.0}}, answers={name: {"boot": "b"} for name in ("node1", "node2")})
    assert (told(together), untested(together)) == ([], [("gpu-host-copy-slow", ("node1",))])


def test_copies_to_peers_are_judged_over_nvlink_only():
    slow = {("node1", index): {"peer_gbps": 100.0} for index in (0, 1)}
    assert told(cluster(slow)) == [("gpu-peer-copy-slow", ("node1",), "warn")]
    assert told(cluster(slow, wiring="PHB")) == []
    assert told(cluster(every={"peer_gbps": 46.0}, wiring="NV2")) == [], "two links carry 50"
    assert told(cluster(every={"peer_gbps": None, "peer": None})) == []


@pytest.mark.parametrize(
    "load",
    [
        {"load1": 200.0, "cores": 64},
        {"load1": 1.0, "cores": 64, "throttled": 0.4},
        {"load1": 1.0, "cores": 64, "stolen": 0.3},
    ],
)
def test_a_busy_or_throttled_node_is_not_judged(load):
    case = cluster({("node2", 1): {"tflops": 140.0}}, answers={"node2": {"load": load}})
    assert (told(case), untested(case)) == ([], [("gpu-slow", ("node2",))])


def test_what_was_not_measured_says_why():
    strangers = cluster({("node1", 1): {"reason": "2 processes compute on it", "tflops": None}})
    (answer,) = answers(strangers)
    assert isinstance(answer, Untested) and "GPU 1: 2 processes compute on it" in answer.why
    assert untested(cluster(answers={"node2": {"reason": "there is no nvidia-smi", "gpus": []}})) == [
        ("gpu-slow", ("node2",))
    ]
    failed = cluster({("node1", 0): {"host_gbps": None, "errors": {"host_gbps": "RuntimeError: out of memory"}}})
    assert untested(failed) == [("gpu-slow", ("node1",))] and told(failed) == []


def test_one_gpu_measured_by_two_nodes_at_once_is_not_judged():
    both = {(name, 0): {"uuid": "GPU-shared", "tflops": 100.0} for name in ("node1", "node2")}
    case = cluster(both, nodes=3)
    assert told(case) == [] and untested(case) == [("gpu-slow", ("node1",)), ("gpu-slow", ("node2",))]


@pytest.mark.parametrize(
    "odd", [None, [], "x", {}, {"gpus": "none"}, {"gpus": [None, {}]}, {"device": "gpu", "gpus": 3}]
)
def test_odd_answers_are_no_findings(odd):
    case = cluster()
    assert told(Case(plan=case.plan, gpu=case.gpu, speed={**case.speed, "node1": odd})) == []


# --- processors


def machines(*changes: Change, boots: t.Sequence[str] = (), **load: t.Any) -> Case:
    hosts = [f"node{number + 1}" for number in range(len(changes))]
    speed = {}
    for place, (host, change) in enumerate(zip(hosts, changes)):
        about = {"device": "cpu", "processor": "EPYC", "torch": "2.13.0", "boot": boots[place] if boots else host}
        speed[host] = {**about, "gpus": [], "cpu": {**CPU, **change}, "reason": None, "load": {**IDLE, **load}}
    plan = {"order": hosts, "nodes": {host: {"name": host} for host in hosts}}
    return Case(plan=plan, speed=speed, load={host: {"speed": each["load"]} for host, each in speed.items()})


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        ({"gflops": 700.0}, "lscpu"),
        ({"memory_gbps": 10.0}, "lscpu"),
        ({"gflops": 700.0, "throttled": 12}, "sensors"),
        ({"gflops": 700.0, "governor": "powersave"}, "cpupower frequency-set -g performance"),
    ],
)
def test_slow_processors(change, fix):
    found = only(machines({}, {}, {}, change))
    assert (found.rule, found.hosts) == ("node-cpu-slow", ("node4",)) and found.remedy.startswith(fix)


def test_processors_that_cannot_be_compared_are_not_judged():
    slow = {"gflops": 400.0}
    assert answers(machines({}, {"gflops": 1300.0}, {"gflops": 1100.0})) == []
    assert answers(machines({}, slow)) == [], "two make no median"
    assert answers(machines({}, {}, {}, {**slow, "threads": 16})) == [], "fewer of them"
    assert untested(machines({}, {}, slow, load1=90.0)) == [("node-cpu-slow", ("node3",))]
    assert told(machines({}, {}, slow, throttled=0.3)) == [], "our own limit of processor time"


def test_containers_of_one_machine_share_its_processors():
    case = machines({}, {}, {"gflops": 100.0}, boots=["a", "a", "a"])
    assert told(case) == [] and untested(case) == [("node-cpu-slow", ("node1", "node2", "node3"))]
