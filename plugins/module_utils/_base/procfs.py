# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read small files of /proc, /sys and /etc, below a root that can be replaced.

A file that is absent, not permitted or garbage is an ordinary state of a node: it reads as None
or as an empty list, never as an exception.
"""

from __future__ import annotations

import os
import re
import typing as t

SMALL = 64 * 1024
MAX_PROCESSES = 20000
_DIGITS = re.compile("([0-9]+)")


class Tree:
    """The file tree of a node; ``root`` is "/" or the directory of a recorded one."""

    def __init__(self, root: str = "/") -> None:
        self.root = root or "/"

    def path(self, path: str) -> str:
        """The place of the absolute ``path`` below the root."""
        return path if self.root == "/" else os.path.join(self.root, path.lstrip("/"))

    def text(self, path: str, limit: int = SMALL) -> str | None:
        """The first ``limit`` bytes of a file, undecodable ones replaced; None when it cannot be read.

        Opened without blocking, so that a pipe in the place of a file cannot hold the module up.
        """
        try:
            handle = os.open(self.path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        chunks: list[bytes] = []
        try:
            while limit > 0:
                chunk = os.read(handle, min(limit, SMALL))
                if not chunk:
                    break
                chunks.append(chunk)
                limit -= len(chunk)
        except OSError:
            return None  # sysfs answers EINVAL where a value does not exist, such as the speed of a bridge
        finally:
            os.close(handle)
        return b"".join(chunks).decode("utf-8", "replace")

    def line(self, path: str) -> str | None:
        """The stripped content of a one-line file, or None when there is none."""
        text = self.text(path, 4096)
        return (text or "").strip("\0 \t\r\n") or None

    def number(self, path: str, base: int = 10) -> int | None:
        """The integer in a one-line file, or None."""
        return to_int(self.line(path), base)

    def names(self, path: str, like: re.Pattern[str] | None = None) -> list[str]:
        """The sorted entries of a directory, those alone that begin ``like`` that; [] when it cannot be read."""
        try:
            found = os.listdir(self.path(path))
        except (OSError, ValueError):
            return []
        return sorted(filter(like.match, found) if like else found, key=natural)

    def pids(self) -> list[int]:
        """The processes that there are, the first 20000 of them."""
        return [int(name) for name in self.names("/proc") if name.isdigit() and name.isascii()][:MAX_PROCESSES]

    def has(self, path: str) -> bool:
        """True when something has this name, even a dangling link."""
        try:
            return os.path.lexists(self.path(path))
        except ValueError:
            return False

    def target(self, path: str) -> str | None:
        """The last part of what a link points to, such as the driver of a device, or None."""
        try:
            return os.path.basename(os.readlink(self.path(path))) or None
        except (OSError, ValueError):
            return None


def to_int(text: str | None, base: int = 10) -> int | None:
    """``text`` as an integer in ASCII digits, or None."""
    try:
        return int(text, base) if text and text.isascii() else None
    except ValueError:
        return None


def natural(name: str) -> list[t.Any]:
    """Sort key that puts mlx5_2 before mlx5_10."""
    # text and digits take turns, text first, so that like is compared with like
    return [int(part) if index % 2 else part for index, part in enumerate(_DIGITS.split(name))]


def printable(value: t.Any) -> t.Any:
    """A copy of plain data in which every string is valid UTF-8, as a module's result must be."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable(item) for item in value]
    return value
