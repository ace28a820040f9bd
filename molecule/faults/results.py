# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of the faults that were tried: kept after each one, so that an interrupted run goes on where it was."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import typing as t

HEAD = """\
# The faults that are tried

Each of these was made for real, one at a time, on three machines (containers with systemd, sshd, firewalld or ufw, and
addresses of their own). Then `playbooks/verify.yml` had to name it: the right rule, the right hosts, and nothing else.
`repaired` says how the cluster became healthy again: by `site.yml`, by the very command that the report printed
(`remedy`), or by undoing what was done, where a program has no business to (`by hand`). Those that begin with
`replayed` are states of GPUs and InfiniBand, which these machines lack: there the nodes show the files and nvidia-smi
of a machine that `molecule/faults/gpus.py` wrote.
"""
MENDED = {"site": "site.yml", "remedy": "remedy", "undo": "by hand"}


@dataclasses.dataclass
class Outcome:
    """What came of one fault; ``problems`` is empty when all was as it has to be. Times are seconds."""

    name: str
    what: str
    rule: str
    hosts: list[str]
    repair: str
    seconds: float = 0.0
    repair_seconds: float = 0.0
    detected: bool = False
    right_host: bool = False
    alone: bool = False
    repaired: bool = False
    problems: list[str] = dataclasses.field(default_factory=list)


class Results:
    """The outcomes by the fault's name, and the runs on the healthy cluster between them, in a JSON file."""

    def __init__(self, path: pathlib.Path | None, resume: bool = False) -> None:
        self.path = path
        self.outcomes: dict[str, Outcome] = {}
        self.healthy_runs = 0
        self.false_accusations: list[str] = []
        self.systems: list[str] = []
        if path and resume and path.exists():
            data = json.loads(path.read_text())
            self.outcomes = {one["name"]: Outcome(**one) for one in data["faults"]}
            self.healthy_runs = data["healthy_runs"]
            self.false_accusations = data["false_accusations"]
            self.systems = data["systems"]

    def settled(self, name: str) -> bool:
        """Whether this fault was tried before and all was as it has to be."""
        return name in self.outcomes and not self.outcomes[name].problems

    def wrong(self) -> list[Outcome]:
        """The faults that were not named as they have to be."""
        return [one for one in self.outcomes.values() if one.problems]

    def healthy(self, accusations: t.Sequence[str], systems: t.Iterable[str]) -> None:
        """Note a run on the healthy cluster, whose nodes have these operating systems."""
        self.healthy_runs += 1
        self.systems = sorted({*self.systems, *systems})
        self.false_accusations += accusations
        self.save()

    def add(self, outcome: Outcome) -> None:
        """Note a fault; an earlier outcome of the same one gives way."""
        self.outcomes[outcome.name] = outcome
        self.save()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if not self.path:
            return
        data = {
            "faults": [dataclasses.asdict(one) for one in self.outcomes.values()],
            "healthy_runs": self.healthy_runs,
            "false_accusations": self.false_accusations,
            "systems": self.systems,
        }
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(data, indent=1) + "\n")
        os.replace(new, self.path)

    def count(self, faults: t.Sequence[t.Mapping[str, t.Any]]) -> str:
        """How many of ``faults`` were named rightly on these systems, in a sentence."""
        tried = [self.outcomes[fault["name"]] for fault in faults if fault["name"] in self.outcomes]
        right = sum(not one.problems for one in tried)
        return (
            f"{', '.join(self.systems)}: {right} of {len(faults)} as they have to be, {len(faults) - len(tried)} not"
            f" tried; {self.healthy_runs} runs on the healthy cluster in between, with {len(self.false_accusations)}"
            " false accusations."
        )

    def page(self, faults: t.Sequence[t.Mapping[str, t.Any]], beside: t.Sequence[Results] = ()) -> str:
        """The page of the documentation: a line for each of ``faults``; ``beside``: on other systems."""
        counts = [f"- {each.count(faults)}" for each in (self, *beside)]
        head = ["fault", "rule", "detected", "right host", "nothing else", "repaired", "seconds"]
        head += [f"on {', '.join(each.systems)}" for each in beside]
        lines = [HEAD, *counts, "", "Written by `molecule/faults/run.py`.", ""]
        lines += [_row(head), "|---" * len(head) + "|", *(_row(self._cells(fault, beside)) for fault in faults)]
        return "\n".join(lines) + "\n"

    def _cells(self, fault: t.Mapping[str, t.Any], beside: t.Sequence[Results]) -> list[str]:
        one = self.outcomes.get(fault["name"])
        cells = [fault["what"], f"`{fault['rule']}`"]
        if one is None:
            cells += ["not tried", "-", "-", "-", "-"]
        else:
            cells += ["yes" if fine else "NO" for fine in (one.detected, one.right_host, one.alone)]
            cells += [MENDED[one.repair] if one.repaired else "NO", f"{one.seconds:.0f}"]
        others = [each.outcomes.get(fault["name"]) for each in beside]
        return cells + ["not tried" if other is None else "NO" if other.problems else "yes" for other in others]


def _row(cells: t.Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
