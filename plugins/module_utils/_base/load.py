# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How busy this node was while something was timed on it."""

from __future__ import annotations

import os
import pathlib
import time
import typing as t

# Where the cpu controller is mounted: cgroup v2, and the two spellings of v1.
MOUNTS = ("sys/fs/cgroup", "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/cpu")


class Sample(t.NamedTuple):
    """One reading: seconds on the clock, load average, seconds throttled by group, jiffies stolen and wanted."""

    at: float
    load1: float | None
    throttled: t.Mapping[str, float]
    stolen: int | None
    jiffies: int


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def groups(text: str) -> list[str]:
    """The control groups that hold this process's processor time, from /proc/self/cgroup: its own and all above.

    Inside a container the path may be the host's, while the mount shows the container's own part of it: so each
    path is looked for without its first parts, too.
    """
    found: dict[str, None] = {"": None}
    for line in text.splitlines():
        _number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for start in range(len(parts)):
            for end in range(start + 1, len(parts) + 1):
                found["/".join(parts[start:end])] = None
    return list(found)


def throttled(root: pathlib.Path) -> dict[str, float]:
    """Seconds for which each group was kept from its processors until now. Format: cgroup-v2.rst, sched-bwc.rst."""
    found = {}
    for mount in MOUNTS:
        for group in groups(_text(root / "proc/self/cgroup")):
            place = root / mount / group / "cpu.stat"
            values = dict(line.partition(" ")[::2] for line in _text(place).splitlines())
            for key, unit in (("throttled_usec", 1e6), ("throttled_time", 1e9)):
                if values.get(key, "").strip().isdigit():
                    found[str(place)] = int(values[key]) / unit
    return found


def sample(root: str = "/") -> Sample:
    """The state now."""
    base = pathlib.Path(root)
    words = _text(base / "proc/loadavg").split()
    first = _text(base / "proc/stat").partition("\n")[0].split()
    numbers = [int(word) for word in first[1:9] if word.isdigit()] if first[:1] == ["cpu"] else []
    try:
        load1 = float(words[0]) if words else None
    except ValueError:
        load1 = None
    stolen = numbers[7] if len(numbers) > 7 else None
    wanted = sum(numbers) - sum(numbers[3:5])  # without idle and iowait
    return Sample(time.monotonic(), load1, throttled(base), stolen, wanted)


def between(before: Sample, after: Sample, cores: int) -> dict[str, t.Any]:
    """What two samples say of the time between them: ``load1``, ``cores``, ``throttled``, ``stolen``, ``seconds``.

    ``throttled`` is a share of the time, ``stolen`` one of the processor time that was wanted; None where not known.
    """
    seconds = max(after.at - before.at, 1e-3)
    loads = [load for load in (before.load1, after.load1) if load is not None]
    waits = [after.throttled[place] - known for place, known in before.throttled.items() if place in after.throttled]
    jiffies = after.jiffies - before.jiffies
    stolen = None
    if before.stolen is not None and after.stolen is not None and jiffies > 0:
        stolen = round(max(0.0, min(1.0, (after.stolen - before.stolen) / jiffies)), 3)
    return {
        "load1": max(loads) if loads else None,
        "cores": cores,
        "throttled": round(max(0.0, min(1.0, max(waits) / seconds)), 3) if waits else None,
        "stolen": stolen,
        "seconds": round(seconds, 2),
    }


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


class Watch:
    """Begins when it is made."""

    def __init__(self) -> None:
        self.before = sample()

    def report(self) -> dict[str, t.Any]:
        """How busy the node was since then."""
        return between(self.before, sample(), cores())
