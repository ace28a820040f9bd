# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a healthy cluster is ever told to have a fault.

``python tests/bench/healthy.py INVENTORY [RUNS] [--stress] [-e NAME=VALUE ...]`` runs verify.yml so many times and
prints, run by run, the exit status, the seconds and every finding above info, then all together; the exit status is 0
when there was none. With ``--stress`` all nodes are kept busy meanwhile, by ``stress-ng --cpu 8`` where it is
installed, else by eight loops of Python. On a healthy cluster every such finding is an invention.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKERS, LONGEST_S = 8, 3600
PID = "/run/trainmesh-bench-stress.pid"
# A session of its own, so that one signal ends all of it; it ends by itself when this program is killed.
LOOP = f"timeout {LONGEST_S} python3 -c 'while True: pass' & " * WORKERS
START = (
    f"setsid sh -c 'echo $$ >{PID}; if command -v stress-ng; then exec stress-ng --cpu {WORKERS} --timeout "
    f"{LONGEST_S}; fi; " + LOOP.replace("'", "'\\''") + "wait' </dev/null >/dev/null 2>&1 & sleep 1; cat " + PID
)
STOP = f"kill -s KILL -- -$(cat {PID}) && rm -f {PID}"  # stress-ng that is told to end leaves its workers behind


def shell(inventory: str, command: str) -> None:
    """Run a command as root on all nodes; ends this program where it fails."""
    argv = ["ansible", "-i", inventory, "all", "-b", "-m", "ansible.builtin.shell", "-a", command]
    done = subprocess.run(argv, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[:60]}...: {done.stdout[-600:]}{done.stderr[-300:]}")


def verify(inventory: str, extra: t.Sequence[str]) -> tuple[int, float, dict[str, t.Any]]:
    """One run: its exit status, its seconds, and its report (empty when it wrote none)."""
    with tempfile.TemporaryDirectory() as place:
        argv = ["ansible-playbook", "-i", inventory, str(ROOT / "playbooks" / "verify.yml")]
        argv += ["-e", f"trainmesh_report_dir={place}", *extra]
        started = time.monotonic()
        done = subprocess.run(argv, cwd=ROOT, check=False, capture_output=True, text=True, env=dict(os.environ))
        seconds = time.monotonic() - started
        try:
            report = json.loads((pathlib.Path(place) / "report.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            print(f"  no report: {done.stdout[-800:]}{done.stderr[-400:]}")
            report = {}
    return done.returncode, seconds, report


def told(report: t.Mapping[str, t.Any]) -> list[t.Mapping[str, t.Any]]:
    """The findings above info."""
    return [finding for finding in report.get("findings", []) if finding["severity"] != "info"]


def main() -> int:
    """Run, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inventory")
    parser.add_argument("runs", type=int, nargs="?", default=20)
    parser.add_argument("--stress", action="store_true")
    parser.add_argument("-e", dest="extra", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    extra = [word for pair in given.extra for word in ("-e", pair)]
    total: collections.Counter[str] = collections.Counter()
    open_questions: collections.Counter[str] = collections.Counter()
    reports = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the load ends with this program
    if given.stress:
        shell(given.inventory, START)
    try:
        for number in range(1, given.runs + 1):
            status, seconds, report = verify(given.inventory, extra)
            reports += bool(report)
            findings = told(report)
            print(f"run {number}: rc {status}, {seconds:.0f} s, {len(findings)} finding(s) above info", flush=True)
            for finding in findings:
                total[finding["rule"]] += 1
                print(f"  {finding['severity']} {finding['rule']} {finding['hosts']}: {finding['evidence']}")
            open_questions.update(str(item["rule"]) for item in report.get("untested", []))
    finally:
        if given.stress:
            shell(given.inventory, STOP)
    print(f"{given.runs} run(s), {reports} report(s), {sum(total.values())} finding(s) above info: {dict(total)}")
    print(f"not tested: {dict(open_questions)}")
    return int(bool(total) or reports < given.runs)


if __name__ == "__main__":
    sys.exit(main())
