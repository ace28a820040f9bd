# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules on GPUs: each fault on exactly the node that has it, and nothing on sound nodes."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_xml import parse as parse_xml
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.status import PRECEDENCE
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.xid import parse
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import gpu as rules_gpu
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import gpu_health, gpu_thermal, precision
from ansible_collections.trainmesh.cluster.tests.unit.samples import checks
from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import ODD, paths
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import recorded
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import NAMES, gpu_case, gpu_facts, put

RULES = checks.rules_of(rules_gpu, gpu_health, gpu_thermal, precision)
WEAK = {"name": "Tesla V100S-PCIE-32GB", "compute_capability": "7.0"}


def said(case: Case) -> list[tuple[str, str, tuple[str, ...]]]:
    return checks.said(case, RULES)


def xid(code: int, kind: str = "xid", line: str = "a line") -> dict[str, t.Any]:
    return {"kind": kind, "xid": code, "bus_id": "00000000:53:00.0", "time": None, "line": line}


def test_sound_nodes_are_not_accused() -> None:
    assert said(gpu_case()) == []
    assert said(gpu_case(1)) == []
    bare = gpu_case()
    for host in NAMES:
        bare.gpu[host] = {"status": "none", "gpus": [], "counts": {"pci": 0, "driver": 0, "smi": None}, "xids": []}
    assert said(bare) == []
    assert said(Case(plan=bare.plan)) == []


@pytest.mark.parametrize(
    ("path", "value", "rule", "severity"),
    [
        ("counts/smi", 1, "gpu-count", "warn"),
        ("gpus/1/processes", [{"pid": 7, "type": "C", "memory_mib": 900}], "gpu-busy-by-other", "warn"),
        ("gpus/0/mig_mode", "Enabled", "gpu-mig", "fail"),
        ("gpus/0/mig_mode_pending", "Enabled", "gpu-mig", "warn"),
        ("gpus/1/persistence_mode", "Disabled", "gpu-persistence", "info"),
        ("gpus/0/ecc/uncorrected_volatile", 1, "gpu-ecc", "fail"),
        ("gpus/0/ecc/sram_threshold_exceeded", True, "gpu-ecc", "fail"),
        ("gpus/0/ecc/sram_uncorrected_aggregate", 5, "gpu-ecc", "fail"),
        ("gpus/0/ecc/sram_uncorrected_aggregate", 1, "gpu-ecc", "warn"),
        ("gpus/0/ecc/corrected_volatile", 20_000_000, "gpu-ecc", "warn"),
        ("gpus/1/remapped_rows/pending", True, "gpu-row-remap", "fail"),
        ("gpus/1/remapped_rows/failure", True, "gpu-row-remap", "fail"),
        ("gpus/1/remapped_rows/uncorrectable", 513, "gpu-row-remap", "fail"),
        ("gpus/1/ecc/retired_pages_pending", True, "gpu-retired-pages", "warn"),
        ("gpus/1/ecc/retired_pages_double_bit", 11, "gpu-retired-pages", "warn"),
        ("gpus/1/ecc/retired_pages_single_bit", 61, "gpu-retired-pages", "fail"),
        ("gpus/1/throttle_reasons", ["hw_slowdown", "hw_thermal_slowdown"], "gpu-throttle", "warn"),
        ("gpus/1/temperature_c", 76, "gpu-temperature", "warn"),
        ("gpus/0/compute_mode", "Prohibited", "gpu-compute-mode", "fail"),
        ("gpus/0/compute_mode", "Exclusive_Process", "gpu-compute-mode", "info"),
        ("gpus/0/compute_mode", "Exclusive_Thread", "gpu-compute-mode", "info"),
        ("gpus/0/pcie/width_current", 8, "gpu-pcie-narrow", "fail"),
        ("nvlink/0/active", 11, "gpu-nvlink", "fail"),
        ("nvlink/0/gb_per_s", 12.5, "gpu-nvlink", "warn"),
        ("nvlink", [], "gpu-nvlink", "fail"),
        ("fabric_manager", {"nvswitches": 6, "running": False, "version": None}, "drv-fabricmanager", "fail"),
        ("fabric_manager", {"nvswitches": 6, "running": True, "version": "550.1"}, "drv-fabricmanager", "fail"),
        ("gpus/0/fabric", {"state": "In Progress", "status": "N/A"}, "drv-fabricmanager", "fail"),
        ("xids", [xid(63)], "gpu-xid", "warn"),
        ("xids", [xid(48), xid(48)], "gpu-xid", "fail"),
        ("xids", [xid(31)], "gpu-xid", "info"),
        ("xids", [xid(9999)], "gpu-xid", "info"),
        ("xids", [xid(12028, "sxid", "SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32")], "gpu-xid", "info"),
        ("xids", [xid(20034, "sxid", "SXid (PCI:0000:05:00.0): 20034, Fatal, Link 32")], "gpu-xid", "fail"),
    ],
)
def test_a_fault_is_found_on_its_node(path: str, value: t.Any, rule: str, severity: str) -> None:
    case = gpu_case()
    put(case.gpu["node2"], path, value)
    assert said(case) == [(rule, severity, ("node2",))]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gpus/1/processes", [{"pid": 7, "type": "G", "memory_mib": 900}]),
        ("gpus/1/processes", [{"pid": 7, "type": "C", "memory_mib": 4}]),
        ("gpus/1/throttle_reasons", ["gpu_idle", "sw_power_cap"]),
        ("gpus/1/temperature_c", 75),
        ("gpus/1/temperature_c", None),
        ("gpus/0/compute_mode", None),
        ("gpus/0/pcie/gen_current", 3),
        ("gpus/0/ecc/corrected_volatile", 1),
        ("gpus/0/ecc", None),
        ("gpus/0/remapped_rows", None),
        ("gpus/0/memory_mib", 40536),
        ("nvlink", None),
        ("counts", {"pci": None, "driver": 2, "smi": 2}),
        ("fabric_manager", {"nvswitches": 6, "running": True, "version": "560.35.05"}),
        ("fabric_manager", {"nvswitches": 6, "running": None, "version": None}),
    ],
)
def test_what_is_normal_or_unknown_is_no_fault(path: str, value: t.Any) -> None:
    case = gpu_case()
    put(case.gpu["node2"], path, value)
    assert said(case) == []


def test_a_kernel_log_that_nobody_may_read_is_untested() -> None:
    case = gpu_case()
    case.gpu["node2"]["xids"] = None
    (answer,) = checks.answers(case, RULES)
    assert isinstance(answer, Untested)
    assert (answer.rule, answer.hosts) == ("gpu-xid", ("node2",))


def test_every_status_of_gpu_facts_has_a_rule() -> None:
    assert set(rules_gpu.STATUS) == set(PRECEDENCE)
    for status, (rule, _cause, _remedy) in rules_gpu.STATUS.items():
        case = gpu_case()
        case.gpu["node3"] = {"status": status, "problem": "what was seen", "gpus": [], "counts": {}, "xids": [xid(79)]}
        want = [(rule, "warn" if status == "unknown" else "fail", ("node3",))]
        if status not in ("gpu_lost", "hung"):
            want.append(("gpu-xid", "fail", ("node3",)))  # a GPU that is gone now is not told twice
        assert said(case) == want


def test_nouveau_is_named_where_it_holds_the_gpus() -> None:
    case = gpu_case()
    case.gpu["node1"].update(status="driver_not_loaded", nouveau_loaded=True, gpus=[], counts={})
    assert said(case) == [("gpu-nouveau", "fail", ("node1",))]


def test_broken_gpus_stop_nobody_where_pytorch_does_without() -> None:
    case = gpu_case()
    for host in NAMES:
        case.stack[host]["torch"].update(cuda=None)
    case.gpu["node2"] = {"status": "no_driver", "problem": "2 GPUs and no driver", "gpus": []}
    assert said(case) == [("gpu-no-driver", "info", ("node2",))]


def test_a_node_without_gpus_among_others_is_named() -> None:
    case = gpu_case()
    case.gpu["node2"] = {"status": "none", "gpus": [], "counts": {"pci": 0, "driver": 0, "smi": 0}}
    assert said(case) == [("gpu-missing-on-node", "fail", ("node2",))]


def test_slots_are_compared_with_the_gpus() -> None:
    case = gpu_case()
    case.plan["nodes"]["node1"]["slots"] = 4
    case.plan["nodes"]["node3"]["slots"] = 1
    assert said(case) == [
        ("hostfile-slots-exceed-gpus", "fail", ("node1",)),
        ("gpus-unused-by-slots", "warn", ("node3",)),
    ]


def test_a_launchers_leftovers_are_not_strangers() -> None:
    case = gpu_case()
    case.gpu["node1"]["gpus"][0]["processes"] = [{"pid": 7, "type": "C", "memory_mib": 900}]
    case.user["node1"]["processes"] = [{"pid": 7, "kind": "rank"}]
    assert said(case) == []


def test_a_container_may_have_fewer_gpus_than_the_bus() -> None:
    case = gpu_case()
    case.gpu["node1"]["counts"]["pci"] = 8
    case.fabric["node1"]["container"] = "docker"
    assert said(case) == []


def test_the_same_gpu_on_two_nodes_is_found() -> None:
    case = gpu_case()
    case.gpu["node3"]["gpus"][0]["uuid"] = case.gpu["node1"]["gpus"][0]["uuid"]
    case.gpu["node3"]["nvlink"] = None
    assert said(case) == [("nccl-duplicate-gpu", "fail", ("node1", "node3"))]
    case.gpu["node3"]["replayed_from"] = "/srv/recordings/a100"
    assert said(case) == []
    for host in NAMES:
        case.gpu[host]["gpus"][0]["uuid"] = "GPU-00000000-0000-0000-0000-000000000000"
        case.gpu[host]["nvlink"] = None
    assert said(case) == []


def test_unlike_gpus_are_named_once_for_speed_and_once_for_memory() -> None:
    case = gpu_case()
    for gpu in case.gpu["node2"]["gpus"]:
        gpu.update(WEAK, memory_mib=32768)
    case.gpu["node2"]["nvlink"] = None
    assert said(case) == [
        ("prec-bf16-unsupported", "fail", ("node2",)),
        ("nccl-mixed-gpu", "warn", ("node2",)),
        ("gpu-mixed-memory", "warn", ("node2",)),
    ]
    case.plan["precision"] = "fp16"
    assert [rule for rule, _severity, _hosts in said(case)] == ["nccl-mixed-gpu", "gpu-mixed-memory"]


def test_half_the_lanes_on_every_card_of_a_model_is_how_it_is_built() -> None:
    case = gpu_case()
    for facts in case.gpu.values():
        for gpu in facts["gpus"]:
            gpu["pcie"]["width_current"] = 8
    assert said(case) == []


def test_a_gpu_in_mig_mode_is_not_one_without_nvlinks() -> None:
    case = gpu_case()
    for number, gpu in enumerate(case.gpu["node1"]["gpus"]):
        gpu["mig_mode"] = "Enabled"
        case.gpu["node1"]["nvlink"][number].update(active=None, inactive=None, gb_per_s=None)
    assert said(case) == [("gpu-mig", "fail", ("node1",))]
    case.gpu["node1"]["gpus"][0]["mig_mode"] = "Disabled"  # a GPU beside them is judged as ever
    assert ("gpu-nvlink", "fail", ("node1",)) in said(case)
    case.gpu["node1"]["nvlink"][0].update(active=12, inactive=0, gb_per_s=25.0)
    assert said(case) == [("gpu-mig", "fail", ("node1",))]


@pytest.mark.parametrize(
    ("health", "want"),
    [
        (None, []),
        ({"summary": "Healthy", "faults": []}, []),
        ({"summary": "Not Supported", "faults": []}, []),
        ({"summary": "Unhealthy", "faults": ["route unhealthy: True"]}, [("gpu-nvlink", "fail", ("node1",))]),
        ({"summary": "Limited Capacity", "faults": ["bandwidth: Degraded"]}, [("gpu-nvlink", "warn", ("node1",))]),
    ],
)
def test_what_the_driver_says_of_the_fabric(health: t.Any, want: t.Any) -> None:
    case = gpu_case()
    case.gpu["node1"]["gpus"][0]["fabric_health"] = health
    assert said(case) == want


@pytest.mark.parametrize(
    ("action", "words"),
    [("None", ""), ("N/A", ""), ("Reset", "--gpu-reset"), ("Reboot", "Reboot the node"), ("Drain and Reset", "End all"),
     ("Drain P2P", "End all"), ("Recover IMEX Domain", "nvidia-imex"), ("Something New", "nvidia-smi -q")],
)  # fmt: skip
def test_a_gpu_that_waits_for_a_recovery(action: str, words: str) -> None:
    case = gpu_case()
    case.gpu["node1"]["gpus"][0]["recovery_action"] = action
    assert said(case) == ([("gpu-recovery", "fail", ("node1",))] if words else [])
    for finding in checks.answers(case, RULES):
        assert isinstance(finding, Finding) and words in finding.remedy and action in finding.evidence["node1"]


def test_cards_without_nvlink_are_not_asked_for_it() -> None:
    case = gpu_case()
    for facts in case.gpu.values():
        for gpu in facts["gpus"]:
            gpu["name"] = "GeForce RTX 4090"
        facts["nvlink"] = []
    assert said(case) == []


@pytest.mark.parametrize(("others", "severity"), [((4, 4), "warn"), ((4, 0), "info")])
def test_a_card_without_a_bridge_is_no_fault_where_no_node_has_one_more(others: tuple[int, int], severity: str) -> None:
    case = gpu_case()
    for host, facts in case.gpu.items():
        pair = (4, 0) if host == "node1" else others
        for number, gpu in enumerate(facts["gpus"]):
            gpu["name"] = "GeForce RTX 3090"
            facts["nvlink"][number].update(active=pair[number % 2], gb_per_s=14.0)
    found = said(case)
    assert found and {(each[0], each[1]) for each in found} == {("gpu-nvlink", severity)}
    assert ("node1" in found[0][2]) and (severity == "info" or found[0][2] == ("node1",))


def test_a_gpu_that_a_container_cannot_reach() -> None:
    case = gpu_case()
    case.gpu["node1"].update(status="gpu_lost", problem="nvidia-smi says: Unknown Error")
    case.fabric["node1"]["container"] = "docker"
    finding = next(each for each in rules_gpu.status(case) if isinstance(each, Finding))
    assert finding.rule == "gpu-lost-from-bus" and "restart the container" in finding.remedy


def test_a_fabric_that_is_set_up_needs_no_manager_in_sight() -> None:
    case = gpu_case()
    for gpu in case.gpu["node1"]["gpus"]:
        gpu["fabric"] = {"state": "Completed", "status": "Success"}
    case.gpu["node1"]["fabric_manager"] = {"nvswitches": 4, "running": False, "version": None}
    assert said(case) == []


def test_a_manager_is_missed_where_it_should_be_seen_and_can_run() -> None:
    case = gpu_case()
    put(case.gpu["node2"], "fabric_manager", {"nvswitches": 4, "running": False, "version": None})
    case.fabric["node2"]["container"] = "docker"
    assert said(case) == []
    case.gpu["node2"]["replayed_from"] = "/srv/replay/healthy"
    assert said(case) == [("drv-fabricmanager", "fail", ("node2",))]
    case.gpu["node2"]["status"] = "driver_not_loaded"
    assert said(case) == [("gpu-driver-not-loaded", "fail", ("node2",))]


def test_a_model_whose_capability_nobody_told_is_no_other_model() -> None:
    case = gpu_case()
    for gpu in case.gpu["node3"]["gpus"]:
        gpu["compute_capability"] = None
    assert said(case) == []


def test_a_hot_gpu_is_told_by_what_makes_it_hot() -> None:
    works, slowed = gpu_case(), gpu_case()
    works.gpu["node1"]["gpus"][0].update(temperature_c=84, processes=[{"pid": 7, "type": "C", "memory_mib": 900}])
    assert said(works) == [("gpu-busy-by-other", "warn", ("node1",))]
    slowed.gpu["node2"]["gpus"][0].update(temperature_c=94, throttle_reasons=["sw_thermal_slowdown"])
    assert said(slowed) == [("gpu-throttle", "warn", ("node2",))]


def test_where_pytorch_does_without_gpus_their_compute_mode_is_nothing() -> None:
    case = gpu_case()
    case.gpu["node1"]["gpus"][0]["compute_mode"] = "Prohibited"
    for host in NAMES:
        case.stack[host]["torch"].update(version="2.13.0+cpu", cuda=None)
    assert said(case) == []


def test_thresholds_are_heeded() -> None:
    hot = gpu_case()
    hot.gpu["node1"]["gpus"][0]["temperature_c"] = 80
    assert said(Case(plan=hot.plan, gpu=hot.gpu, thresholds={"gpu_temperature_warn_c": 80})) == []
    case = gpu_case()
    case.gpu["node1"]["nvlink"][0]["active"] = 10
    limits = {"nvlink_links": {"A100-SXM": 10}}
    assert said(Case(plan=case.plan, gpu=case.gpu, thresholds=limits)) == []


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("gpud-dmesg-with-xid-119.log", {("gpu-xid", "fail")}),
        ("imbue-doctest-lines.log", {("gpu-xid", "fail"), ("gpu-xid", "info")}),
        ("nvsentinel-155-fallen-off-bus-without-xid.log", {("gpu-xid", "fail")}),
        ("mattshma-133-nouveau-owns-device.log", set()),
    ],
)
def test_recorded_kernel_logs(name: str, want: set[tuple[str, str]]) -> None:
    case = gpu_case()
    case.gpu["node2"]["xids"] = list(parse(recorded("dmesg_xid", name)).events)
    found = said(case)
    assert {(rule, severity) for rule, severity, _hosts in found} == want
    assert all(hosts == ("node2",) for diagnosis_rule, _severity, hosts in found)


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("k8stestinfra-hw-h100.xml", set()),
        ("k8stestinfra-hw-l40s.xml", set()),
        ("k8stestinfra-mock-a100-healthy.xml", set()),
        ("telegraf-rtx-3080-v12.xml", set()),
        ("telegraf-a10g.xml", {("gpu-persistence", "info")}),
        ("telegraf-dual_a5000-v13.xml", {("gpu-busy-by-other", "warn")}),
        ("telegraf-a100-sxm4-v12.xml", {("gpu-mig", "fail"), ("gpu-persistence", "info")}),
        ("k8stestinfra-mock-gb200-ecc-injected.xml", {("gpu-ecc", "fail"), ("gpu-row-remap", "fail")}),
    ],
)
def test_recorded_machines(name: str, want: set[tuple[str, str]]) -> None:
    log = parse_xml(recorded("nvidia_smi_xml", name))
    gpus = [{**gpu, "index": index} for index, gpu in enumerate(log.gpus)]
    facts = {"status": "ok", "driver_version": log.driver_version, "gpus": gpus, "nvlink": None, "xids": []}
    plan = {"order": ["node1"], "nodes": {"node1": {"slots": len(gpus)}}, "precision": "fp16"}
    found = said(Case(plan=plan, gpu={"node1": facts}))
    assert {(rule, severity) for rule, severity, _hosts in found} == want


def test_of_two_models_as_common_as_each_other_the_older_stands_out() -> None:
    case = gpu_case(2)
    for gpu in case.gpu["node1"]["gpus"]:
        gpu.update(WEAK)
    case.gpu["node1"]["nvlink"] = None
    case.plan["precision"] = "fp16"
    assert said(case) == [("nccl-mixed-gpu", "warn", ("node1",))]


PLACES = sorted(paths(gpu_facts(1)))


@settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PLACES), ODD)
def test_odd_facts_break_no_rule(place: str, value: t.Any) -> None:
    case = gpu_case()
    put(case.gpu["node1"], place, value)
    assert isinstance(checks.answers(case, RULES), list)


HUNG = [rule for rule in RULES if "gpu-hung" in rule.ids]


def hung(**load):
    case = gpu_case()
    case.gpu["node2"].update(status="hung", problem="nvidia-smi did not answer within 30.0 s and was killed")
    case = dataclasses.replace(case, load={"node2": {"mesh": load}} if load else {})
    return [answer for rule in HUNG for answer in rule.judge(case)]


@pytest.mark.parametrize("load", [{}, {"load1": 9.0, "cores": 8}, {"load1": 16.0, "cores": 8}, {"stolen": 0.3}])
def test_a_driver_that_hangs_is_named_also_on_a_node_that_trains(load):
    assert [(answer.rule, answer.severity) for answer in hung(**load)] == [("gpu-hung", "fail")]


@pytest.mark.parametrize("load", [{"load1": 90.0, "cores": 8}, {"load1": 0.5, "cores": 8, "throttled": 0.4}])
def test_a_driver_that_answers_late_on_a_busy_node_is_not_tested(load):
    (answer,) = hung(**load)
    assert (answer.rule, answer.hosts) == ("gpu-hung", ("node2",)) and isinstance(answer, Untested)
