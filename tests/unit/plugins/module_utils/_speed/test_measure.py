# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that measures, with a torch that counts instead of computing."""

from __future__ import annotations

import contextlib
import inspect
import json
import subprocess
import sys
import time
import types
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._speed import measure, probe

MATRIX_S, COPY_S = 0.002, 0.001


class Tensor:
    """Remembers nothing but its size and place."""

    def __init__(self, clock: list[float], size: int, device: str) -> None:
        self.clock, self.size, self.device = clock, size, device

    def to(self, _kind: str) -> Tensor:
        return self

    def pin_memory(self) -> Tensor:
        return self

    def copy_(self, source: Tensor, non_blocking: bool = False) -> None:
        del non_blocking
        self.clock[0] += COPY_S * (10 if source.device == "cpu" else 1)


def fake_torch(count: int, broken: t.Collection[int] = (), apart: t.Collection[tuple[int, int]] = ()) -> t.Any:
    clock = [0.0]
    current = [0]

    def made(*size: int, device: str = "cpu", dtype: str = "") -> Tensor:
        del dtype
        return Tensor(clock, size[0], device)

    def matmul(_first: Tensor, _second: Tensor, out: Tensor) -> None:
        del out
        if current[0] in broken:
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with TORCH_USE_CUDA_DSA")
        clock[0] += MATRIX_S

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.at = 0.0

        def record(self) -> None:
            self.at = clock[0]

        def synchronize(self) -> None:
            time.sleep(0.001)

        def elapsed_time(self, end: Event) -> float:
            return (end.at - self.at) * 1000

    cuda = types.SimpleNamespace(
        device_count=lambda: count,
        set_device=lambda index: current.__setitem__(0, index),
        mem_get_info=lambda _index: (64 * 2**30, 80 * 2**30),
        can_device_access_peer=lambda one, other: (one, other) not in apart,
        empty_cache=lambda: None,
        synchronize=lambda _index: time.sleep(0.0001),
        Event=Event,
    )
    backends = types.SimpleNamespace(cuda=types.SimpleNamespace(matmul=types.SimpleNamespace(allow_tf32=True)))
    return types.SimpleNamespace(
        cuda=cuda, backends=backends, matmul=matmul, randn=made, empty=made, ones=made,
        empty_like=lambda like: Tensor(clock, like.size, like.device),
        bfloat16="bf16", float16="fp16", float32="fp32", uint8="uint8",
    )  # fmt: skip


@pytest.fixture
def said(monkeypatch) -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = []
    monkeypatch.setattr(measure, "say", lambda **event: found.append(event))
    for name in ("MATRIX_SECONDS", "WARM_SECONDS", "COPY_SECONDS"):
        monkeypatch.setattr(measure, name, 0.02)
    monkeypatch.setattr(measure, "move_near", lambda _bus: True)
    return found


def spec(count: int, smi: str = "echo") -> dict[str, t.Any]:
    gpus = [{"uuid": f"GPU-{number}", "bus_id": f"00000000:0{number}:00.0"} for number in range(count)]
    return {"device": "gpu", "precision": "bf16", "smi": [smi, "state", "of"], "gpus": gpus}


def test_each_gpu_by_its_own_clock_and_its_state_meanwhile(said):
    measure.gpus(fake_torch(2), spec(2))
    first, second = said
    assert first["tflops"] == pytest.approx(2 * 8192**3 / MATRIX_S / 1e12, rel=0.01)
    assert first["memory_gbps"] == pytest.approx(2 * 2**30 / COPY_S / 1e9, rel=0.01)
    assert first["host_gbps"] == pytest.approx(2**28 / (10 * COPY_S) / 1e9, rel=0.01)
    assert (first["sample"], first["errors"], first["near"]) == ("state of -i GPU-0\n", {}, True)
    assert (first["peer"], second["peer"]) == ("GPU-1", "GPU-0")


def test_a_gpu_that_fails_leaves_the_others_their_numbers(said):
    measure.gpus(fake_torch(2, broken=[0], apart=[(0, 1), (1, 0)]), spec(3))
    broken, sound, unseen = said
    assert broken["errors"] == {"tflops": "RuntimeError: CUDA error: uncorrectable ECC error encountered"}
    assert sound["tflops"] > 0 and "peer" not in sound
    assert unseen["errors"] == {"all": "PyTorch sees 2 of 3 GPUs"}


def test_processors_are_told_after_each_measurement(said, monkeypatch):
    torch = fake_torch(0)
    torch.set_num_threads, torch.zeros = [].append, torch.ones
    monkeypatch.setattr(measure.os, "sysconf", lambda _name: 65536)
    measure.cpu(torch)
    first, last = said
    assert first["gflops"] == last["gflops"] > 0 and last["memory_gbps"] > 0
    assert ("memory_gbps" in first, last["errors"], last["threads"] > 0) == (False, {}, True)


def test_an_nvidia_smi_that_is_not_there_costs_the_state_only(said):
    measure.gpus(fake_torch(1), spec(1, smi="/nonexistent/nvidia-smi"))
    assert (said[0]["sample"], said[0]["errors"]) == ("", {}) and said[0]["tflops"] > 0


def test_batches_grow_and_the_median_ignores_one_that_was_held_up(monkeypatch):
    counts: list[int] = []

    def once(count: int) -> float:
        counts.append(count)
        return {1: 3.0, 6: 9.0}.get(len(counts), 0.001 * count)

    ticks = iter(range(100))
    monkeypatch.setattr(measure.time, "monotonic", lambda: next(ticks))
    assert measure.rate(once, 5, 0) == pytest.approx(0.001)
    assert counts == [1, 1, 10, *[50] * 5], "batches of about 50 ms"


@pytest.mark.parametrize(
    ("text", "expected"), [("0-3,8\n", {0, 1, 2, 3, 8}), ("7", {7}), ("", set()), ("0-1,64-65", {0, 1, 64, 65})]
)
def test_lists_of_processors(text, expected):
    assert measure.cpu_list(text) == expected


def test_a_python_without_torch_says_so():
    program = f"{inspect.getsource(measure)}\nmain({{'device': 'cpu'}})\n"
    words = [sys.executable, "-I", "-S", "-"]
    done = subprocess.run(words, input=program, capture_output=True, text=True, check=True, timeout=60)
    (event,) = probe.events(done.stdout)
    assert event["e"] == "error" and "No module named 'torch'" in event["error"]


def test_lines_stand_alone_whatever_else_is_printed(capfd):
    with contextlib.suppress(OSError):
        print("a library says", end="", flush=True)
    measure.say(e="gpu", uuid="GPU-1")
    text = capfd.readouterr().out + measure.MARK + '{"cut'
    assert probe.events(text) == [{"e": "gpu", "uuid": "GPU-1"}]
    assert json.loads(text.split(measure.MARK)[1]) == {"e": "gpu", "uuid": "GPU-1"}
