# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run costs by the number of nodes, and the bars that it has to keep.

``python tests/bench/scale/run.py --sizes 4,8`` measures everything, with real nodes (containers on this machine) at
these sizes and the rest at its usual sizes; ``--only NAME,...`` some of it, ``--resume`` what an earlier run has not
finished. Each number is kept in the results file at once, so that nothing is lost when a later one fails. ``--docs``
writes docs/scale.md and its plot from the results file. Run it as root: CPU is counted by control group.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import importlib.metadata
import json
import pathlib
import re
import signal
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.trainmesh.cluster.tests.bench.scale import (  # noqa: E402
    code,
    lab,
    meter,
    plot,
    real,
    simulated,
    tables,
)
from ansible_collections.trainmesh.cluster.tests.bench.scale.ansible_run import Bench  # noqa: E402
from ansible_collections.trainmesh.cluster.tests.bench.scale.meter import MeasurementError, Row  # noqa: E402

RESULTS = ROOT / "tests" / "bench" / "scale" / "results.json"
LOGS = ROOT / "tests" / "output" / "scale"
DOCUMENT, PLOT = ROOT / "docs" / "scale.md", ROOT / "docs" / "images" / "scale.svg"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
MEASUREMENTS = ("checks", "texts", "simulated", "real", "usual")
NODES_MADE = ("real", "usual")
SIZES = {
    "checks": (64, 128, 256),
    "texts": (16, 256, 1024),
    "simulated": (16, 64, 256, 1024),
    "real": (4, 8, 16, 32),
    "usual": (4, 8, 16, 32),
}


class Kept:
    """The results file; those of another machine are not mixed in."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, machine = path, meter.machine()
        self.results: Row = {}
        if path.exists():
            self.results = json.loads(path.read_text(encoding="utf-8"))
            if self.results["machine"] != machine:
                print(f"{path} is of another machine, and is begun anew", flush=True)
                self.results = {}
        self.results |= {
            "machine": machine,
            "ansible": importlib.metadata.version("ansible-core"),
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        }
        self.results.setdefault("complete", [])
        self.results.setdefault("measurements", {})

    def begin(self, measurement: str, size: int) -> None:
        """Forget what was measured before of this."""
        self.results["measurements"].setdefault(measurement, {})[str(size)] = {}
        self.results["complete"] = [each for each in self.results["complete"] if each != f"{measurement}/{size}"]

    def note(self, measurement: str, size: int) -> real.Note:
        """Takes each row when it is there, and goes on where one fails."""

        def note(step: str, make: t.Callable[[], Row]) -> None:
            started = time.monotonic()
            print(f"  {measurement} {size} {step} ...", flush=True)
            try:
                row = make()
                told = ", ".join(f"{key} {row[key]:.2f}" for key in row if isinstance(row[key], float))
                if row.get("busy_before"):
                    told += f"; WARNING: the machine was busy before, load {row['load_before']:.1f}"
            except Exception as error:  # whatever it is: the others can still be measured
                row = {"failed_because": f"{type(error).__name__}: {error}"}
                told = f"FAILED: {error}"
            print(f"  {measurement} {size} {step}: {told} ({time.monotonic() - started:.0f} s)", flush=True)
            self.results["measurements"][measurement][str(size)][step] = row
            self.save()

        return note

    def end(self, measurement: str, size: int) -> None:
        """All rows of a size are there."""
        rows = self.results["measurements"][measurement][str(size)]
        if rows and not any("failed_because" in row for row in rows.values()):
            self.results["complete"].append(f"{measurement}/{size}")
        self.save()

    def save(self) -> None:
        """Write it, whole or not at all."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
        new.replace(self.path)


def measure(bench: Bench, kept: Kept, measurement: str, size: int) -> None:
    """One measurement at one size."""
    note = kept.note(measurement, size)
    kept.begin(measurement, size)
    try:
        if measurement == "checks":
            note("checks", lambda: code.checks(size))
        elif measurement == "texts":
            note("texts", lambda: code.texts(size))
        elif measurement == "simulated":
            simulated.measure(bench, size, note)
        elif measurement == "real":
            real.measure(bench, size, note)
        else:
            real.measure_usual(bench, size, note)
    except (MeasurementError, OSError) as error:  # the nodes could not be made: the next size may do
        print(f"  {measurement} {size} FAILED: {error}", flush=True)
        kept.results["measurements"][measurement][str(size)]["nodes"] = {"failed_because": str(error)}
    kept.end(measurement, size)


def curves(found: tables.Measured) -> plot.Series:
    """Controller CPU by the number of nodes."""
    wanted = {
        "usual playbook, first run": ("usual", "usual_first"),
        "first run": ("real", "first"),
        "no change, with verify": ("real", "site"),
        "no change": ("real", "no_change"),
        "add a node": ("real", "add"),
        "ansible all -m ping": ("real", "ping"),
        "no change, with verify, simulated": ("simulated", "site"),
    }
    lines = {
        name: [
            (float(size), cpu)
            for size in found.sizes(measurement)
            if (cpu := found.number(measurement, size, step, "controller_cpu_s"))
        ]
        for name, (measurement, step) in wanted.items()
    }
    return {name: line for name, line in lines.items() if line}


def write_docs(results: tables.Results) -> None:
    """Put tables and plot of the results into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    wanted = BEGIN + "\n" + tables.report(results) + "\n\n" + END
    text, count = re.subn(f"{BEGIN}.*?{END}", lambda _found: wanted, text, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{DOCUMENT} has no place for the results between {BEGIN.strip()} and {END.strip()}")
    DOCUMENT.write_text(text, encoding="utf-8")
    lines = curves(tables.Measured(results))
    if lines:
        title = "Controller CPU by number of nodes"
        PLOT.write_text(plot.svg(title, "nodes", "CPU seconds", lines), encoding="utf-8")
    print(f"written: {DOCUMENT}, {PLOT}")


def sizes_of(text: str) -> tuple[int, ...]:
    """Sizes as they are given."""
    return tuple(sorted({int(word) for word in text.split(",")}))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(MEASUREMENTS), help="of " + ", ".join(MEASUREMENTS))
    parser.add_argument("--sizes", type=sizes_of, help="of real and usual, and of all others that --only names")
    parser.add_argument("--resume", action="store_true", help="leave what the results file has complete")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--name", default="bench-scale", help="of the cluster of containers, and of the control group")
    parser.add_argument("--docs", action="store_true", help="only write docs/scale.md from the results")
    given = parser.parse_args()
    given.only = given.only.split(",")
    unknown = set(given.only) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    return given


def wanted(given: argparse.Namespace) -> list[tuple[str, int]]:
    """What is to be measured, in turn."""
    all_named = given.only != list(MEASUREMENTS)
    return [
        (name, size)
        for name in MEASUREMENTS
        if name in given.only
        for size in (given.sizes if given.sizes and (all_named or name in NODES_MADE) else SIZES[name])
    ]


def check_limits(todo: t.Sequence[tuple[str, int]]) -> None:
    """Say before anything is started what this machine's kernel can't hold."""
    most = max((size + (name == "real") for name, size in todo if name in NODES_MADE), default=0)
    problems = lab.too_small(most) if most else []
    if problems:
        sys.exit("\n".join(problems))


def main() -> int:
    """Measure, print the bars."""
    given = arguments()
    if given.docs:
        write_docs(json.loads(given.results.read_text(encoding="utf-8")))
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that the nodes go with this program
        signal.signal(number, lambda *_: sys.exit(143))
    todo = wanted(given)
    with open(pathlib.Path(tempfile.gettempdir()) / f"{given.name}.lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            check_limits(todo)
            kept = Kept(given.results)
            bench = Bench(given.name, LOGS)
        except BlockingIOError:
            sys.exit(f"another run uses the name {given.name}: wait for it, or give another --name")
        except MeasurementError as error:
            sys.exit(str(error))
        try:
            for measurement, size in todo:
                if given.resume and f"{measurement}/{size}" in kept.results["complete"]:
                    print(f"{measurement} {size}: complete", flush=True)
                    continue
                print(f"{measurement} {size}", flush=True)
                measure(bench, kept, measurement, size)
        finally:
            bench.close()
    found = tables.Measured(kept.results)
    print(tables.bars_table(found))
    return int(any(row.value is not None and not row.met(row.value) for row in tables.bars(found)))


if __name__ == "__main__":
    sys.exit(main())
