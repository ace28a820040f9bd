# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks that were moved aside, each with uv's answer that belongs to it.

Groups that share a directory take turns, and each finds its own lock again.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels import lockfile
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._wheels.uv import text_of

# The lock comes last: while it is in its place, the run before has ended its work.
_FILES = (("pylock", ".toml"), ("requirements", ".txt"))
_STAMP = re.compile(r"requirements-(\d{4}-\d\d-\d\d-[\d-]+)\.txt\Z")


def move(directory: str) -> str:
    """Move the lock aside; returns its new path."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S-%f")
    for stem, end in _FILES:
        with contextlib.suppress(FileNotFoundError):
            os.replace(os.path.join(directory, stem + end), _aside(directory, stem, stamp, end))
    return _aside(directory, "requirements", stamp, ".txt")


def find(directory: str, head: t.Sequence[str]) -> str:
    """The stamp of the newest lock aside with this head; empty when there is none."""
    names = sorted(os.listdir(directory), reverse=True) if os.path.isdir(directory) else []
    for match in filter(None, map(_STAMP.match, names)):
        with contextlib.suppress(ValueError):
            if lockfile.read(text(directory, match[1])).head == head:
                return match[1]
    return ""


def text(directory: str, stamp: str) -> str:
    """The text of a lock aside."""
    return text_of(_aside(directory, "requirements", stamp, ".txt"))


def restore(directory: str, stamp: str) -> None:
    """Put a lock in its place again."""
    for stem, end in _FILES:
        with contextlib.suppress(FileNotFoundError):
            os.replace(_aside(directory, stem, stamp, end), os.path.join(directory, stem + end))


def _aside(directory: str, stem: str, stamp: str, end: str) -> str:
    return os.path.join(directory, f"{stem}-{stamp}{end}")
