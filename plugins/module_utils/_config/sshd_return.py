# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of sshd that comes undone by itself, unless somebody logs in anew and keeps it.

That the port answers on the node does not tell that the controller still gets in.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

# In a directory that only root writes, and that is empty after a boot.
MARKER = "/run/trainmesh-sshd-return"
AFTER_S = 120.0


def arm(restore: t.Callable[[], t.Any], after: float = AFTER_S, marker: str = MARKER, pause: float = 1.0) -> None:
    """Start a process of its own that calls ``restore`` after so many seconds, unless keep() came before."""
    with open(marker, "w", encoding="utf-8") as stream:
        stream.write("sshd's old configuration comes back when this file is still here.\n")
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    try:  # the child must never come back into the module, whatever happens
        os.setsid()
        if not os.fork():
            _wait(restore, after, marker, pause)
    finally:
        os._exit(0)


def _wait(restore: t.Callable[[], t.Any], after: float, marker: str, pause: float) -> None:
    silence = os.open(os.devnull, os.O_RDWR)  # Ansible waits until nobody holds the module's output
    for number in (0, 1, 2):
        os.dup2(silence, number)
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        if not os.path.exists(marker):
            return
        time.sleep(pause)
    if keep(marker):
        restore()


def is_armed(marker: str = MARKER) -> bool:
    """Whether a change waits for a new login."""
    return os.path.exists(marker)


def keep(marker: str = MARKER) -> bool:
    """Let the change stay; whether it was still waiting. Of two who ask at once, only one is told so."""
    with contextlib.suppress(OSError):
        os.unlink(marker)
        return True
    return False
