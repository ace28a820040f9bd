# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GPUs are loaded, and what becomes of what the program says of them."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._speed import measure, probe

WISH = probe.Wish("/env/bin/python", "gpu", "bf16", 0)


def reading(number: int = 0, **more: t.Any) -> dict[str, t.Any]:
    return {
        "name": "A100-SXM4-40GB", "uuid": f"GPU-{number}", "pci_bus_id": f"00000000:0{number}:00.0",
        "memory_mib": 40960,
        "mig_mode": "Disabled", "compute_mode": "Default", "temperature_c": 61, "fault": None, "computing": 0,
        "pcie": {"gen_current": 4, "gen_max": 4, "width_current": 16, "width_max": 16}, "throttle_reasons": [],
        "used_mib": 3.0, "busy_percent": 0.0, "sm_mhz": 1305.0, "sm_max_mhz": 1410.0, "memory_mhz": 1215.0,
        "memory_max_mhz": 1215.0, "power_w": 390.0, "power_limit_w": 400.0, "power_default_w": 400.0, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, None),
        ({"used_mib": None, "busy_percent": None, "computing": None}, None),
        ({"used_mib": 600.0}, None),
        ({"computing": 2}, "2 processes compute on it"),
        ({"used_mib": 22437.0}, "22437 MiB of its memory are in use"),
        ({"busy_percent": 98.0}, "it is 98 % busy"),
        ({"mig_mode": "Enabled"}, "it is cut into MIG instances"),
        ({"compute_mode": "Prohibited"}, "its compute mode is Prohibited"),
        ({"compute_mode": "Exclusive_Process"}, None),
        ({"fault": "GPU is lost", "computing": 1}, "it answers: GPU is lost"),
        ({"uuid": None}, "it tells no UUID or bus address"),
    ],
)
def test_only_an_idle_gpu_is_loaded(more, why):
    assert probe.not_idle(reading(**more)) == why


@pytest.fixture
def node(monkeypatch):
    """A node with these GPUs, whose program says this: (what it was run with)."""
    calls: list[tuple[list[str], dict[str, t.Any]]] = []

    def make(
        before: t.Sequence[t.Any], said: t.Sequence[t.Any], under: t.Sequence[t.Any] = (), **outcome: t.Any
    ) -> t.Any:
        readings = [list(before), *([each] for each in under)]
        text = "".join(f"\n{measure.MARK}{json.dumps(event)}\n" for event in said)

        def run(argv: list[str], limit: float, **more: t.Any) -> Outcome:
            calls.append((argv, {"limit": limit, **more}))
            base = {"rc": 0, "out": text, "err": "", "timed_out": False, "missing": False, "seconds": 1.0}
            return Outcome(**{**base, **(outcome if argv[0] == WISH.python else {})})

        monkeypatch.setattr(probe, "run", run)
        monkeypatch.setattr(probe, "which", lambda _name: "/usr/bin/nvidia-smi")
        monkeypatch.setattr(probe.smi_reading, "read", lambda _text: readings.pop(0) if readings else [])
        return calls

    return make


def measured(number: int, **more: t.Any) -> dict[str, t.Any]:
    speeds = {
        "tflops": 251.0,
        "memory_gbps": 1300.0,
        "host_gbps": 24.0,
        "peer_gbps": 230.0,
        "peer": "GPU-9",
        "near": True,
    }
    return {"e": "gpu", "uuid": f"GPU-{number}", "sample": "<xml>", "errors": {}, **speeds, **more}


def test_idle_gpus_are_measured_by_their_uuids_and_busy_ones_left_alone(node):
    busy = reading(1, computing=1)
    calls = node([reading(0), busy, reading(2)], [{"e": "torch", "version": "2.13.0"}, measured(0), measured(2)],
                 [reading(0), reading(2, throttle_reasons=["hw_thermal_slowdown"])])  # fmt: skip
    answer = probe.probe(WISH)
    program = calls[1][1]
    assert program["env"] == {"CUDA_VISIBLE_DEVICES": "GPU-0,GPU-2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert program["limit"] == probe.START_SECONDS + 2 * probe.GPU_SECONDS
    assert [gpu["reason"] for gpu in answer["gpus"]] == [None, "1 process compute on it", None]
    assert [gpu["tflops"] for gpu in answer["gpus"]] == [251.0, None, 251.0]
    assert answer["gpus"][2]["under_load"]["throttle_reasons"] == ["hw_thermal_slowdown"]
    assert (answer["torch"], answer["reason"]) == ("2.13.0", None) and answer["load"]["cores"] > 0
    assert "sample" not in answer["gpus"][0], "the answer stays small"


def test_our_time_limit_costs_what_was_not_measured_yet(node):
    node([reading(0), reading(1)], [measured(0)], [reading(0)], rc=None, timed_out=True)
    answer = probe.probe(WISH._replace(limit=30.0))
    assert [gpu["reason"] for gpu in answer["gpus"]] == [None, "not finished within 30 s"]


@pytest.mark.parametrize(
    ("said", "outcome", "why"),
    [
        ([{"e": "error", "error": "import torch: ModuleNotFoundError"}], {}, "import torch: ModuleNotFoundError"),
        ([], {"missing": True, "rc": None, "err": "No such file"}, "/env/bin/python can't be run: No such file"),
        ([], {"rc": -11}, "/env/bin/python ended with status -11"),
        ([], {}, "the program ended before"),
    ],
)
def test_a_program_that_did_not_measure_says_why(node, said, outcome, why):
    node([reading(0)], said, **outcome)
    answer = probe.probe(WISH)
    assert (answer["reason"], answer["gpus"][0]["reason"]) == (why, why)


def test_a_process_that_came_meanwhile_makes_the_numbers_void(node):
    node([reading(0)], [measured(0)], [reading(0, computing=2)])
    assert probe.probe(WISH)["gpus"][0]["reason"] == "another process began to compute on it"


def test_a_gpu_that_fails_as_a_whole_was_not_tested(node):
    node([reading(0)], [{"e": "gpu", "uuid": "GPU-0", "errors": {"all": "RuntimeError: CUDA error: busy"}}])
    gpu = probe.probe(WISH)["gpus"][0]
    assert (gpu["reason"], gpu["errors"]) == ("RuntimeError: CUDA error: busy", {})


def test_without_gpus_nothing_runs(node, monkeypatch):
    calls = node([], [])
    assert probe.probe(WISH)["reason"] == "nvidia-smi lists no GPU"
    monkeypatch.setattr(probe, "which", lambda _name: None)
    assert probe.probe(WISH)["reason"] == "there is no nvidia-smi"
    assert [argv[0] for argv, _more in calls] == ["/usr/bin/nvidia-smi"]


def test_processors_with_what_slowed_them_down(node, monkeypatch):
    node([], [{"e": "torch", "version": "2.13.0"}, {"e": "cpu", "threads": 2, "gflops": 90.5, "memory_gbps": 11.2}])
    counts = iter([3, 8])
    monkeypatch.setattr(probe, "throttle_count", lambda: next(counts))
    answer = probe.probe(WISH._replace(device="cpu"))
    assert {key: answer["cpu"][key] for key in ("threads", "gflops", "memory_gbps", "throttled")} == {
        "threads": 2, "gflops": 90.5, "memory_gbps": 11.2, "throttled": 5,
    }  # fmt: skip
    assert answer["boot"] and answer["gpus"] == []


def test_a_time_limit_leaves_what_was_measured_of_the_processors(node):
    said = [{"e": "cpu", "threads": 2, "gflops": 4.0}, {"e": "cpu", "threads": 2, "gflops": 4.1}]
    node([], said, rc=None, timed_out=True)
    answer = probe.probe(WISH._replace(device="cpu"))
    assert (answer["cpu"]["gflops"], answer["cpu"]["memory_gbps"]) == (4.1, None)
    assert answer["reason"] == "not finished within 120 s"


def test_throttling_by_heat_is_counted_over_all_processors(tmp_path):
    assert probe.throttle_count(str(tmp_path)) is None
    for number in (0, 1):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(f"{number + 4}\n")
    assert probe.throttle_count(str(tmp_path)) == 9
