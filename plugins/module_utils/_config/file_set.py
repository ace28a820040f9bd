# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of files under one directory, written as one thing.

The names of the files written are kept in a manifest beside them, so that a file that leaves the set
is removed, and no file of anybody else ever is. The directory may belong to an unprivileged user
while root writes into it, so no symbolic link below it is followed: every step goes through a
descriptor opened with ``O_NOFOLLOW`` (openat(2)).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import umask
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.file_below import (
    DIRECTORY,
    WAIT_SECONDS,
    File,
    FileSetError,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.file_below import opened as _opened
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.file_below import read_file as _read_file
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.file_below import remove_file as _remove_file
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.file_below import write_file as _write_file

MANIFEST = ".trainmesh-{}.json"
NAME = re.compile(r"[a-z]{1,32}\Z")
_MANIFEST = re.compile(r"\.trainmesh-[a-z]+\.json\Z")
MODE = re.compile(r"0?[0-7]{3}\Z")
SHOWN_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Plan:
    """What must be written and what removed, by relative path; ``before`` is what is there now."""

    write: t.Mapping[str, File]
    remove: t.Sequence[str]
    before: t.Mapping[str, File]
    manifest: t.Sequence[str]
    manifest_stale: bool
    take: t.Sequence[str] = ()  # directories that somebody else owns

    @property
    def changed(self) -> bool:
        """True when anything must be done."""
        return bool(self.write or self.remove or self.manifest_stale or self.take)


def wish_of(entries: t.Iterable[t.Mapping[str, str]]) -> dict[str, File]:
    """The wished files by path; FileSetError for a path that leaves the directory, twice given, or a bad mode."""
    wish: dict[str, File] = {}
    for entry in entries:
        path = checked_path(entry["path"])
        if path in wish:
            raise FileSetError(f"{path} is given twice")
        mode = str(entry.get("mode") or "0644")
        if not MODE.match(mode):
            raise FileSetError(f"{path}: the mode is three octal digits such as 0644, not {mode}")
        wish[path] = File(entry["content"].encode(), int(mode, 8))
    for path in wish:
        for other in wish:
            if other.startswith(f"{path}/"):
                raise FileSetError(f"{path} is given as a file and as a directory of {other}")
    return wish


def checked_path(path: str) -> str:
    """``path`` when it is relative and stays in the directory."""
    parts = path.split("/")
    if not path or path.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in path:
        raise FileSetError(f"{path!r} is not a plain path below the directory")
    if _MANIFEST.match(path):
        raise FileSetError(f"{path} is the list of the files itself")
    return path


def manifest_of(name: str) -> str:
    """The manifest of the set of this name; FileSetError for a name that is none."""
    if not NAME.match(name):
        raise FileSetError(f"the name of a set is at most 32 small letters, not {name!r}")
    return MANIFEST.format(name)


def read(directory: str, wish: t.Iterable[str], manifest: str) -> tuple[dict[str, File], list[str]]:
    """What is there: the files of ``wish`` and of the manifest, and the manifest's names."""
    try:
        root = os.open(directory, DIRECTORY)
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        raise FileSetError(f"{directory}: {os.strerror(error.errno or 0)}") from error
    try:
        listed = _read_file(root, manifest)
        names = _names(listed.content) if listed else []
        found = {path: _read_file(root, path) for path in dict.fromkeys([*wish, *names])}
        return {path: file for path, file in found.items() if file is not None}, names
    finally:
        os.close(root)


def plan(wish: t.Mapping[str, File], have: t.Mapping[str, File], listed: t.Sequence[str]) -> Plan:
    """Pure: the difference between the wish and what is there."""
    write = {path: file for path, file in wish.items() if not _is_as_wished(have.get(path), file)}
    remove = [path for path in listed if path not in wish and path in have]
    names = sorted(wish)
    return Plan(write, remove, have, names, list(listed) != names)


def _planned(directory: str, wish: t.Mapping[str, File], manifest: str, uid: int | None) -> Plan:
    take = [] if uid is None else folders_of_others(directory, wish, uid)
    return dataclasses.replace(plan(wish, *read(directory, wish, manifest)), take=take)


def converge(
    directory: str, wish: t.Mapping[str, File], manifest: str, check_mode: bool = False, uid: int | None = None
) -> Plan:
    """Make the files as wished, and return what that took. Another run that writes here is waited for, and what it
    wrote is read again, so that the manifest of neither is lost. With ``uid`` directories are that user's, too."""
    todo = _planned(directory, wish, manifest, uid)
    if not todo.changed or check_mode:
        return todo
    with umask.readable():
        os.makedirs(directory, mode=0o755, exist_ok=True)
    with _alone(directory):
        todo = _planned(directory, wish, manifest, uid)
        if todo.changed:
            apply(directory, todo, manifest)
    return todo


def rows(files: t.Mapping[str, File]) -> list[tuple[str, int, str]]:
    """Path, mode and digest of each file."""
    return [(path, files[path].mode, hashlib.sha256(files[path].content).hexdigest()) for path in sorted(files)]


def settled(directory: str, manifest: str, private: int | None = None) -> list[tuple[str, int, str]] | None:
    """The rows() of the set where writing just that would change nothing, else None; ``private`` as in owned()."""
    have, listed = read(directory, (), manifest)
    if private is None:
        todo = plan(have, have, listed)
    else:
        wish = owned(have, 0, private)
        todo = dataclasses.replace(plan(wish, have, listed), take=folders_of_others(directory, wish, 0))
    return None if todo.changed else rows(have)


@contextlib.contextmanager
def _alone(directory: str) -> t.Iterator[None]:
    """One writer at a time, on file systems that know such locks."""
    root = os.open(directory, DIRECTORY)
    deadline = time.monotonic() + WAIT_SECONDS
    try:
        while True:
            try:
                fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise FileSetError("another run writes its files here and does not end; run it again") from None
            except OSError:
                break  # no such locks here: temporary names are random, so that each file is whole all the same
            time.sleep(0.1)
        yield
    finally:
        os.close(root)


def _is_as_wished(have: File | None, wish: File) -> bool:
    return have is not None and (have.content, have.mode) == (wish.content, wish.mode) and wish.uid in (None, have.uid)


def owned(wish: t.Mapping[str, File], uid: int, private: int) -> dict[str, File]:
    """The wish with an owner for each file: ``private`` for those that only their owner may read."""
    return {path: dataclasses.replace(file, uid=uid if file.mode & 0o077 else private) for path, file in wish.items()}


def folders_of_others(directory: str, wish: t.Iterable[str], uid: int) -> list[str]:
    """The directories of the wish's files that somebody else owns, those above first."""
    parts = [path.split("/")[:-1] for path in wish]
    folders = sorted({"/".join(each[: count + 1]) for each in parts for count in range(len(each))})
    found = []
    root = os.open(directory, DIRECTORY)
    try:
        for folder in folders:
            with contextlib.suppress(FileNotFoundError), _opened(root, folder) as descriptor:
                found += [folder] if os.fstat(descriptor).st_uid != uid else []
    finally:
        os.close(root)
    return found


def apply(directory: str, todo: Plan, manifest: str) -> None:
    """Write, then remove. The manifest names old and new files until all is done, so that a run that is
    cut short forgets none. Root writes what the job user reads, whatever root's umask is."""
    with umask.readable():
        _apply(directory, todo, manifest)


def _apply(directory: str, todo: Plan, manifest: str) -> None:
    os.makedirs(directory, mode=0o755, exist_ok=True)
    root = os.open(directory, DIRECTORY)
    try:
        for folder in todo.take:  # before what is in them, which nobody exchanges any more
            with _opened(root, folder) as descriptor:
                os.fchown(descriptor, os.geteuid(), os.getegid())
                os.fchmod(descriptor, 0o755)
        if todo.write or todo.remove:
            _write_file(root, manifest, _manifest_file([*todo.manifest, *todo.remove]))
        for path, file in todo.write.items():
            _write_file(root, path, file)
        for path in todo.remove:
            _remove_file(root, path)
        if todo.manifest:
            _write_file(root, manifest, _manifest_file(todo.manifest))
        else:
            _remove_file(root, manifest)
    except OSError as error:
        raise FileSetError(f"{directory}: {error}") from error
    finally:
        os.close(root)


def differences(directory: str, todo: Plan, secret: bool = False) -> list[dict[str, str]]:
    """Before and after of every file that changes, as Ansible shows them."""
    diffs = []
    for path in [*todo.write, *todo.remove]:
        before, after = todo.before.get(path), todo.write.get(path)
        hidden = secret or any(file is not None and not file.mode & 0o077 for file in (before, after))
        diffs.append(
            {
                "before_header": f"{directory}/{path}" + (f" (mode {before.mode:04o})" if before else " (absent)"),
                "after_header": f"{directory}/{path}" + (f" (mode {after.mode:04o})" if after else " (absent)"),
                "before": _shown(before, hidden, "content before"),
                "after": _shown(after, hidden, "content after"),
            }
        )
    return diffs


def _shown(file: File | None, hidden: bool, name: str) -> str:
    """A file's text for a diff; a file that only its owner may read is not shown."""
    if file is None:
        return ""
    if hidden:
        return f"({name} not shown: {len(file.content)} bytes)\n"
    return file.content[:SHOWN_BYTES].decode("utf-8", "replace")


def _names(content: bytes) -> list[str]:
    """The manifest's names; a manifest that somebody broke or forged names nothing outside the directory."""
    try:
        return [checked_path(str(name)) for name in json.loads(content)["files"]]
    except (ValueError, KeyError, TypeError, FileSetError):
        return []


def _manifest_file(names: t.Iterable[str]) -> File:
    return File((json.dumps({"files": sorted(set(names))}, indent=1) + "\n").encode(), 0o644)
