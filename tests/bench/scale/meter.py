# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command costs: CPU by control groups, wall time, memory.

CPU is counted by control group and not by process, as the masters of ssh and what systemd starts on a node have no
parent that would wait for them.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import typing as t

ROOT = pathlib.Path("/sys/fs/cgroup")
VERSION_1 = ("cpuacct", "cpu,cpuacct", "cpuacct,cpu")
SAMPLE_S = 1.0
BUSY = 0.5  # load of a core above which a number is marked
END_S = 20.0

Row = dict[str, t.Any]


class MeasurementError(Exception):
    """Something could not be measured; the others still can."""


def hierarchy() -> tuple[pathlib.Path, str]:
    """Where CPU is counted by group, and how that is called."""
    for name in VERSION_1:
        if (ROOT / name / "cpuacct.usage").is_file():
            return ROOT / name, "cgroup v1, cpuacct.usage"
    if (ROOT / "cgroup.controllers").is_file():
        return ROOT, "cgroup v2, cpu.stat"
    raise MeasurementError(f"{ROOT} has neither cpuacct (cgroup v1) nor cgroup v2: CPU can't be counted here")


class Group:
    """A control group."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    @classmethod
    def of(cls, pid: int, part: str) -> Group:
        """The group of a container: that of its first process, up to the component that has ``part`` in its name."""
        root, kind = hierarchy()
        wanted = "cpuacct" if "v1" in kind else ""
        for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines():
            _number, controllers, path = line.split(":", 2)
            if wanted in controllers.split(","):
                components = path.strip("/").split("/")
                ends = [number for number, name in enumerate(components, 1) if part in name]
                if ends:
                    return cls(root.joinpath(*components[: ends[0]]))
        raise MeasurementError(f"process {pid} is in no control group of the container {part[:12]}")

    @classmethod
    def make(cls, name: str) -> Group:
        """A new one."""
        path = hierarchy()[0] / name
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise MeasurementError(f"{path}: {error.strerror}: control groups are made by root") from error
        return cls(path)

    def seconds(self) -> float:
        """CPU seconds of all that ever ran in it and below."""
        usage = self.path / "cpuacct.usage"
        if usage.is_file():
            return int(usage.read_text(encoding="ascii")) / 1e9
        found = re.search(r"^usage_usec (\d+)", (self.path / "cpu.stat").read_text(encoding="ascii"), re.MULTILINE)
        return int(found[1]) / 1e6 if found else 0.0

    def pids(self) -> list[int]:
        """What runs in it."""
        return [int(word) for word in (self.path / "cgroup.procs").read_text(encoding="ascii").split()]

    def enter(self) -> None:
        """Move the calling process into it."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    def remove(self) -> None:
        """End what still runs in it, which we started, and remove it."""
        deadline = time.monotonic() + END_S
        while self.path.is_dir() and time.monotonic() < deadline:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                self.path.rmdir()
            time.sleep(0.1)


class Memory(threading.Thread):
    """The peaks of a group's memory: the sum of the shares of all processes, and the largest process."""

    def __init__(self, group: Group) -> None:
        super().__init__(daemon=True)
        self.group, self.ended = group, threading.Event()
        self.sum_bytes = self.largest_bytes = 0

    def run(self) -> None:
        """Look again and again until stop()."""
        while not self.ended.wait(SAMPLE_S):
            pids = self.group.pids()
            self.sum_bytes = max(self.sum_bytes, sum(_kib(pid, "smaps_rollup", "Pss") for pid in pids) * 1024)
            self.largest_bytes = max([self.largest_bytes, *(_kib(pid, "status", "VmHWM") * 1024 for pid in pids)])

    def stop(self) -> Row:
        """What was found."""
        self.ended.set()
        self.join()
        return {"pss_bytes": self.sum_bytes, "largest_rss_bytes": self.largest_bytes}


def _kib(pid: int, file: str, field: str) -> int:
    """A field of a process that may have ended meanwhile."""
    try:
        text = pathlib.Path(f"/proc/{pid}/{file}").read_text(encoding="ascii", errors="replace")
    except (OSError, ValueError):
        return 0
    found = re.search(rf"^{field}:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def run(
    command: t.Sequence[str],
    group: Group,
    *,
    cwd: pathlib.Path,
    environment: t.Mapping[str, str],
    log: pathlib.Path,
    memory: bool = False,
) -> Row:
    """Run a command in a group; its exit status and what it cost. Its output goes to ``log``."""
    load = os.getloadavg()[0]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        before, started = group.seconds(), time.monotonic()
        process = subprocess.Popen(
            ["nice", *command],
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            preexec_fn=group.enter,
            start_new_session=True,  # so that an interrupt ends this program first, which then ends the command
        )
        watch = Memory(group)
        if memory:
            watch.start()
        try:
            status = process.wait()
        finally:
            end(process)
        row: Row = {"rc": status, "wall_s": time.monotonic() - started, "controller_cpu_s": group.seconds() - before}
    if memory:
        row |= watch.stop()
    return {**row, "load_before": load, "busy_before": load > (os.cpu_count() or 1) * BUSY}


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command that still runs, first in the way in which Ansible cleans up."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def machine() -> Row:
    """What the numbers depend on."""
    memory = re.search(r"^MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 1024**2) if memory else 0,
        "cpu_counted_by": hierarchy()[1],
    }
