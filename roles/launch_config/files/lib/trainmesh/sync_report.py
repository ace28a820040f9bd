# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sync tells its user: how far it is, and what has become of each node."""

from __future__ import annotations

import contextlib
import sys
import time
import typing as t

from trainmesh.sync_files import Source, printable
from trainmesh.sync_tree import Tree

STATE_SECONDS = 30.0  # between two lines in a file
SHOWN = 20


class Progress:
    """Tells how far it is: one line that is written over on a terminal, else a line for each node."""

    def __init__(self, tree: Tree, what: Source, say: t.Callable[[str], None]) -> None:
        self.tree, self.what, self.say = tree, what, say
        self.terminal = sys.stderr.isatty()
        self.begun = self.last = time.monotonic()
        self.known: set[str] = set()
        self.total = len(tree.waiting)

    def tell(self) -> None:
        """Called twice a second and more."""
        for name in [name for name in self.tree.took if name not in self.known]:
            self.known.add(name)
            from_node, seconds = self.tree.took[name]
            self._clear()
            self.say(f"{name} has it, from {from_node} in {seconds:.1f} s")
        now = time.monotonic()
        if self.terminal and now > self.last + 0.2:
            sys.stderr.write(f"\r{self.line(now)}\x1b[K")
            sys.stderr.flush()
            self.last = now
        elif not self.terminal and now > self.last + STATE_SECONDS:
            self.say(self.line(now))
            self.last = now

    def line(self, now: float) -> str:
        """The state in a line."""
        moving = sum(each.bytes for each in self.tree.running)
        whole = max(1, self.what.size * max(1, len(self.tree.running)))
        speed = sum(each.bytes / max(1.0, now - each.begun) for each in self.tree.running)
        return (
            f"{self.what.path}: {len(self.tree.done)} of {self.total} nodes, {len(self.tree.running)} copies at "
            f"{min(100, 100 * moving // whole)} %, {amount(speed)}/s, {now - self.begun:.0f} s"
        )

    def _clear(self) -> None:
        if self.terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        """The line is not left behind."""
        with contextlib.suppress(OSError):
            self._clear()


def told(report: t.Mapping[str, t.Any], head: str, dry: bool, verified: bool) -> list[str]:
    """A path for the user's eyes."""
    lines = [f"{report['path']}: {report['files']} files and directories, {amount(report['bytes'])}"]
    groups: dict[str, list[str]] = {}
    for name, node in report["nodes"].items():
        groups.setdefault(summary(node, head, dry, verified), []).append(name)
    for text, names in groups.items():
        lines.append(f"  {' '.join(names)}: {text}")
        if dry:
            shown = report["nodes"][names[0]]["names"][:SHOWN]
            lines += [f"    {printable(each)}" for each in shown]
    if report["changing"]:
        shown, count = ", ".join(map(printable, report["changing"][:5])), len(report["changing"])
        lines.append(f"  {head}: {count} files changed while they were copied ({shown}): run it again")
    return lines


def summary(node: t.Mapping[str, t.Any], head: str, dry: bool, verified: bool) -> str:
    """What has become of a node."""
    if node["trouble"]:
        return f"FAILED: {node['trouble']}"
    would = "would be " if dry else ""
    parts = []
    if node["files"]:
        parts.append(f"{node['files']} {would}copied, {amount(node['bytes'])}")
    if node["deleted"]:
        parts.append(f"{node['deleted']} {would}deleted")
    if node["state"] == "shared":
        parts.append(f"the same directory as on {head}, or as on a node above")
    checked = ", same content" if verified and not dry else ""
    return (", ".join(parts) or "nothing to do") + (checked if node["state"] != "shared" else "")


def amount(count: float) -> str:
    """Bytes in a unit that a person would use."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
