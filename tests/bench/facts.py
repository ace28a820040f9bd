# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one pass of the three fact modules costs beside ``setup``, on this machine.

``python tests/bench/facts.py [REPETITIONS]`` runs each module as a process of its own, as a node does, in turn, and
prints the medians of wall and CPU seconds and their ratio to ``setup``. Compare the ratios: the seconds are those of
this machine.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = "ansible_collections.trainmesh.cluster.plugins.modules"
MODULES: dict[str, tuple[str, dict[str, t.Any]]] = {
    "setup all": ("ansible.modules.setup", {}),
    "setup hardware, network, virtual": (
        "ansible.modules.setup",
        {"gather_subset": ["!all", "!min", "hardware", "network", "virtual"]},
    ),
    "setup distribution, pkg_mgr, service_mgr": (
        "ansible.modules.setup",
        {"gather_subset": ["!all", "!min", "distribution", "pkg_mgr", "service_mgr"]},
    ),
    "ping": ("ansible.modules.ping", {}),
    "gpu_facts": (f"{OURS}.gpu_facts", {}),
    "fabric_facts": (f"{OURS}.fabric_facts", {}),
    "stack_facts": (f"{OURS}.stack_facts", {"python": sys.executable}),
}


def once(module: str, arguments: dict[str, t.Any]) -> tuple[float, float]:
    """Wall and CPU seconds (children included) of one run."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as stream:
        json.dump({"ANSIBLE_MODULE_ARGS": arguments}, stream)
        stream.flush()
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
        command = [sys.executable, "-m", module, stream.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure in turns, so that a busy moment hits all alike, and print the table."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in MODULES}
    for _turn in range(repetitions):
        for name, (module, arguments) in MODULES.items():
            samples[name].append(once(module, arguments))
    medians = {name: tuple(statistics.median(column) for column in zip(*rows)) for name, rows in samples.items()}
    three = ("gpu_facts", "fabric_facts", "stack_facts")
    medians["the three together"] = tuple(sum(medians[name][column] for name in three) for column in (0, 1))
    base = medians["setup all"]
    print(f"{'':42}   wall s    CPU s   wall / setup all   CPU / setup all")
    for name, (wall, cpu) in medians.items():
        print(f"{name:42} {wall:8.3f} {cpu:8.3f} {wall / base[0]:18.2f} {cpu / base[1]:17.2f}")


if __name__ == "__main__":
    main()
