# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: managed blocks in files that belong to others, and files of our own."""

from __future__ import annotations

import os
import tempfile
import typing as t

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

BEGIN = "# BEGIN trainmesh.cluster (managed block, edit outside of it)"
END = "# END trainmesh.cluster"


class Change(t.NamedTuple):
    """One file that must change: its text and mode (octal, None keeps it) before and after."""

    path: str
    before: str
    after: str
    mode: int | None = None

    @property
    def diff(self) -> dict[str, str]:
        """The change as Ansible's diff shows it."""
        return {
            "before_header": self.path,
            "after_header": self.path,
            "before": self.before,
            "after": self.after,
        }


def read_text(path: str) -> str:
    """The text of a file, empty when there is none; bytes that are no UTF-8 survive a round trip."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def without_block(text: str) -> list[str]:
    """The lines of ``text`` outside of our block; an END without BEGIN, or none, does no harm."""
    lines: list[str] = []
    inside = False
    rows = text.splitlines()
    has_end = END in rows
    for row in rows:
        if row == BEGIN and has_end:
            inside = True
        elif row == END:
            inside = False
        elif row != BEGIN and not inside:
            lines.append(row)
    return lines


def with_block(text: str, block: t.Sequence[str], at_start: bool = False) -> str:
    """``text`` with our block holding these lines; an empty block is taken out altogether."""
    foreign = without_block(text)
    ours = [BEGIN, *block, END] if block else []
    if at_start:
        lines = ours + foreign
    else:
        lines = foreign + ours
    return "\n".join(lines) + "\n" if lines else ""


def mode_of(path: str) -> int | None:
    """Permission bits of a file or directory, None when it does not exist."""
    try:
        return os.stat(path).st_mode & 0o7777
    except FileNotFoundError:
        return None


def changes_of(wishes: t.Iterable[tuple[str, str, int | None]]) -> list[Change]:
    """Compare (path, text, mode) wishes with the files there are; only those that differ come back."""
    changes = []
    for path, text, mode in wishes:
        have = read_text(path)
        if have != text or (mode is not None and mode_of(path) != mode):
            changes.append(Change(path, have, text, mode))
    return changes


def write(module: AnsibleModule, change: Change) -> None:
    """Put a changed file in place at once; bind-mounted files, which can't be replaced, are written in place.

    A link stays a link: the file that it leads to is the one that changes.
    """
    path = os.path.realpath(change.path)
    handle, temporary = tempfile.mkstemp(dir=module.tmpdir or os.path.dirname(path))
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(change.after)
    existed = os.path.exists(path)
    if change.mode is not None or not existed:
        os.chmod(temporary, change.mode if change.mode is not None else 0o644)
    module.atomic_move(temporary, path, unsafe_writes=True, keep_dest_attrs=existed)
    if change.mode is not None:
        os.chmod(path, change.mode)


__all__ = ("BEGIN", "END", "Change", "changes_of", "mode_of", "read_text", "with_block", "without_block", "write")
