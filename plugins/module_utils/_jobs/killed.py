# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ranks a signal has ended, as the log of their launcher tells it.

A launcher ends the other ranks itself when one is gone: politely with SIGTERM, and what does not obey with SIGKILL.
So of each node only the rank counts that its launcher saw end first, and none that ended by SIGTERM. An abort is mostly
what a library makes of a lost connection: it counts only where no other signal has ended a rank.
"""

from __future__ import annotations

import re
import signal
import typing as t

# Texts of torch's elastic agent (torchrun, Accelerate), of DeepSpeed's launch.py and of Open MPI 4 and 5.
_AGENT = re.compile(r"\bfailed \(exitcode: -(?P<signal>\d{1,2})\) local_rank: \d")
_DEEPSPEED = re.compile(r"\bexits with return code = -(?P<signal>\d{1,2})\b")
_OPEN_MPI = re.compile(
    r"noticed that process rank \d{1,7} with PID \d{1,10} on node (?P<node>\S{1,255}) "
    r"exited on signal (?P<signal>\d{1,2})\b"
)
# pdsh puts the node before each line.
_NODE = re.compile(r"(?P<node>[^\s:\[\]]{1,255}|\[[0-9a-fA-F:.]{2,45}\]): ")


class Killed(t.NamedTuple):
    """A node as its launcher calls it, empty where the launcher names none, and the signal that ended a rank there."""

    node: str
    signal: int


def ranks(log: str) -> list[Killed]:
    """The node of each rank that a signal has ended before any launcher did, in the order of the log."""
    found: dict[str, int] = {}
    for line in log.splitlines():
        match = _AGENT.search(line) or _DEEPSPEED.search(line) or _OPEN_MPI.search(line)
        if match:
            node = match.groupdict().get("node") or _written_by(line)
            found.setdefault(node.strip("[]"), int(match["signal"]))
    killed = {node: number for node, number in found.items() if number not in (signal.SIGTERM, signal.SIGABRT)}
    aborted = {node: number for node, number in found.items() if number == signal.SIGABRT}
    return [Killed(node, number) for node, number in (killed or aborted).items()]


def _written_by(line: str) -> str:
    match = _NODE.match(line)
    return match["node"] if match else ""
