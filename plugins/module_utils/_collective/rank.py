# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that each rank of the collective probe runs; the standard library and torch, nothing else.

A launcher starts it once for each rank (``--spec JSON``). Through ssh its text comes over standard
input and :func:`guard` starts the ranks of one node; what then stays open of standard input is the
line that they live on. Every rank says where it is in lines of JSON behind :data:`MARK`.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import select
import signal
import socket
import statistics
import sys
import threading
import time
import typing as t

MARK = "TRAINMESH-COLLECTIVE "
STEPS = 20  # own work and a small sum, to see which rank is slow by itself
BATCH_SECONDS = 0.5  # for all repetitions of one size
LONGEST_SECONDS = 4.0  # a size that would take longer than this once is left out, with all above it
REPETITIONS = 20


def say(**event: t.Any) -> None:
    """One line in one write, so that the lines of ranks do not run into each other."""
    os.write(1, (MARK + json.dumps(event) + "\n").encode())


def main() -> None:
    """One rank under a launcher."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="JSON: sizes, backend, limit")
    work(json.loads(parser.parse_args().spec))


def guard(spec: dict[str, t.Any]) -> None:
    """Start the ranks of this node; kill them when standard input ends or the limit is over.

    A rank that is stopped or stuck cannot end itself, and without a terminal nothing else would.
    """
    children: dict[int, int] = {}
    for local in range(spec["slots"]):
        pid = os.fork()
        if pid == 0:
            become_rank(spec, local)
        children[pid] = spec["first"] + local
    deadline = time.monotonic() + spec["limit"]
    while children:
        readable, _writable, _failed = select.select([0], [], [], 0.1)
        if time.monotonic() > deadline or (readable and not os.read(0, 65536)):
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            break
        for pid in list(children):
            reap(children, pid)
    os._exit(0)


def become_rank(spec: dict[str, t.Any], local: int) -> None:
    """In the child: what a launcher would have set, then the work."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(spec["env"])
    os.environ.update(
        RANK=str(spec["first"] + local),
        LOCAL_RANK=str(local),
        WORLD_SIZE=str(spec["world"]),
        MASTER_ADDR=spec["master"],
        MASTER_PORT=str(spec["port"]),
    )
    work(spec)


def reap(children: dict[int, int], pid: int) -> None:
    """Say how a rank has ended, if it has."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        rank = children.pop(pid)
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        say(e="exit", rank=rank, signal=killed, status=None if killed else os.WEXITSTATUS(status))


def work(spec: dict[str, t.Any]) -> None:
    """Measure, say the result, and end at once: torch's own shutdown may hang or abort."""
    rank = int(os.environ.get("RANK", "-1"))
    host = spec.get("name") or os.environ.get("TRAINMESH_NODE_NAME") or socket.gethostname()
    say(e="up", rank=rank, host=host, pid=os.getpid())
    ender = threading.Timer(spec["limit"] + 5, os._exit, (1,))
    ender.daemon = True
    ender.start()
    found: dict[str, t.Any] = {"own": None, "rows": [], "error": None}
    try:
        measure(spec, rank, found)
    except BaseException as problem:  # whatever it was, the line must say it
        lines = str(problem).strip().splitlines() or [""]
        found["error"] = f"{type(problem).__name__}: {' | '.join(lines[:3])[:600]}"
    say(e="end", rank=rank, host=host, **found)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if found["error"] else 0)


def measure(spec: dict[str, t.Any], rank: int, found: dict[str, t.Any]) -> None:
    """Join the group, then the steps, then the sweep."""
    os.environ.setdefault("NCCL_DEBUG", "INFO")
    torch: t.Any = importlib.import_module("torch")
    group = torch.distributed
    backend = spec["backend"]
    if backend == "auto":
        backend = "nccl" if torch.cuda.is_available() else "gloo"
    device = torch.device("cpu")
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        device = torch.device("cuda", torch.cuda.current_device())
    else:
        torch.set_num_threads(1)
    say(e="torch", rank=rank, version=str(torch.__version__), backend=backend)
    group.init_process_group(backend, timeout=datetime.timedelta(seconds=spec["limit"]))
    say(e="group", rank=rank, backend=backend, world=group.get_world_size())
    check(torch, device)
    found["own"] = own_times(torch, device, rank)
    sizes = spec["sizes"] or default_sizes(backend)
    sweep(torch, device, rank, sizes, found["rows"])
    found["complete"] = len(found["rows"]) == len(sizes)
    group.barrier()


def default_sizes(backend: str) -> list[int]:
    """Bytes: 8 B to 1 GiB between GPUs, 1 KiB to 4 MiB between CPUs."""
    return (
        [8 << shift for shift in range(0, 28, 3)] if backend == "nccl" else [1024 << shift for shift in range(0, 13, 2)]
    )


def synchronize(torch: t.Any, device: t.Any) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def check(torch: t.Any, device: t.Any) -> None:
    """The sum over all ranks must be right."""
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    value = torch.full((257,), float(rank + 1), device=device)
    torch.distributed.all_reduce(value)
    if not bool((value == world * (world + 1) / 2).all()):
        raise RuntimeError(f"the sum over {world} ranks is {float(value[0])} instead of {world * (world + 1) / 2}")


def own_times(torch: t.Any, device: t.Any, rank: int) -> float:
    """Median seconds of a fixed piece of own work between small sums; the others' slowness is not in it."""
    side, count = (2048, 4) if device.type == "cuda" else (256, 24)  # some milliseconds on either
    matrix = torch.ones((side, side), device=device) / side
    small = torch.zeros(256, device=device)
    times = []
    for step in range(STEPS):
        started = time.perf_counter()
        for _each in range(count):
            matrix = torch.mm(matrix, matrix)
        synchronize(torch, device)
        times.append(time.perf_counter() - started)
        say(e="ready", rank=rank, n=step)
        torch.distributed.all_reduce(small)
        synchronize(torch, device)
        say(e="done", rank=rank, n=step)
    return round(statistics.median(times[2:]), 6)


def sweep(torch: t.Any, device: t.Any, rank: int, sizes: list[int], rows: list[dict[str, t.Any]]) -> None:
    """Fill ``rows`` with bytes and seconds; rank 0 says how often each size is repeated, so that all agree."""
    expected = 0.0
    for number, size in enumerate(sizes):
        count = torch.tensor([repetitions(expected)], device=device)
        torch.distributed.broadcast(count, 0)
        if int(count) == 0:
            return
        data = torch.zeros(max(1, size // 4), device=device)
        torch.distributed.all_reduce(data)
        synchronize(torch, device)
        say(e="ready", rank=rank, n=STEPS + number)
        started = time.perf_counter()
        for _each in range(int(count)):
            torch.distributed.all_reduce(data)
        synchronize(torch, device)
        seconds = (time.perf_counter() - started) / int(count)
        say(e="done", rank=rank, n=STEPS + number)
        rows.append({"bytes": data.numel() * 4, "seconds": round(seconds, 9)})
        larger = sizes[number + 1] / size if number + 1 < len(sizes) else 1
        expected = seconds * larger


def repetitions(expected: float) -> int:
    """How often a size that will take ``expected`` seconds is repeated; 0: not at all."""
    if expected > LONGEST_SECONDS:
        return 0
    return max(1, min(REPETITIONS, int(BATCH_SECONDS / max(expected, 1e-6))))


if __name__ == "__main__":
    main()
