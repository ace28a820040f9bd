# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the run itself: since when it runs, on which inventory, and what the last one had found."""

from __future__ import annotations

import datetime
import os
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._report import since

_TICKS = 19  # the start of a process in ticks since boot, counted behind its name: proc_pid_stat(5)


class About(t.TypedDict):
    """The keywords of data.build() for it."""

    started: str
    inventory: str
    last: t.Any


def about(variables: t.Mapping[str, t.Any], directory: str) -> About:
    """``directory`` is where the last report lies."""
    sources = [str(source) for source in variables.get("ansible_inventory_sources") or ()]
    # ansible-playbook is the parent of the process in which an action plugin works
    return {
        "started": began(os.getppid()),
        "inventory": ", ".join(map(_short, sources)),
        "last": since.last(directory),
    }


def _short(source: str) -> str:
    """The file with its directory; a list of hosts has no name."""
    return "host list" if "," in source else "/".join(source.rstrip("/").split("/")[-2:])


def began(pid: int) -> str:
    """When a process was started, ISO 8601; empty where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            ticks = int(stream.read().rpartition(")")[2].split()[_TICKS])
    except (OSError, ValueError, IndexError):
        return ""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    at = datetime.datetime.fromtimestamp(time.time() - age, datetime.timezone.utc)
    return at.isoformat(timespec="seconds")
