# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh ps``, ``logs`` and ``stop``: look at runs, and end them."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
import typing as t

from trainmesh import fanout, runs
from trainmesh.installation import Installation, Refused, find
from trainmesh.job import RUN_ID
from trainmesh.launchers import directory_of

ANSWER_SECONDS = 30.0
FOLLOWED_LINES = 50
POLL_SECONDS = 0.3
BLOCK = 1 << 16


def add_to(commands: t.Any, _prefix: str) -> None:
    """The command lines of them."""
    parser = commands.add_parser(
        "ps", help="runs and their ranks on every node", allow_abbrev=False,
        description="Shows the runs that go on, with their ranks on each node, and says what is left of runs that "
        "nobody leads any more. The exit status is 1 when a node does not answer.",
    )  # fmt: skip
    parser.add_argument("-a", "--all", action="store_true", help="also the newest runs that have ended")
    parser.set_defaults(action=ps, sub=parser)
    parser = commands.add_parser(
        "logs", help="the output of a run", allow_abbrev=False,
        description="Prints the output of a run. Ctrl-C ends this command and not the run.",
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", nargs="?", help="name of the run (default: the newest)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends, with its exit status")
    parser.add_argument("-n", "--lines", metavar="N", type=number, help="the last N lines alone (default: all, with -f "
                        f"{FOLLOWED_LINES})")  # fmt: skip
    parser.set_defaults(action=logs, sub=parser)
    parser = commands.add_parser(
        "stop", help="end a run on every node", allow_abbrev=False,
        description="Ends the processes of a run of this user on every node: politely, and then by force.",
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", nargs="?", help="name of the run, as trainmesh ps shows it")
    parser.add_argument("--all", action="store_true", help="every run of this user")
    parser.set_defaults(action=stop, sub=parser)


def number(text: str) -> int:
    """A count of lines."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"a number of lines, not {text}")
    return int(text)


def stop(prefix: str, options: argparse.Namespace) -> int:
    """End a run; the script for it needs nothing but bash, so that it works where Python does not."""
    if bool(options.run) == options.all:
        raise Refused("which run? Its name, or --all (trainmesh ps shows them)")
    word = "--all" if options.all else options.run
    if not options.all and not RUN_ID.match(word):
        raise Refused(f"a run's name has letters, digits, dots and dashes, {word} has not")
    if not options.all and unknown(prefix, word):
        sys.stderr.write(f"trainmesh stop: no run {word} is known here (trainmesh ps --all shows the newest runs); its "
                         "processes are looked for all the same\n")  # fmt: skip
    script = f"{prefix}/bin/trainmesh-stop"
    sys.stdout.flush()
    os.execv(script, [script, word])


def unknown(prefix: str, run: str) -> bool:
    """Whether this is the head, which keeps the records, and it has none of this run."""
    try:
        installation = find(prefix)
        return installation.is_head() and not os.path.isdir(directory_of(installation, run))
    except Refused:
        return False  # what is broken must keep nobody from stopping a run


def ps(prefix: str, options: argparse.Namespace) -> int:
    """Ask every node for its processes."""
    installation = find(prefix)
    fanout.may_reach(installation)
    names = [node.name for node in installation.nodes()]
    said, silent = fanout.ask(installation, names, ["ps"], ANSWER_SECONDS)
    for line in table(said, options.all, bool(silent)):
        sys.stdout.write(line + "\n")
    for name, trouble in silent.items():
        sys.stdout.write(f"{name}: not known ({trouble})\n")
    return 1 if silent else 0


def table(said: t.Mapping[str, t.Any], ended: bool, silent: bool = False) -> list[str]:
    """The runs, one a line; ``silent``: some nodes have not answered."""
    records = {each["run_id"]: each for answer in said.values() for each in answer.get("runs") or []}
    known = any(answer.get("runs") is not None for answer in said.values())  # whether the head has answered
    living: dict[str, dict[str, t.Any]] = {}
    for node, answer in said.items():
        for run, found in answer["processes"].items():
            living.setdefault(run, {})[node] = found
    rows = [("RUN", "SINCE", "LAUNCHER", "RANKS", "COMMAND")]
    notes = []
    for run, nodes in sorted(living.items(), key=lambda each: -oldest(each[1])):
        record = records.get(run, {})
        rows.append((run, span(oldest(nodes)), record.get("launcher", "?"), places(nodes), shown(record)))
        by_hand = any(found.get("by_hand") for found in nodes.values())
        if known and not record.get("goes_on") and not run.startswith(("check-", "exec-")) and not by_hand:
            notes.append(f"{run}: nothing on the head leads it any more: trainmesh stop {run}")
    for run, record in records.items():
        if run not in living and record.get("goes_on"):  # it begins, or waits for a node before a restart
            rows.append((run, span(max(0.0, time.time() - record["started"])), record["launcher"], "-", shown(record)))
    if len(rows) == 1:
        lines = ["no run goes on" + (" where nodes have answered" if silent else "")]
    else:
        lines = aligned(rows)
    if ended:
        over = [each for run, each in records.items() if run not in living and not each.get("goes_on")]
        lines += ["", *aligned([("ENDED", "AT", "LAUNCHER", "STATUS", "COMMAND"), *map(past, over)])] if over else []
    return [*lines, *notes]


def oldest(nodes: t.Mapping[str, t.Mapping[str, t.Any]]) -> float:
    """The age of a run in seconds."""
    return max(float(found["age"]) for found in nodes.values())


def places(nodes: t.Mapping[str, t.Mapping[str, t.Any]]) -> str:
    """The ranks on each node; of a node without ranks, its processes."""
    words = []
    for node, found in nodes.items():
        ranks = ",".join(map(str, found["ranks"]))
        words.append(f"{node}:{ranks or '-'}")
    return " ".join(words)


def past(record: t.Mapping[str, t.Any]) -> tuple[str, str, str, str, str]:
    """A run that has ended."""
    when = record.get("ended") or record["started"]
    status = "?" if record.get("status") is None else str(record["status"])  # its process was killed
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
    return record["run_id"], at, record["launcher"], status, shown(record)


def shown(record: t.Mapping[str, t.Any]) -> str:
    """The command in one line."""
    words = [str(word) for word in record.get("command") or []]
    words[:1] = [os.path.basename(word) for word in words[:1]]
    text = " ".join(map(shlex.quote, words))
    return text if len(text) <= 80 else f"{text[:77]}..."


def span(seconds: float) -> str:
    """A time in the unit that a person would use."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def aligned(rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    """The rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip() for row in rows]


def logs(prefix: str, options: argparse.Namespace) -> int:
    """Print the log of a run."""
    installation = find(prefix)
    if not installation.is_head():
        raise Refused(f"logs are on the head, {installation.values.get('TRAINMESH_HEAD')}: run it there")
    run, path = log_of(installation, options.run)
    lines = options.lines if options.lines is not None else FOLLOWED_LINES if options.follow else None
    try:
        with open(path, "rb") as source:
            source.seek(0 if lines is None else last_lines(source, lines))
            return follow(source, installation, run) if options.follow else copy(source)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise Refused(f"{path} can't be read: {error.strerror}") from None
    except KeyboardInterrupt:
        return 130


def log_of(installation: Installation, run: str | None) -> tuple[str, str]:
    """(the run, its log); without a name those of the newest run."""
    if run is None:
        newest = next(iter(runs.all_of(installation)), None)
        if newest is None:
            raise Refused("no run has left a log here")
        run = str(newest["run_id"])
    if not RUN_ID.match(run):
        raise Refused(f"a run's name has letters, digits, dots and dashes, {run} has not")
    directory = directory_of(installation, run)
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    found = [name for name in names if name == runs.LOG or name.endswith(".log")]
    if not found:
        raise Refused(f"there is no log of a run {run} in {directory} (trainmesh ps --all shows the newest runs)")
    return run, f"{directory}/{found[0]}"


def last_lines(source: t.BinaryIO, lines: int) -> int:
    """Where the last lines of a file begin."""
    end = source.seek(0, os.SEEK_END)
    if lines == 0:
        return end
    end -= 1  # the end of the last line begins no other one
    while end > 0:
        begin = max(0, end - BLOCK)
        source.seek(begin)
        block = source.read(end - begin)
        at = block.rfind(b"\n")
        while at >= 0:
            lines -= 1
            if lines == 0:
                return begin + at + 1
            at = block.rfind(b"\n", 0, at)
        end = begin
    return 0


def copy(source: t.BinaryIO) -> int:
    """Print what is left of it."""
    for block in iter(lambda: source.read(BLOCK), b""):
        sys.stdout.buffer.write(block)
    sys.stdout.flush()
    return 0


def follow(source: t.BinaryIO, installation: Installation, run: str) -> int:
    """Print what comes until the run has ended; its exit status."""
    while True:
        record = runs.read(directory_of(installation, run))
        over = record is None or not runs.goes_on(record)
        copy(source)
        if over:
            break
        time.sleep(POLL_SECONDS)
    status = record.get("status") if record else None
    if status is None:
        sys.stderr.write(f"trainmesh logs: how the run {run} ended is not known: what led it on the head was killed\n")
        return 1
    return int(status)
