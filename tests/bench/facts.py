# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fact modules cost on a node beside ``setup``, packed as Ansible sends them.

``python tests/bench/facts.py --via "docker exec -i NODE"`` (or ``--via "ssh root@NODE"``; without it, this machine)
packs each module with ansible-core's own packer, starts the archives on the node in turns, and prints the medians of
wall and CPU seconds, what each took of its children included, and their ratios to ``setup`` with all subsets. Compare
the ratios: the seconds are those of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("ANSIBLE_COLLECTIONS_PATH", str(ROOT / "collections"))

from ansible.executor.module_common import modify_module  # noqa: E402
from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible.plugins.loader import init_plugin_loader, module_loader  # noqa: E402
from ansible.template import Templar  # noqa: E402

SMALL_SETUP = ["!all", "!min", "distribution", "pkg_mgr", "service_mgr"]
BASE = "setup, all subsets"
ONE_START = "node_facts, which is the three in one start"
OURS = ("gpu_facts", "fabric_facts", "stack_facts")

# Runs on the node: each archive from standard input, as Ansible's pipelining does, and what it cost.
METER = """
import json, resource, subprocess, sys, time
asked = json.load(sys.stdin)
for turn in range(asked["turns"]):
    for name, archive in asked["archives"].items():
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run([sys.executable], input=archive.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        good = done.returncode == 0 and b'"ansible_facts"' in done.stdout or name == "ping"
        print(json.dumps([name, wall, cpu, None if good else (done.stdout + done.stderr).decode()[-2000:]]), flush=True)
"""


def modules(python: str) -> dict[str, tuple[str, dict[str, t.Any]]]:
    """What is measured: the heading, the module and its options; ``python`` is that of the environment looked into."""
    return {
        BASE: ("ansible.builtin.setup", {}),
        "setup, only what this collection asks": ("ansible.builtin.setup", {"gather_subset": SMALL_SETUP}),
        "ping": ("ansible.builtin.ping", {}),
        "gpu_facts": ("trainmesh.cluster.gpu_facts", {}),
        "fabric_facts": ("trainmesh.cluster.fabric_facts", {}),
        "stack_facts": ("trainmesh.cluster.stack_facts", {"python": python}),
        ONE_START: ("trainmesh.cluster.node_facts", {"python": python}),
    }


def packed(module: str, options: dict[str, t.Any]) -> str:
    """The archive that Ansible would send."""
    found = module_loader.find_plugin_with_context(module)
    if not found.resolved:
        raise SystemExit(f"There is no module {module}.")
    built = modify_module(
        module_name=found.resolved_fqcn or module,
        module_path=found.plugin_resolved_path,
        module_args={
            **options,
            "_ansible_version": "2",
            "_ansible_remote_tmp": "/tmp",
            "_ansible_keep_remote_files": False,
        },
        templar=Templar(loader=DataLoader()),
        task_vars={"ansible_python_interpreter": "/usr/bin/python3", "inventory_hostname": "node"},
        module_compression="ZIP_DEFLATED",
    )
    return t.cast(bytes, built.b_module_data).decode()


def measure(via: list[str], interpreter: str, turns: int, python: str) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of every run, in turns, so that a busy moment hits all alike."""
    archives = {name: packed(*what) for name, what in modules(python).items()}
    meter = [interpreter, "-c", METER]
    command = [*via, shlex.join(meter)] if via and os.path.basename(via[0]) == "ssh" else [*via, *meter]
    asked = json.dumps({"turns": turns, "archives": archives})
    done = subprocess.run(command, input=asked, text=True, stdout=subprocess.PIPE, check=True)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in archives}
    for line in done.stdout.splitlines():
        name, wall, cpu, problem = json.loads(line)
        if problem:
            raise SystemExit(f"{name} failed on the node: {problem}")
        samples[name].append((wall, cpu))
    return samples


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--via", default="", help='how to start a command on the node, such as "docker exec -i NODE"')
    parser.add_argument("--interpreter", help="the node's Python (default: python3 with --via, else this one)")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--python", default="/opt/trainmesh/env/bin/python", help="the environment to look into")
    given = parser.parse_args()
    init_plugin_loader()
    via = shlex.split(given.via)
    interpreter = given.interpreter or ("python3" if via else sys.executable)
    samples = measure(via, interpreter, given.turns, given.python)
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in samples.items()}
    medians["the three single modules, added"] = [sum(medians[name][column] for name in OURS) for column in (0, 1)]
    base = medians[BASE]
    print(f"{'':45}  wall s   CPU s   wall / setup   CPU / setup")
    for name, (wall, cpu) in medians.items():
        print(f"{name:45} {wall:7.3f} {cpu:7.3f} {wall / base[0]:14.2f} {cpu / base[1]:13.2f}")


if __name__ == "__main__":
    main()
