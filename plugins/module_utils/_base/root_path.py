# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that root makes, reached only through what nobody but root may write.

As root changes owners there, nobody may exchange a step of the path for a link meanwhile. So each step is
opened in the directory before, which is root's alone: its entries, links too, are then root's own words. Of a
directory with the sticky bit, such as /tmp, this is true of the entries that are root's.
"""

from __future__ import annotations

import os
import stat

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_LINKS = 40


class SharedError(Exception):
    """The path leads through a directory that others than root may write; the text is its name."""


def others_may_write(info: os.stat_result) -> bool:
    """Whether anybody but root may put something into a directory, or into the place of a file's content."""
    by_group = bool(info.st_mode & stat.S_IWGRP) and info.st_gid != 0
    return info.st_uid != 0 or by_group or bool(info.st_mode & stat.S_IWOTH)


def open_directory(path: str, create: bool = True) -> int:
    """A descriptor of the directory, made with its parents where they are missing; raises SharedError, OSError."""
    steps, links, place = _steps(path), 0, "/"
    current = os.open("/", DIRECTORY)
    try:
        while True:
            info = os.fstat(current)
            is_shared = others_may_write(info)
            if is_shared and not (steps and info.st_uid == 0 and info.st_mode & stat.S_ISVTX):
                raise SharedError(place)
            if not steps:
                return os.dup(current)
            name = steps.pop(0)
            if is_shared and not _is_roots(current, name):
                raise SharedError(place)
            target = _entry(current, name, create)
            if target is not None:
                links += 1
                if links > MAX_LINKS:
                    raise OSError(f"{path}: too many symbolic links")
                steps = _steps(target) + steps
                if not target.startswith("/"):
                    continue
                name, place = "/", "/"
            else:
                place = os.path.normpath(os.path.join(place, name))  # no link is left in it
            following = os.open(name, DIRECTORY, dir_fd=current)
            os.close(current)
            current = following
    finally:
        os.close(current)


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step not in ("", ".")]


def _is_roots(parent: int, name: str) -> bool:
    try:
        return name != ".." and os.stat(name, dir_fd=parent, follow_symlinks=False).st_uid == 0
    except FileNotFoundError:
        return False


def _entry(parent: int, name: str, create: bool) -> str | None:
    """Where an entry leads when it is a link, else None; a directory is made where there is nothing."""
    try:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        if not create:
            raise
        os.mkdir(name, 0o755, dir_fd=parent)
        return None
    return os.readlink(name, dir_fd=parent) if stat.S_ISLNK(info.st_mode) else None


def is_roots(path: str) -> bool:
    """Whether a directory, and the way to it, is root's alone; True where it is still to be made in such a place."""
    try:
        os.close(open_directory(path, create=False))
    except SharedError:
        return False
    except FileNotFoundError:
        return True
    return True


def lay_out(path: str, names: tuple[str, ...], uid: int, gid: int) -> None:
    """Make a directory root's, with directories of these names in it for a user. Raises SharedError, OSError.

    The directory comes first: then nobody exchanges what is in it. What is there is somebody's and stays as it is,
    except an empty directory of root's, which an interrupted run has left.
    """
    parent = open_directory(os.path.dirname(path))
    try:
        directory = _made(parent, os.path.basename(path))
    finally:
        os.close(parent)
    try:
        if others_may_write(os.fstat(directory)):
            os.fchown(directory, 0, 0)
            os.fchmod(directory, 0o755)
        for name in names:
            if not os.path.islink(f"{path}/{name}"):
                _give(directory, name, uid, gid)
    finally:
        os.close(directory)


def _made(parent: int, name: str) -> int:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        pass  # it is opened now, and looked at
    return os.open(name, DIRECTORY, dir_fd=parent)


def _give(parent: int, name: str, uid: int, gid: int) -> None:
    directory = _made(parent, name)
    try:
        if os.fstat(directory).st_uid == 0 and not os.listdir(directory):
            os.fchown(directory, uid, gid)
    finally:
        os.close(directory)
