# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners of an interrupted run that hold a port which the next run wants.

Its token may be another than that of the next run, so that it can't be told to stop. It is known by the
abstract unix socket that every listener of ours has, in the same process as the port.
"""

from __future__ import annotations

import os
import re
import signal
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import ports as fabric_ports

CONTROL = re.compile(r"@trainmesh-[0-9a-f]{24}\Z")
PATIENCE_S, PAUSE_S = 3.0, 0.05


def holders(ports: t.Collection[int], tree: Tree | None = None) -> list[int]:
    """The processes of our listeners that hold one of the ports."""
    tree = tree or Tree()
    rows = [line.split() for line in (tree.text("/proc/net/unix", 4 << 20) or "").splitlines()[1:]]
    ours = {f"socket:[{row[6]}]" for row in rows if len(row) > 7 and CONTROL.match(row[7])}
    wanted = {f"socket:[{item.inode}]" for item in fabric_ports.listeners(tree) if item.port in ports}
    if not ours or not wanted:
        return []
    found = []
    for name in filter(str.isdigit, tree.names("/proc")):
        links = {tree.target(f"/proc/{name}/fd/{number}") for number in tree.names(f"/proc/{name}/fd")}
        if links & ours and links & wanted and int(name) != os.getpid():
            found.append(int(name))
    return found


def end(ports: t.Collection[int]) -> list[int]:
    """End them; the processes that are gone now. One of another user stays, unless this is root."""
    ended = []
    for pid in holders(ports):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except OSError:
                break
            if _gone(pid, ports):
                ended.append(pid)
                break
    return ended


def _gone(pid: int, ports: t.Collection[int]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if pid not in holders(ports):
            return True
        time.sleep(PAUSE_S)
    return False
