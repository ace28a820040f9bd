# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on logs of fabric managers and of IMEX: which node needs them, what is the cause, and what is over."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import REGISTRY, Case, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import _fabric_words, fabric_logs, gpu_health

PLAN = {
    "order": ["node1", "node2"],
    "nodes": {
        f"node{number}": {"name": f"node{number}", "address": f"10.0.0.1{number}", "hostname": f"gpu{number}"}
        for number in (1, 2)
    },
}
OWN = "[Jul 23 2024 07:53:55] [ERROR] [tid 841] {}\n"
MISMATCH = (
    "fabric manager NVIDIA GPU driver interface version 550.127.05 don't match with driver version 550.120. Please"
)
NOTHING = "request to query NVSwitch device information from NVSwitch driver failed with error: [NV_WARN_NOTHING_TO_DO]"
DEAD = "○ nvidia-{}.service - NVIDIA service\n     Active: {}\n"
UP, WAITS = {"state": "Completed", "status": "Success"}, {"state": "In Progress", "status": "N/A"}


def facts(name: str, fabric: dict[str, t.Any] | None = None, nvswitches: int = 0) -> dict[str, t.Any]:
    manager = {"nvswitches": nvswitches, "running": None, "version": None} if nvswitches else None
    gpu = {"index": 0, "name": name, "fabric": fabric or {"state": None, "status": None}}
    return {"node1": {"status": "ok", "driver_version": "550.120", "gpus": [gpu], "fabric_manager": manager}}


def told(text: str, gpu: dict[str, t.Any] | None = None) -> list[tuple[str, str, tuple[str, ...]]]:
    files = {"node1": {"files": [{"kind": "fabric_log", "path": "/tmp/fm.log", "text": text}]}}
    case = Case(plan=PLAN, user=files, gpu=gpu or {})
    modules = (fabric_logs.__name__, gpu_health.fabric_manager.__module__)
    rules = [
        each
        for each in REGISTRY
        if each.judge.__module__ == modules[0]
        or (each.judge.__module__ == modules[1] and "fabric" in each.judge.__name__)
    ]
    found = engine.merged((answer for each in rules for answer in each.judge(case)), case.order)
    return [(each.rule, each.severity, each.hosts) for each in found if isinstance(each, Finding)]


HERE = ("node1",)


@pytest.mark.parametrize(
    ("text", "gpu", "expected"),
    [
        (OWN.format(MISMATCH), None, [("drv-fabricmanager", "fail", HERE)]),
        (OWN.format(MISMATCH), facts("H100", WAITS, 4), [("drv-fabricmanager", "fail", HERE)]),
        (OWN.format(MISMATCH), facts("H100", UP, 4), [("drv-fabricmanager", "info", HERE)]),
        (OWN.format(NOTHING), facts("GeForce RTX 4090"), [("drv-fabricmanager", "info", HERE)]),
        (OWN.format(NOTHING), facts("B200", WAITS), [("drv-fabricmanager", "fail", HERE)]),
        (DEAD.format("fabricmanager", "inactive (dead)"), facts("GeForce RTX 4090"), []),
        (DEAD.format("fabricmanager", "inactive (dead)"), None, [("drv-fabricmanager", "warn", HERE)]),
        (DEAD.format("fabricmanager", "failed (Result: exit-code)"), None, [("drv-fabricmanager", "fail", HERE)]),
        (
            DEAD.format("fabricmanager", "failed (Result: exit-code)"),
            facts("H100", WAITS, 4),
            [("drv-fabricmanager", "fail", HERE)],
        ),
        (DEAD.format("imex", "inactive (dead)"), facts("H100", UP, 4), []),
        (DEAD.format("imex", "inactive (dead)"), facts("GB200", UP), [("gpu-imex", "fail", HERE)]),
        (OWN.format("detected NVSwitch fatal error 20034 on fid 0 port 33"), None, [("gpu-xid", "fail", HERE)]),
        (OWN.format("detected NVSwitch non-fatal error 12028 on fid 0 port 61"), None, [("gpu-xid", "info", HERE)]),
        (OWN.format("Fabric Manager detected GPU NVL Non Fatal error on :"), None, [("gpu-nvlink", "warn", HERE)]),
        (OWN.format("Trunk port failure detected for switch GUID 0xb0"), None, [("gpu-nvlink", "fail", HERE)]),
        (
            OWN.format("failed to find the GPU handle 5 in the multicast team request"),
            None,
            [("drv-fabricmanager", "info", HERE)],
        ),
        (
            "Node #0   - 10.0.0.11    - READY\nNode #1   - 10.0.0.12    - UNAVAILABLE\n",
            None,
            [("gpu-imex", "fail", ("node2",))],
        ),
        (
            "IMEX Log initializing at: 1\n" + OWN.format("Failed to bind to port 50005: Address already in use"),
            None,
            [("gpu-imex", "warn", HERE)],
        ),
        ("gpu1: READY\ngpu2: UNAVAILABLE\n", None, [("gpu-imex", "fail", ("node2",))]),
        ("", None, []),
    ],
)
def test_findings(text: str, gpu: dict[str, t.Any] | None, expected: list[tuple[str, str, tuple[str, ...]]]) -> None:
    assert told(text, gpu) == expected


def test_every_kind_has_words() -> None:
    assert set(_fabric_words.MANAGER) | set(_fabric_words.IMEX) == set(_fabric_words.RANKS)
    names = {"own": "1", "driver": "1", "branch": "1", "item": "X", "state": "down", "version": "1"}
    for words in (*_fabric_words.MANAGER.values(), *_fabric_words.IMEX.values()):
        assert words.cause.format(**names) and words.remedy.format(**names)


def test_the_version_to_install_is_the_drivers() -> None:
    files = {"node1": {"files": [{"kind": "fabric_log", "path": "/tmp/fm.log", "text": OWN.format(MISMATCH)}]}}
    (finding,) = fabric_logs.services(Case(plan=PLAN, user=files))
    assert isinstance(finding, Finding) and finding.remedy.startswith("Reboot the node where modinfo")
    older = MISMATCH.replace("550.127.05", "550.90.07")
    files = {"node1": {"files": [{"kind": "fabric_log", "path": "/tmp/fm.log", "text": OWN.format(older)}]}}
    (finding,) = fabric_logs.services(Case(plan=PLAN, user=files))
    assert isinstance(finding, Finding) and finding.remedy.startswith("apt install nvidia-fabricmanager-550=550.120-1")


@pytest.mark.parametrize(
    ("virtual", "fabric", "nvswitches", "hers"),
    [("kvm", WAITS, 0, True), ("amazon", WAITS, 4, False), (None, WAITS, 0, False), ("kvm", UP, 0, False)],
)
def test_a_virtual_machine_without_the_switches_asks_its_host(
    virtual: str | None, fabric: dict[str, t.Any], nvswitches: int, hers: bool
) -> None:
    files = {"node1": {"files": [{"kind": "fabric_log", "path": "/tmp/fm.log", "text": OWN.format(NOTHING)}]}}
    gpu = facts("H100", fabric, nvswitches)
    case = Case(plan=PLAN, user=files, gpu=gpu, fabric={"node1": {"virtual": virtual}})
    found = [each for each in fabric_logs.services(case) if isinstance(each, Finding)]
    assert [each.remedy.rstrip(".") == _fabric_words.GUEST.remedy for each in found] == [hers]
    states = Case(plan=PLAN, gpu=gpu, fabric={"node1": {"virtual": virtual}})
    said = [each.remedy for each in gpu_health.fabric_manager(states) if isinstance(each, Finding)]
    assert said == ([] if fabric is UP else said[:1]) and all(("host" in each) == hers for each in said)
