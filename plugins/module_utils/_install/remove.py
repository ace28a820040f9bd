# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take an installation off a node: all below the prefix that is ours, and nothing that a user has put there."""

from __future__ import annotations

import os
import re
import shutil
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._config import file_set
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import disk

# What the roles make below the prefix, beside the files that the manifests name.
OURS = ("env", "environments", "var")
WORKSPACE = "workspace"
_MANIFEST = re.compile(r"\.trainmesh-[a-z]{1,32}\.json\Z")


class Plan(t.NamedTuple):
    """Paths that go, in the order in which they go; paths below the prefix that stay; and why all stays, if it does."""

    remove: list[str]
    keep: list[str]
    why: str = ""


def shared_by(path: str, table: t.Sequence[disk.Mount]) -> str:
    """The type of a file system that other nodes may have mounted as well; empty for a local one."""
    mount = disk.mount_of(table, os.path.realpath(path))
    return mount.fs_type if mount and mount.fs_type not in disk.LOCAL else ""


def plan(prefix: str, table: t.Sequence[disk.Mount]) -> Plan:
    """What goes and what stays; reads names only. ``table`` are the mounts. Raises OSError, FileSetError."""
    kind = shared_by(prefix, table)
    if kind:
        return Plan([], [prefix], f"it lies on {kind}, which other nodes may use as well")
    try:
        entries = sorted(os.listdir(prefix))
    except FileNotFoundError:
        return Plan([], [])
    manifests = [name for name in entries if _MANIFEST.match(name)]
    if not manifests and set(entries) - {*OURS, WORKSPACE}:
        return Plan([], [prefix], "nothing in it says that it is an installation of this collection")
    files = [path for name in manifests for path in file_set.read(prefix, (), name)[1]]
    marks = [f"{prefix}/{name}" for name in manifests]
    listed = {f"{prefix}/{path}" for path in files}
    trees = [f"{prefix}/{name}" for name in OURS if name in entries]
    remove, keep = sorted(path for path in listed if os.path.lexists(path)) + trees, list[str]()
    for name in entries:
        if f"{prefix}/{name}" not in (*trees, *marks):
            _walk(f"{prefix}/{name}", listed, remove, keep)
    # What tells that all this is ours goes last, so that a run that was killed can be followed by another.
    return Plan([*remove, *marks, *([] if keep else [prefix])], keep)


def _walk(path: str, listed: t.Collection[str], remove: list[str], keep: list[str]) -> None:
    """A directory in which nothing stays goes after its files.

    One without a file of ours stays whole and unread: a user may exchange what is in it, and it may hold a data set.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        if _compiled_from(path) in listed:
            remove.append(path)
        elif path not in listed:
            keep.append(path)
        return
    name = os.path.basename(path)
    if name == WORKSPACE and not os.listdir(path):
        remove.append(path)
        return
    above = os.path.dirname(path) if name == "__pycache__" else path
    if not any(each.startswith(f"{above}/") for each in listed):
        keep.append(path)
        return
    before = len(keep)
    for name in sorted(os.listdir(path)):
        _walk(f"{path}/{name}", listed, remove, keep)
    if len(keep) == before:
        remove.append(path)


def _compiled_from(path: str) -> str:
    """The program whose compiled form Python has put here; empty for another file."""
    folder, name = os.path.split(path)
    above, cache = os.path.split(folder)
    return f"{above}/{name.partition('.')[0]}.py" if cache == "__pycache__" and name.endswith(".pyc") else ""


def apply(todo: Plan) -> None:
    """Remove files, trees and emptied directories; a link goes, and what it leads to stays. Raises OSError."""
    for path in todo.remove:
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
        elif os.path.basename(path) in OURS:
            shutil.rmtree(path)
        else:
            os.rmdir(path)
