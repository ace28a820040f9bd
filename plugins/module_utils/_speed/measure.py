# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that measures, run by the Python that has torch; the standard library and torch, nothing else.

Its text comes over standard input. What was measured stands in lines of JSON behind :data:`MARK`, one for each GPU, so
that a time limit costs only what was not measured yet.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import threading
import time
import typing as t

MARK = "TRAINMESH-SPEED "
MATRIX_SECONDS = 2.0
LONGEST_SECONDS = 5.0  # of matrix products while nvidia-smi has not answered yet
WARM_SECONDS = 0.5
ROUNDS = 3
COPY_SECONDS = 0.3
MIB = 1024 * 1024

Torch = t.Any
Timed = t.Callable[[int], float]


def say(**event: t.Any) -> None:
    """One line in one write, whatever libraries print meanwhile."""
    os.write(1, ("\n" + MARK + json.dumps(event) + "\n").encode())


def main(spec: dict[str, t.Any]) -> None:
    """Measure what the spec names, and end at once: torch's own shutdown may hang."""
    try:
        torch = importlib.import_module("torch")
    except BaseException as problem:
        say(e="error", error=f"import torch: {words(problem)}")
        os._exit(0)
    say(e="torch", version=str(torch.__version__))
    if spec["device"] == "cpu":
        cpu(torch)
    else:
        gpus(torch, spec)
    os._exit(0)


def words(problem: BaseException) -> str:
    """An error in one line."""
    lines = str(problem).strip().splitlines() or [""]
    return f"{type(problem).__name__}: {lines[0][:300]}"


def attempt(found: dict[str, t.Any], name: str, measure: t.Callable[[], t.Any]) -> None:
    """Keep a measurement, or why there is none."""
    try:
        found[name] = measure()
    except Exception as problem:
        found["errors"][name] = words(problem)


def rate(once: Timed, seconds: float, warm: float) -> float:
    """The median seconds of one repetition, from batches of about 50 ms; ``once(n)`` is the seconds of n."""
    count, rounds, until = 1, 0, time.monotonic() + warm
    while rounds < ROUNDS or time.monotonic() < until:  # the first one loads libraries, and tells no time
        rounds, taken = rounds + 1, once(count)
        count = max(1, min(10 * count, int(count * 0.05 / max(taken, 1e-6))))
    batches, until = [once(count) / count], time.monotonic() + seconds
    while time.monotonic() < until:
        batches.append(once(count) / count)
    return statistics.median(batches)


# --- processors


def cpu(torch: Torch) -> None:
    """A matrix product and a copy of memory, on all processors that this process may use; told after each."""
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    found: dict[str, t.Any] = {"threads": threads, "errors": {}}
    attempt(found, "gflops", lambda: cpu_product(torch, 2048 if threads > 16 else 1024))
    say(e="cpu", **found)
    attempt(found, "memory_gbps", lambda: cpu_copy(torch))
    say(e="cpu", **found)


def clocked(call: t.Callable[[], t.Any]) -> Timed:
    """Seconds of so many calls, by the clock."""

    def once(count: int) -> float:
        started = time.perf_counter()
        for _each in range(count):
            call()
        return time.perf_counter() - started

    return once


def cpu_product(torch: Torch, size: int) -> float:
    """GFLOP/s in fp32."""
    first, second, result = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    seconds = rate(clocked(lambda: torch.matmul(first, second, out=result)), MATRIX_SECONDS, WARM_SECONDS)
    return round(2 * size**3 / seconds / 1e9, 2)


def cpu_copy(torch: Torch) -> float:
    """GB/s, read and written bytes together; more than any cache holds where there is so much memory."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = max(16 * MIB, min(256 * MIB, free // 8))
    source = torch.ones(size // 4)
    target = torch.zeros(size // 4)
    seconds = rate(clocked(lambda: target.copy_(source)), 2 * COPY_SECONDS, COPY_SECONDS)
    return round(2 * size / seconds / 1e9, 3)


# --- GPUs


def gpus(torch: Torch, spec: dict[str, t.Any]) -> None:
    """One GPU after the other: together they would share power, root complexes and memory, and none be comparable."""
    torch.backends.cuda.matmul.allow_tf32 = False
    count = torch.cuda.device_count()
    for index, asked in enumerate(spec["gpus"]):
        if index >= count:
            say(e="gpu", uuid=asked["uuid"], errors={"all": f"PyTorch sees {count} of {len(spec['gpus'])} GPUs"})
            continue
        say(e="gpu", uuid=asked["uuid"], **gpu(torch, index, asked, spec))


def gpu(torch: Torch, index: int, asked: dict[str, t.Any], spec: dict[str, t.Any]) -> dict[str, t.Any]:
    """All that is measured of one GPU; it is the first thing that fails where the GPU does."""
    found: dict[str, t.Any] = {"errors": {}, "near": move_near(asked["bus_id"])}
    try:
        torch.cuda.set_device(index)
        free = torch.cuda.mem_get_info(index)[0]
    except Exception as problem:
        return {**found, "errors": {"all": words(problem)}}
    sampler = Sampler([*spec["smi"], "-i", asked["uuid"]])
    attempt(found, "tflops", lambda: product(torch, spec["precision"], free, sampler))
    found["sample"] = sampler.text
    attempt(found, "memory_gbps", lambda: memory_copy(torch, free))
    attempt(found, "host_gbps", lambda: host_copy(torch, free))
    peers: dict[int, float] = {}
    attempt(found, "peers", lambda: peers.update(peer_copies(torch, index)))
    found.pop("peers", None)
    if peers:  # the best wired one: over NVLink where there is any, and a bad partner is not this GPU's fault
        best = max(peers, key=lambda other: peers[other])
        found.update(peer_gbps=peers[best], peer=spec["gpus"][best]["uuid"])
    torch.cuda.empty_cache()
    return found


def move_near(bus_id: str) -> bool | None:
    """Go to the processors beside the GPU, where its copies start; False when none of those may be used."""
    place = f"/sys/bus/pci/devices/{bus_id[-12:]}/local_cpulist"
    allowed = set(range(os.cpu_count() or 1))
    try:
        with open(place, encoding="ascii") as stream:
            local = cpu_list(stream.read())
    except (OSError, ValueError):
        return None
    try:
        os.sched_setaffinity(0, local & allowed)
    except OSError:
        return False
    return bool(os.sched_getaffinity(0) & local)


def cpu_list(text: str) -> set[int]:
    """``0-3,8`` as numbers."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _dash, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


class Sampler:
    """nvidia-smi, asked once while the GPU works; what never answers is left behind."""

    def __init__(self, command: list[str]) -> None:
        self.command, self.text = command, ""
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to ask."""
        if self.thread is None:
            self.thread = threading.Thread(target=self.ask, daemon=True)
            self.thread.start()

    def ask(self) -> None:
        """The answer; none is no fault of the GPU's speed."""
        try:
            done = subprocess.run(self.command, capture_output=True, timeout=LONGEST_SECONDS, check=False)
            self.text = done.stdout.decode("utf-8", "replace")
        except (OSError, subprocess.SubprocessError):
            self.text = ""

    def waits(self) -> bool:
        """Whether the answer is still to come."""
        return self.thread is not None and self.thread.is_alive()


def on_gpu(torch: Torch, call: t.Callable[[], t.Any]) -> Timed:
    """Seconds of so many calls, by the GPU's own clock."""

    def once(count: int) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _each in range(count):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000

    return once


def product(torch: Torch, precision: str, free: int, sampler: Sampler) -> float:
    """TFLOP/s of a square matrix product; random numbers, as zeros need less power."""
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    size = 8192 if free > 2048 * MIB and precision != "fp32" else 4096
    first = torch.randn(size, size, device="cuda", dtype=torch.float32).to(kind)
    second = torch.randn(size, size, device="cuda", dtype=torch.float32).to(kind)
    result = torch.empty(size, size, device="cuda", dtype=kind)
    once = on_gpu(torch, lambda: torch.matmul(first, second, out=result))
    rate(once, 0, WARM_SECONDS)
    until = time.monotonic() + LONGEST_SECONDS
    sampler.start()
    seconds = rate(once, MATRIX_SECONDS, 0)
    while sampler.waits() and time.monotonic() < until:
        once(10)
    return round(2 * size**3 / seconds / 1e12, 2)


def memory_copy(torch: Torch, free: int) -> float:
    """GB/s within the GPU, read and written bytes together."""
    size = max(16 * MIB, min(1024 * MIB, free // 4))
    source = torch.ones(size, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    seconds = rate(on_gpu(torch, lambda: target.copy_(source)), COPY_SECONDS, COPY_SECONDS / 3)
    return round(2 * size / seconds / 1e9, 1)


def host_copy(torch: Torch, free: int) -> float:
    """GB/s from pinned memory of the host to the GPU."""
    size = max(16 * MIB, min(256 * MIB, free // 4))
    source = torch.ones(size, dtype=torch.uint8).pin_memory()
    target = torch.empty(size, device="cuda", dtype=torch.uint8)
    once = on_gpu(torch, lambda: target.copy_(source, non_blocking=True))
    return round(size / rate(once, COPY_SECONDS, COPY_SECONDS / 3) / 1e9, 2)


def peer_copies(torch: Torch, index: int) -> dict[int, float]:
    """GB/s to each GPU that this one reaches without the host."""
    others = [other for other in range(torch.cuda.device_count()) if other != index]
    reached = [other for other in others if torch.cuda.can_device_access_peer(index, other)]
    return {other: peer_copy(torch, index, other) for other in reached}


def peer_copy(torch: Torch, index: int, other: int) -> float:
    """GB/s from this GPU to another one."""
    size = 256 * MIB
    source = torch.ones(size, device=f"cuda:{index}", dtype=torch.uint8)
    target = torch.empty(size, device=f"cuda:{other}", dtype=torch.uint8)

    def once(count: int) -> float:
        torch.cuda.synchronize(other)
        started = time.perf_counter()
        for _each in range(count):
            target.copy_(source, non_blocking=True)
        torch.cuda.synchronize(index)
        torch.cuda.synchronize(other)
        return time.perf_counter() - started

    return round(size / rate(once, COPY_SECONDS / 3, COPY_SECONDS / 6) / 1e9, 2)
