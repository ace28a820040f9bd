# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages, and what an installation of them does: the words that both package managers are spoken of in."""

from __future__ import annotations

import dataclasses
import re
import typing as t

_UNITS = {"b": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


class Fault(Exception):
    """Why packages can't be installed: one message; the node is as it was unless it says otherwise."""


class Unknown(Fault):
    """The lists of packages, which may be old, do not have what is wanted."""


class Want(t.NamedTuple):
    """A package, and the version wanted; empty for whichever there is."""

    name: str
    version: str = ""


class Package(t.NamedTuple):
    """Installed version (None for none), the one that would be taken, and all that there are, the newest first."""

    installed: str | None
    candidate: str | None
    versions: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Transaction:
    """What an installation would do: packages by name with their version, removals, and bytes.

    ``before`` has the old versions of what is upgraded or removed, as far as they are told.
    """

    new: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    upgraded: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    removed: tuple[str, ...] = ()
    download: int = 0
    disk: int = 0
    before: t.Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether all is there already."""
        return not (self.new or self.upgraded or self.removed)

    @property
    def after(self) -> dict[str, str]:
        """All that is installed or changed, with the version that it has then."""
        return {**self.new, **self.upgraded}


def size_of(number: str, unit: str) -> int:
    """Bytes of a size as a package manager writes it."""
    return int(float(number.replace(",", "")) * _UNITS.get((unit or "b").lower(), 1))


def upstream(version: str) -> str:
    """The version without the distribution's part: ``535.309.01-0+deb12u1`` is ``535.309.01``."""
    bare = version.partition(":")[2] or version
    return re.split(r"[-~+]", bare, maxsplit=1)[0]
