# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one command on many nodes costs the head: trainmesh's own fan-out, pdsh and clush, with a stand-in for ssh.

    python tests/bench/fanout.py [--nodes 3,16,128,512] [--seconds 0.3] [--rounds 3]

The stand-in sleeps as long as a login takes and answers with a line of JSON, so that only the tool itself is measured:
wall time, processor time with children, and whether the exit status of a node that failed and its two streams can be
told apart. Tools that are not installed are left out.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).parents[2]
SSH = """#!/bin/sh
sleep {seconds}
echo '{{"packages": {{"torch": "2.13.0"}}}}'
"""
OURS = """
import sys
sys.path.insert(0, {library!r})
from trainmesh import fanout
fanout.own_name = lambda _installation: ""
answers = fanout.on(None, sys.argv[1].split(","), "true", 60)
assert all(answer.status == 0 and answer.out for answer in answers.values())
"""


def commands(names: str) -> dict[str, list[str]]:
    """Each tool's way to run a command on the nodes."""
    library = str(ROOT / "roles/launch_config/files/lib")
    found = {"trainmesh": [sys.executable, "-ISB", "-c", OURS.format(library=library), names]}
    if shutil.which("pdsh"):
        found["pdsh"] = ["pdsh", "-S", "-R", "ssh", "-f", "128", "-w", names, "true"]
    if shutil.which("clush"):
        found["clush"] = ["clush", "-q", "-f", "128", "-S", "-b", "-w", names, "true"]
    return found


def measured(command: t.Sequence[str], environment: t.Mapping[str, str]) -> tuple[float, float]:
    """(seconds, seconds of a processor) of one call."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, env=dict(environment), stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a row for each tool and number of nodes, the best of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="3,16,128,512")
    parser.add_argument("--seconds", type=float, default=0.3, help="that a login takes")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        ssh = pathlib.Path(place, "ssh")
        ssh.write_text(SSH.format(seconds=options.seconds), encoding="ascii")
        ssh.chmod(0o755)
        environment = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}"}
        print(f"{'tool':<10} {'nodes':>6} {'wall s':>8} {'cpu s':>8}")
        for count in map(int, options.nodes.split(",")):
            names = ",".join(f"node{number}" for number in range(1, count + 1))
            for tool, command in commands(names).items():
                wall, cpu = min(measured(command, environment) for _round in range(options.rounds))
                print(f"{tool:<10} {count:>6} {wall:>8.2f} {cpu:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
