# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that an installation writes, all of them or none."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write


class Content(t.NamedTuple):
    """What a file holds before and after; None: there is no such file."""

    before: bytes | None
    after: bytes | None


def compare(wanted: t.Mapping[str, bytes | None]) -> dict[str, Content]:
    """The files that differ from what they should hold."""
    found = {}
    for path, after in wanted.items():
        try:
            with open(path, "rb") as stream:
                before: bytes | None = stream.read()
        except FileNotFoundError:
            before = None
        if before != after:
            found[path] = Content(before, after)
    return found


def _set(path: str, content: bytes | None) -> None:
    if content is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file_write.replace(path, content, 0o644)


def write(changes: t.Mapping[str, Content]) -> None:
    """Write all; raises OSError with all as they were."""
    done = list[str]()
    try:
        for path, content in changes.items():
            done.append(path)
            _set(path, content.after)
    except OSError:
        restore({path: changes[path] for path in done})
        raise


def restore(changes: t.Mapping[str, Content]) -> None:
    """Put back what was there."""
    for path, content in changes.items():
        with contextlib.suppress(OSError):
            _set(path, content.before)


def diff(changes: t.Mapping[str, Content]) -> list[dict[str, str]]:
    """The changes as Ansible shows them; keys in binary form only by their size."""
    return [
        {"before_header": path, "after_header": path, "before": _shown(each.before), "after": _shown(each.after)}
        for path, each in changes.items()
    ]


def _shown(content: bytes | None) -> str:
    if content is None:
        return ""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return f"({len(content)} bytes)\n"
