# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One version of Python for nodes whose own ones are unlike, or too old for torch.

Pure functions: the version that all have, or else the one that has to be installed on the fewest nodes.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key

_VERSION = re.compile(r"3\.\d{1,3}\Z", re.ASCII)
Span = tuple[str, str] | None


class Node(t.NamedTuple):
    """The versions (major.minor) that a node can make environments with, and that of the one it has; empty: none."""

    name: str
    pythons: frozenset[str]
    made: str = ""

    @property
    def has(self) -> frozenset[str]:
        """The versions for which nothing has to be installed."""
        return frozenset(one for one in (*self.pythons, self.made) if _VERSION.match(one))


class Choice(t.NamedTuple):
    """A version, and the nodes that lack it."""

    version: str
    lacking: tuple[str, ...]


def choose(nodes: t.Sequence[Node], span: Span, tested: str) -> Choice:
    """The version to make every environment with.

    One that all nodes have comes first, then one of which most have an environment already, then one that the fewest
    nodes lack; ``tested`` goes before others, and newer ones before older. ``span`` has the oldest and the newest
    version that torch has wheels for, None where nobody knows.
    """
    versions = {one for node in nodes for one in node.has} | {tested}
    fitting = [one for one in versions if fits(one, span)] or [tested]
    return min((_choice(nodes, one) for one in fitting), key=lambda choice: _rank(nodes, choice, tested))


def fits(version: str, span: Span) -> bool:
    """Whether torch has wheels for this version."""
    return not span or key(span[0]) <= key(version) <= key(span[1])


def have(nodes: t.Iterable[Node]) -> str:
    """Which Pythons the nodes have, in words; nodes with the same ones together."""
    alike: dict[str, list[str]] = {}
    for node in nodes:
        alike.setdefault(", ".join(sorted(node.has, key=key)) or "no other Python", []).append(node.name)
    return "; ".join(f"{' and '.join(names)} {'have' if names[1:] else 'has'} {what}" for what, names in alike.items())


def _choice(nodes: t.Iterable[Node], version: str) -> Choice:
    return Choice(version, tuple(node.name for node in nodes if version not in node.has))


def _rank(nodes: t.Iterable[Node], choice: Choice, tested: str) -> tuple[t.Any, ...]:
    made = sum(node.made == choice.version for node in nodes)
    newest_first = tuple(-number for number in key(choice.version))
    return bool(choice.lacking), -made, len(choice.lacking), choice.version != tested, newest_first
