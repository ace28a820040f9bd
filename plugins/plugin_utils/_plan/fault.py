# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why machines, as they are, can't make a cluster."""

from __future__ import annotations

import typing as t


class Fault(str):
    """A sentence, which names the nodes first that have to change; ``hosts`` are those, and ``text`` is the rest."""

    hosts: tuple[str, ...]
    text: str

    def __new__(cls, text: str, *hosts: str) -> Fault:
        """With no hosts it is about the cluster as a whole."""
        fault = super().__new__(cls, f"{', '.join(hosts)}: {text}" if hosts else text)
        fault.hosts, fault.text = hosts, text
        return fault


def rows(faults: t.Iterable[Fault]) -> list[dict[str, t.Any]]:
    """The faults as plain data."""
    return [{"hosts": list(fault.hosts), "text": fault.text} for fault in faults]
