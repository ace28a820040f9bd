# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine whose GPUs are read, real or recorded.

A recorded machine is a directory with the files that were copied from a real one (``proc/``,
``sys/``, ``var/log/``) and with commands in ``usr/bin/`` that print what the real ones printed. So
tests replay a node with eight GPUs, or one whose nvidia-smi hangs, where there is no GPU at all.
"""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome, run
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import which

MAX_LINKS = 40


class Machine:
    """Where the files and commands of one machine are, and how much time is left to ask it."""

    def __init__(
        self, root: str = "/", timeout: float = 30.0, commands: t.Mapping[str, str | None] | None = None
    ) -> None:
        """``timeout`` in seconds for everything together; ``commands`` overrides where a command is."""
        self.root = os.path.abspath(root)
        self.replayed = self.root != "/"
        self.timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._commands = dict(commands or {})

    def path(self, relative: str) -> str:
        """The path of a file of the machine, given without its leading slash."""
        return os.path.join(self.root, relative)

    def read(self, relative: str, limit: int = 65536, tail: bool = False) -> str | None:
        """The first (or last) ``limit`` bytes of a file as text, or None when it cannot be read.

        Opened without blocking: a named pipe in a recorded machine must not stop the module.
        """
        try:
            handle = os.open(self.path(relative), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            with os.fdopen(handle, "rb") as stream:
                if tail:
                    stream.seek(max(0, os.fstat(stream.fileno()).st_size - limit))
                return (stream.read(limit) or b"").decode("utf-8", "replace")
        except OSError:
            return None

    def listing(self, relative: str) -> list[str] | None:
        """The sorted names in a directory, or None when there is no such directory."""
        try:
            return sorted(os.listdir(self.path(relative)))
        except OSError:
            return None

    def exists(self, relative: str) -> bool:
        """True when there is such a file, link or directory."""
        return os.path.lexists(self.path(relative))

    def link(self, relative: str) -> str | None:
        """The last part of what a symbolic link points to, or None when it is no link."""
        try:
            return os.path.basename(os.readlink(self.path(relative)))
        except OSError:
            return None

    def end_of_links(self, relative: str) -> str | None:
        """The name of the file at the end of a chain of links, such as Debian's alternatives; None when it is no link.

        Absolute links lead below the root of the machine; the last one may lead to nothing.
        """
        place, name = relative, None
        for _link in range(MAX_LINKS):
            try:
                target = os.readlink(self.path(place))
            except OSError:
                return name
            place = os.path.normpath(os.path.join("/", os.path.dirname(place), target)).lstrip("/")
            name = os.path.basename(place)
        return None

    def seconds_left(self, reserve: float = 0.0) -> float:
        """Seconds that may still be spent, less a share of the whole time that others need later."""
        return max(0.0, self._deadline - time.monotonic() - reserve * self.timeout)

    def command(self, name: str) -> str | None:
        """The full path of a command; a recorded machine has its own and lends nothing but nvidia-smi."""
        if name not in self._commands:
            own = self.path(f"usr/bin/{name}") if self.replayed else None
            found = own if own and _is_executable(own) else None
            if found is None and (not self.replayed or name == "nvidia-smi"):
                found = which(name)
            self._commands[name] = found
        return self._commands[name]

    def run(self, name: str, *arguments: str, limit: float | None = None, reserve: float = 0.0) -> Outcome | None:
        """Run a command within the time left and ``limit`` seconds; None when there is no such command."""
        path = self.command(name)
        if path is None:
            return None
        left = self.seconds_left(reserve)
        return run([path, *arguments], left if limit is None else min(left, limit), cwd="/")


def _is_executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
