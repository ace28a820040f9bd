# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Managed blocks in files that belong to others, and files of our own.

Foreign lines stay byte for byte. A line ends at ``\\n`` and nowhere else: to ``str.splitlines`` a form feed in a
comment of authorized_keys ends one too, and what follows would become a key without its options.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import file_write

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

BEGIN = "# BEGIN trainmesh.cluster (managed block, edit outside of it)"
END = "# END trainmesh.cluster"
BACKUP = ".before-trainmesh"
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_CONTEXT = 3


class BlockError(ValueError):
    """The marks of our block do not stand as one pair, so that nobody can tell which lines are ours."""


class Change(t.NamedTuple):
    """One file that must change: its text and mode (octal, None keeps it) before and after."""

    path: str
    before: str
    after: str
    mode: int | None = None

    @property
    def diff(self) -> dict[str, str]:
        """The change as Ansible's diff shows it: the lines that differ, with a few around them."""
        before, after = lines_of(self.before), lines_of(self.after)
        shortest = min(len(before), len(after))
        head = next((at for at in range(shortest) if before[at] != after[at]), shortest)
        most = shortest - head
        tail = next((at for at in range(most) if before[-1 - at] != after[-1 - at]), most)
        shown = [rows[max(head - _CONTEXT, 0) : len(rows) - max(tail - _CONTEXT, 0)] for rows in (before, after)]
        texts = ["".join(map(_printable, "".join(rows))) for rows in shown]
        return {"before_header": self.path, "after_header": self.path, "before": texts[0], "after": texts[1]}


def _printable(sign: str) -> str:
    """A character as a terminal may show it: none that it would obey, and no byte that is no UTF-8."""
    return sign if sign.isprintable() or sign in "\n\t" else "\ufffd"


def read_text(path: str) -> str:
    """The text of a file, empty when there is none; every byte survives a round trip."""
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""


def lines_of(text: str) -> list[str]:
    """The lines of a text with their ends."""
    return _LINE.findall(text)


def mark_of(line: str) -> str | None:
    """BEGIN or END when a line is one of them, whatever blanks an editor left behind it."""
    bare = line.rstrip(" \t\r\n")
    return bare if bare in (BEGIN, END) else None


def _has_block(text: str) -> bool:
    return any(map(mark_of, lines_of(text)))


def without_block(text: str) -> list[str]:
    """The lines of ``text`` outside of our block, with their ends; raises BlockError where the marks are no pair."""
    rows = lines_of(text)
    marks = [(number, mark) for number, mark in enumerate(map(mark_of, rows)) if mark]
    if not marks:
        return rows
    if [mark for _number, mark in marks] != [BEGIN, END]:
        found = ", ".join(f"{str(mark).split()[1]} in line {number + 1}" for number, mark in marks)
        raise BlockError(
            f"expected one block from '{BEGIN}' to '{END}', found {found}: put the marks right, or remove these "
            "lines and those of the cluster between them, and run again; nothing was written"
        )
    return rows[: marks[0][0]] + rows[marks[1][0] + 1 :]


def with_block(text: str, block: t.Sequence[str], at_start: bool = False) -> str:
    """``text`` with our block holding these lines; an empty block is taken out altogether. Raises BlockError."""
    foreign = "".join(without_block(text))
    ours = "".join(f"{line}\n" for line in (BEGIN, *block, END)) if block else ""
    if at_start:
        return ours + foreign
    gap = "\n" if ours and foreign and not foreign.endswith("\n") else ""
    return foreign + gap + ours


def block_in(text: str) -> list[str]:
    """The lines between the first and the last of our marks, as with_block() takes them."""
    rows = lines_of(text)
    marks = [number for number, row in enumerate(rows) if mark_of(row)]
    return [row[:-1] for row in rows[marks[0] + 1 : marks[-1]]] if marks else []


def settled(text: str, at_start: bool = False) -> list[str] | None:
    """The lines of our block where writing just these would change nothing; None where it would, or is refused."""
    block = block_in(text)
    try:
        return block if with_block(text, block, at_start) == text else None
    except BlockError:
        return None


def edited(path: str, block: t.Sequence[str], at_start: bool = False) -> str:
    """The text of a file with our block; raises BlockError, which names the file."""
    try:
        return with_block(read_text(path), block, at_start)
    except BlockError as error:
        raise BlockError(f"{path}: {error}") from None


def changes_of(wishes: t.Iterable[tuple[str, str, int | None]]) -> list[Change]:
    """Compare (path, text, mode) wishes with the files there are; only those that differ come back."""
    changes = []
    for path, text, mode in wishes:
        have = read_text(path)
        if have != text or (mode is not None and file_write.mode_of(path) != mode):
            changes.append(Change(path, have, text, mode))
    return changes


def _keep(module: AnsibleModule, target: str) -> None:
    """Keep the file beside itself; where nothing can be put there, that is told, and no reason to stop."""
    try:
        file_write.keep(target, f"{target}{BACKUP}")
    except OSError as error:
        module.warn(f"{target}: no copy of it as it was could be kept beside it ({error.strerror})")


def write(module: AnsibleModule, change: Change, backup: bool = True) -> None:
    """Put a changed file in place; the module fails, with the old file as it was, where that can't be done.

    A file of others that gets our block for the first time is kept beside it under a name of its own (``backup``).
    """
    try:
        target = file_write.target_of(change.path)
        before = file_write.to_bytes(change.before)
        if backup and change.before and _has_block(change.after) and not _has_block(change.before):
            _keep(module, target)
        is_new = file_write.put(target, before, file_write.to_bytes(change.after), change.mode)
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"{change.path} is as it was: {error}")
    if is_new:
        module.set_default_selinux_context(target, False)
