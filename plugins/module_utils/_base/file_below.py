# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file below a directory, reached without following any link.

Every step goes through a descriptor opened with ``O_NOFOLLOW`` (openat(2)).
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import secrets
import stat
import time
import typing as t

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
WAIT_SECONDS = 60.0


class FileSetError(Exception):
    """The set cannot be read or written as wished; the text says which file and why."""


@dataclasses.dataclass(frozen=True)
class File:
    """A file's content and permission bits."""

    content: bytes
    mode: int
    uid: int | None = None  # of a wish: None for whoever writes it


@contextlib.contextmanager
def _parent(root: int, path: str, create: bool = False) -> t.Iterator[tuple[int, str]]:
    """A descriptor of the directory that holds ``path``, reached without following any link, and the last name."""
    *folders, name = path.split("/")
    current = os.dup(root)
    try:
        for folder in folders:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, 0o755, dir_fd=current)
            following = os.open(folder, DIRECTORY, dir_fd=current)
            os.close(current)
            current = following
        yield current, name
    finally:
        os.close(current)


def read_file(root: int, path: str) -> File | None:
    """The file, or None when there is none; FileSetError when something else than a plain file is there."""
    try:
        with _parent(root, path) as (parent, name):
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = "is or lies behind a symbolic link" if error.errno in (errno.ELOOP, errno.ENOTDIR) else str(error)
        raise FileSetError(f"{path}: {reason}; remove it, then run again") from error
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        os.close(descriptor)
        raise FileSetError(f"{path} is there and is not a plain file; remove it, then run again")
    with os.fdopen(descriptor, "rb") as source:
        return File(source.read(), stat.S_IMODE(state.st_mode), state.st_uid)


def write_file(root: int, path: str, file: File) -> None:
    """Write beside the target and rename over it: a reader sees the old file or the new one."""
    with _parent(root, path, create=True) as (parent, name):
        _remove_leftovers(parent, f".{name}.trainmesh-new")
        temporary = f".{name}.trainmesh-new-{secrets.token_hex(6)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=parent)
        with os.fdopen(descriptor, "wb") as target:
            target.write(file.content)
            target.flush()
            os.fchmod(descriptor, file.mode)
            if file.uid is not None:
                os.fchown(descriptor, file.uid, -1)
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)


def _remove_leftovers(parent: int, start: str) -> None:
    """Remove what an interrupted run left of a file; what is younger may be another run's, which still writes it."""
    for name in os.listdir(parent):
        if name.startswith(start):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.stat(name, dir_fd=parent, follow_symlinks=False).st_mtime > WAIT_SECONDS:
                    os.unlink(name, dir_fd=parent)


def remove_file(root: int, path: str) -> None:
    """Remove the file and the directories that it leaves empty."""
    with contextlib.suppress(FileNotFoundError), _parent(root, path) as (parent, name):
        os.unlink(name, dir_fd=parent)
    folder = path
    while "/" in folder:
        folder = folder.rsplit("/", 1)[0]
        try:
            with _parent(root, folder) as (parent, name):
                os.rmdir(name, dir_fd=parent)
        except OSError:
            return  # not empty, or gone


@contextlib.contextmanager
def opened(root: int, folder: str) -> t.Iterator[int]:
    with _parent(root, folder) as (parent, name):
        descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
