# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probes between the nodes cost.

``python tests/bench/mesh.py INVENTORY [TARGETS ...]`` lets the first node of a cluster that is set up probe so many
targets, which are the real nodes again and again, by one name and by three, and prints what a login adds (ssh only).
``python tests/bench/mesh.py links [NODES]`` lets so many nodes, made of loopback addresses, measure each other.

A node of a cluster of N makes N - 1 logins a name and serves as many. Where all nodes are containers of one machine,
that machine does both, as a node would, so that its time for N - 1 targets is that of a node with as many cores.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import link, listener  # noqa: E402

PORT, SECONDS = 49321, 0.3


def ansible(inventory: str, host: str, module: str, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    """Run one module on one host; its result."""
    command = ["ansible", "-i", inventory, host, "-m", f"trainmesh.cluster.{module}", "-a", json.dumps(arguments)]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{module} on {host}: {done.stdout[-600:]}{done.stderr[-300:]}")
    answer: dict[str, t.Any] = json.loads(done.stdout.partition("=> ")[2])
    return answer


def hosts(inventory: str) -> dict[str, str]:
    """Names and addresses of an inventory."""
    command = ["ansible-inventory", "-i", inventory, "--list"]
    listed = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    return {name: variables["ansible_host"] for name, variables in listed["_meta"]["hostvars"].items()}


def probe(inventory: str, nodes: dict[str, str], count: int, names: int) -> tuple[float, int]:
    """Seconds of one run with ``count`` targets, and how many logins failed."""
    own, *others = nodes
    targets = [
        {
            "name": f"{name}-{number}",
            "address": nodes[name],
            "hostname": name,
            "ssh_names": [name, f"{name}.trainmesh.internal", nodes[name]][:names],
        }
        for number, name in enumerate((others * (count // len(others) + 1))[:count])
    ]
    started = time.perf_counter()
    row = ansible(inventory, own, "mesh_probe", {"address": nodes[own], "targets": targets})["row"]
    seconds = time.perf_counter() - started
    bad = [login for found in row.values() for login in found["ssh"].values() if not login["ok"]]
    for item in bad[:3]:
        print(f"  {item}")
    return seconds, len(bad)


def mesh(inventory: str, counts: list[int]) -> None:
    """The table of the mesh."""
    nodes = hosts(inventory)
    base, _bad = probe(inventory, nodes, 0, 1)
    print(f"{os.cpu_count()} cores; without targets {base:.2f} s, which is the price of starting any module")
    print("targets  names   wall s  s a login  failed")
    for names in (1, 3):
        for count in counts:
            seconds, bad = probe(inventory, nodes, count, names)
            print(f"{count:7} {names:6} {seconds - base:8.2f} {(seconds - base) / count / names:10.3f} {bad:7}")


def row_of(name: str, targets: list[link.Target]) -> int:
    """Measure from one node; how many measurements failed."""
    wish = link.Wish(name, "bench-links", PORT, SECONDS, 1 << 40, 1, 50, 60.0, 10.0, 600.0)
    return sum(not found["ok"] for found in link.probe(targets, wish).values())


def links(count: int) -> None:
    """How near the turns come to rounds without any waiting; and what few nodes at a time cost."""
    targets = [link.Target(f"n{number}", f"127.0.0.{number}") for number in range(1, count + 1)]
    for target in targets:
        wish = listener.Wish(target.address, [PORT], target.name, "bench-links", count, 600, PORT)
        problems = listener.start(wish)
        if problems:
            sys.exit(f"{target.address}: {problems}")
    for workers in (count, max(1, count // 4)):
        started = time.perf_counter()
        with multiprocessing.Pool(workers) as pool:
            bad = sum(pool.starmap(row_of, [(target.name, targets) for target in targets], chunksize=1))
        seconds, ideal = time.perf_counter() - started, 2 * (count - 1 + count % 2) * SECONDS
        print(f"{count} nodes, {workers} at a time: {seconds:.1f} s, {bad} failed; without waiting {ideal:.1f} s")
    for target in targets:
        listener.stop("bench-links", target.name)


def main() -> None:
    """Choose by the first argument."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    numbers = [int(word) for word in sys.argv[2:]]
    if sys.argv[1] == "links":
        links(numbers[0] if numbers else 8)
    else:
        mesh(sys.argv[1], numbers or [4, 16, 63])


if __name__ == "__main__":
    main()
