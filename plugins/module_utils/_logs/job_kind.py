# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kind of line in a job's log."""

from __future__ import annotations

import re
import typing as t

# How near to the cause: a cause by itself; a connection that could not be had; waiting for somebody who does not come;
# a connection or partner lost; how a launcher tells that something ended. The lowest number of a run is its cause.
ROOT, CONNECT, WAIT, LOST, ENDED = 0, 1, 2, 3, 4


class Kind(t.NamedTuple):
    """A kind of line. ``alone``: it counts wherever it stands, not only as an exception that nobody has caught."""

    name: str
    weight: int
    alone: bool
    pattern: re.Pattern[str]


def kind(name: str, weight: int, pattern: str, *, alone: bool = False) -> Kind:
    """A kind with the pattern of its lines."""
    return Kind(name, weight, alone, re.compile(pattern))
