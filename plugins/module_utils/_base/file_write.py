# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace a file as a whole: after a crash, a kill or on a full disk it is old or new."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import stat
import tempfile

_NO_XATTR = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA, errno.EINVAL)
_PREFIX = ".trainmesh-"  # of the files that take the place of others
RANDOM = 8  # characters that tempfile adds to a name
# A mount point can't be renamed over; where its directory is read-only, or not ours, no other file can be made beside.
_ONLY_IN_PLACE = (errno.EBUSY, errno.EROFS, errno.EACCES)


def to_bytes(text: str) -> bytes:
    """A text as it was read, with the bytes that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def mode_of(path: str) -> int | None:
    """Permission bits of a file or directory, None when it does not exist."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return None


def target_of(path: str) -> str:
    """What a path leads to: a link stays one, and its target is written. Raises ValueError where it leads nowhere."""
    target = os.path.realpath(path)
    if os.path.islink(target):  # realpath gives up on a loop and returns the link itself
        raise ValueError("it is a symbolic link that leads nowhere (a loop): remove it, then run again")
    if not os.path.isdir(os.path.dirname(target)):
        raise ValueError(f"it leads to {target}, and there is no directory {os.path.dirname(target)}: make it first")
    return target


def keep(path: str, copy: str) -> None:
    """Keep a file under another name, unless that is there already."""
    if os.path.lexists(copy):
        return
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(copy), prefix=_PREFIX)
    try:
        os.close(handle)
        shutil.copy2(path, temporary)
        handle = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(handle)  # or a power cut could take the copy and leave the change
        finally:
            os.close(handle)
        os.rename(temporary, copy)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def put(target: str, before: bytes, after: bytes, mode: int | None = None) -> bool:
    """Give a file these bytes, and ``mode`` where it is not None; whether the file is new.

    Owner, mode and extended attributes are kept. Raises OSError with the file as it was; ValueError when the file no
    longer holds ``before``, since somebody else has changed it.
    """
    try:
        with open(target, "rb") as stream:
            have: bytes | None = stream.read()
    except FileNotFoundError:
        have = None
    if (have or b"") != before:
        raise ValueError("it was changed by somebody else at this moment: run again")
    try:
        replace(target, after, mode, have is not None)
    except OSError as error:
        if have is None or error.errno not in _ONLY_IN_PLACE:
            raise
        _overwrite(target, have, after)
        if mode is not None:
            os.chmod(target, mode)
    return have is None


def replace(target: str, content: bytes, mode: int | None = None, existed: bool = False) -> None:
    """Put a new file in the place of ``target``, or of nothing; where it ``existed``, it is like the old one.

    Without a mode, a file that did not exist is readable to all. Raises OSError, with nothing changed or left behind.
    """
    directory = os.path.dirname(target)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=_PREFIX)
    try:
        with os.fdopen(handle, "wb") as stream:
            if existed:
                _like(target, handle)
            if mode is not None or not existed:
                os.fchmod(handle, 0o644 if mode is None else mode)
            stream.write(content)
            stream.flush()
            os.fsync(handle)
        os.rename(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    # The file is the new one now, on file systems too that can't sync a directory, or where this user can't read it.
    with contextlib.suppress(OSError):
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def remove_left(directory: str) -> None:
    """Remove what writers that were killed have left in a directory in which nobody else writes now."""
    for path in glob.glob(os.path.join(glob.escape(directory), _PREFIX + "?" * RANDOM)):
        with contextlib.suppress(OSError):
            os.unlink(path)


def _like(model: str, handle: int) -> None:
    """Give a new file owner, mode and extended attributes of an old one."""
    info = os.stat(model)
    if (info.st_uid, info.st_gid) != (os.fstat(handle).st_uid, os.fstat(handle).st_gid):
        with contextlib.suppress(PermissionError) if os.geteuid() else contextlib.nullcontext():
            os.fchown(handle, info.st_uid, info.st_gid)
    os.fchmod(handle, stat.S_IMODE(info.st_mode))
    try:
        names = os.listxattr(model)
    except OSError:
        return  # a file system without any, such as NFS
    for name in names:
        try:
            os.setxattr(handle, name, os.getxattr(model, name))
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise


def _overwrite(target: str, before: bytes, after: bytes) -> None:
    """Write into the file itself, after its room on the disk was taken; the old bytes come back on any error."""
    handle = os.open(target, os.O_WRONLY)
    try:
        try:
            if len(after) > len(before):
                os.posix_fallocate(handle, 0, len(after))
            _fill(handle, after)
        except BaseException:
            _fill(handle, before)
            raise
    finally:
        with contextlib.suppress(OSError):  # all was synced: what the close says changes nothing
            os.close(handle)


def _fill(handle: int, content: bytes) -> None:
    at = 0
    while at < len(content):
        at += os.pwrite(handle, content[at:], at)
    os.ftruncate(handle, len(content))
    os.fsync(handle)
