# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh top``: all nodes on one screen."""

from __future__ import annotations

import argparse
import sys
import time
import typing as t

from trainmesh import fanout
from trainmesh.installation import find
from trainmesh.look import aligned

ANSWER_SECONDS = 20.0
HEADER = ("NODE", "GPU", "MODEL", "USE", "MEMORY", "TEMP", "POWER", "RUNS")


def add_to(commands: t.Any, _prefix: str) -> None:
    """The command line of it."""
    parser = commands.add_parser(
        "top", help="all nodes and GPUs on one screen", allow_abbrev=False,
        description="Shows every GPU with its use, memory, temperature and power, the runs on it, and processes of "
        "others there; of nodes without GPUs their load and memory. Ctrl-C ends it.",
    )  # fmt: skip
    parser.add_argument("-1", "--once", action="store_true", help="once, as it does where there is no terminal")
    parser.add_argument("--every", metavar="SECONDS", type=float, default=2.0, help="between two looks (default 2)")
    parser.set_defaults(action=top, sub=parser)


def top(prefix: str, options: argparse.Namespace) -> int:
    """Look until Ctrl-C."""
    installation = find(prefix)
    fanout.may_reach(installation)
    names = [node.name for node in installation.nodes()]
    once = options.once or not sys.stdout.isatty()
    try:
        while True:
            said, silent = fanout.ask(installation, names, ["top"], ANSWER_SECONDS)
            lines = screen(said, silent)
            if once:
                sys.stdout.write("".join(f"{line}\n" for line in lines))
                return 1 if silent else 0
            sys.stdout.write("\x1b[H\x1b[2J" + "".join(f"{line}\n" for line in [time.strftime("%H:%M:%S"), *lines]))
            sys.stdout.flush()
            time.sleep(max(0.5, options.every))
    except KeyboardInterrupt:
        return 0


def screen(said: t.Mapping[str, t.Any], silent: t.Mapping[str, str]) -> list[str]:
    """A line for each GPU, and for each node without."""
    rows: list[tuple[str, ...]] = [HEADER]
    for name, facts in said.items():
        rows += of_gpus(name, facts["gpus"]) if facts["gpus"]["gpus"] else [of_host(name, facts)]
    return [*aligned(rows), *(f"{name}: not known ({trouble})" for name, trouble in silent.items())]


def of_gpus(name: str, found: t.Mapping[str, t.Any]) -> list[tuple[str, ...]]:
    """The GPUs of a node; what nvidia-smi does not tell is ``?``."""
    rows: list[tuple[str, ...]] = []
    for gpu in found["gpus"]:
        there = [each for each in found["processes"] if each["uuid"] == gpu["uuid"]]
        runs = sorted({each["run"] for each in there if each["run"]})
        strangers = [f"process {each['pid']} of {each['user']}" for each in there if not each["run"]]
        memory = f"{number(gpu['memory.used'])}/{number(gpu['memory.total'])} MiB"
        rows.append((
            name, gpu["index"], gpu["name"], f"{number(gpu['utilization.gpu'])} %", memory,
            f"{number(gpu['temperature.gpu'])} °C", f"{number(gpu['power.draw'])} W", ", ".join([*runs, *strangers]),
        ))  # fmt: skip
    return rows


def number(text: str) -> str:
    """A number without decimals; nvidia-smi has words where it knows none."""
    try:
        return f"{float(text):.0f}"
    except ValueError:
        return "?"


def of_host(name: str, facts: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    """A node without GPUs, or whose GPUs don't answer."""
    model = facts["gpus"]["error"] or f"{facts['cores']} cores"
    total, used = facts["memory_kib"] / 1024, (facts["memory_kib"] - facts["available_kib"]) / 1024
    return (name, "-", model, f"load {facts['load']:.1f}", f"{used:.0f}/{total:.0f} MiB", "", "",
            ", ".join(sorted(facts["processes"])))  # fmt: skip
