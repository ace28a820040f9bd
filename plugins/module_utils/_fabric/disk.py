# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk space and file-system types, without touching a mount that may hang.

stat() and statvfs() on a network or FUSE file system whose server is gone never return and cannot
always be killed. So paths are followed step by step along the mount table, and as soon as one leaves
the local file systems the rest is left to a child process with a limit.
"""

from __future__ import annotations

import json
import os
import sys
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree

_LOCAL = "bcachefs btrfs devtmpfs erofs ext2 ext3 ext4 f2fs jfs overlay ramfs rootfs squashfs tmpfs vfat xfs zfs"
LOCAL = frozenset(_LOCAL.split())
MAX_LINKS = 40
CHILD = """
import json, os, sys
place = sys.argv[1]
while not os.path.exists(place) and place != "/":
    place = os.path.dirname(place)
try:
    s = os.statvfs(place)
    answer = {"existing": place, "total_bytes": s.f_blocks * s.f_frsize, "free_bytes": s.f_bavail * s.f_frsize,
              "readonly": bool(s.f_flag & os.ST_RDONLY), "noexec": bool(s.f_flag & os.ST_NOEXEC)}
except OSError as error:
    answer = {"existing": place, "error": error.strerror}
print(json.dumps(answer))
"""


class Mount(t.NamedTuple):
    """One line of the mount table."""

    place: str
    fs_type: str
    source: str
    readonly: bool


def mounts(files: Tree) -> list[Mount]:
    """The mount table of this process in the order of mounting."""
    return parse_mountinfo(files.text("/proc/self/mountinfo", 4 * 1024 * 1024) or "")


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts in the text of /proc/PID/mountinfo. Format: proc_pid_mountinfo(5)."""
    found = []
    for line in text.split("\n"):
        before, dash, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if dash and len(left) >= 6 and len(right) >= 2:
            readonly = "ro" in left[5].split(",") or (len(right) > 2 and "ro" in right[2].split(","))
            found.append(Mount(_unescape(left[4]), right[0], _unescape(right[1]), readonly))
    return found


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def is_mounted(table: t.Iterable[Mount], path: str) -> bool:
    """True when ``path`` itself is a mount point, as /etc/hosts is in most containers."""
    return any(mount.place == path for mount in table)


def mount_of(table: t.Sequence[Mount], path: str) -> Mount | None:
    """The mount that a normalised absolute path without links lies on; the last of several on one place."""
    best: Mount | None = None
    for mount in table:
        inside = path == mount.place or path.startswith(mount.place.rstrip("/") + "/")
        if inside and (best is None or len(mount.place) >= len(best.place)):
            best = mount
    return best


def follow(table: t.Sequence[Mount], path: str) -> tuple[str, bool]:
    """(nearest existing parent with links resolved, is it local).

    When a step lands on a file system that is not known to be local, that step is returned with the
    rest of the path and False: nothing there has been touched.
    """
    todo = [part for part in os.path.normpath(path).split("/") if part]
    place, links = "/", 0
    while todo:
        step = os.path.join(place, todo[0])
        if not _local(table, step):
            return os.path.join(step, *todo[1:]), False
        try:
            target = os.readlink(step)
        except OSError:
            if not os.path.lexists(step):
                return place, True
            place = step
            todo.pop(0)
            continue
        links += 1
        if links > MAX_LINKS:
            return place, True
        full = os.path.normpath(os.path.join(place, target, *todo[1:]))
        place, todo = "/", [part for part in full.split("/") if part]
    return place, True


def _local(table: t.Sequence[Mount], path: str) -> bool:
    mount = mount_of(table, path)
    return mount is not None and mount.fs_type in LOCAL


def expanded(path: str, home: str | None) -> str:
    """The absolute path, with ~ as ``home``, or as the home of who asks where that is None."""
    if home and (path == "~" or path.startswith("~/")):
        path = home + path[1:]
    return os.path.abspath(os.path.expanduser(path))


def disks(
    table: t.Sequence[Mount], paths: t.Iterable[str], limit: float, home: str | None = None
) -> dict[str, dict[str, t.Any]]:
    """Space and type of the file system of each path, under the path as it was given (~ is expanded).

    Each has ``path``, ``existing`` (the nearest parent that exists), ``mount``, ``source``, ``fs_type``,
    ``local``, ``total_bytes``, ``free_bytes`` (for an ordinary user), ``readonly``, ``noexec`` and ``error``.
    """
    found: dict[str, dict[str, t.Any]] = {}
    remote: dict[str, list[str]] = {}
    for given in paths:
        full = expanded(given, home)
        place, local = follow(table, full)
        found[given] = {"path": full, "local": local, "error": None, **_described(mount_of(table, place))}
        if local:
            found[given].update(space(place))
        else:
            remote.setdefault(place, []).append(given)
    for place, names in remote.items():
        answer = _ask_child(place, limit / len(remote))
        for given in names:
            found[given].update(answer)
    return found


def _described(mount: Mount | None) -> dict[str, t.Any]:
    if mount is None:
        return {"mount": None, "source": None, "fs_type": None, "readonly": None}
    return {"mount": mount.place, "source": mount.source, "fs_type": mount.fs_type, "readonly": mount.readonly}


def _unknown(error: str | None) -> dict[str, t.Any]:
    return {"total_bytes": None, "free_bytes": None, "noexec": None, "error": error}


def space(place: str) -> dict[str, t.Any]:
    """``existing``, ``total_bytes``, ``free_bytes``, ``readonly``, ``noexec`` of a place that is known to answer."""
    try:
        found = os.statvfs(place)
    except OSError as error:
        return {"existing": place, **_unknown(error.strerror)}
    return {
        "existing": place,
        "total_bytes": found.f_blocks * found.f_frsize,
        "free_bytes": found.f_bavail * found.f_frsize,
        "readonly": bool(found.f_flag & os.ST_RDONLY),
        "noexec": bool(found.f_flag & os.ST_NOEXEC),
    }


def _ask_child(place: str, limit: float) -> dict[str, t.Any]:
    """What :func:`space` says, from a child with a time limit; it has a place to itself, so one cannot hide another."""
    outcome = run([sys.executable or "python3", "-I", "-S", "-c", CHILD, place], limit)
    error = f"the file system did not answer within {limit:g} seconds" if outcome.timed_out else outcome.err.strip()
    try:
        answer = json.loads(outcome.out)
        return {**_unknown(None), "existing": None, **answer}
    except (ValueError, TypeError):
        return {"existing": None, **_unknown(error or "the file system could not be asked")}


def shared_memory(table: t.Sequence[Mount]) -> dict[str, int] | None:
    """``total_bytes`` and ``free_bytes`` of /dev/shm, None when it is not a mounted tmpfs."""
    mount = mount_of(table, "/dev/shm")
    if mount is None or mount.place != "/dev/shm" or mount.fs_type not in LOCAL:
        return None
    found = space("/dev/shm")
    return None if found.get("error") else {key: found[key] for key in ("total_bytes", "free_bytes")}
