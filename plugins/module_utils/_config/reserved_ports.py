# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of ``net.ipv4.ip_local_reserved_ports``, such as C(8080,9148-9150)."""

from __future__ import annotations


def _ranges(text: str) -> list[tuple[int, int]]:
    found = []
    for part in "".join(text.split()).split(","):
        low, _dash, high = part.partition("-")
        if low.isdigit() and (high or low).isdigit():
            found.append((int(low), int(high or low)))
    return found


def holds(text: str | None, port: int) -> bool:
    """True where the port is among the reserved ones."""
    return any(low <= port <= high for low, high in _ranges(text or ""))


def joined(text: str | None, port: int) -> str:
    """The text with the port added."""
    return ",".join(part for part in ((text or "").strip(), str(port)) if part)


def without(text: str | None, port: int) -> str:
    """The text without the port; of a range that holds it, what is left."""
    parts = []
    for low, high in _ranges(text or ""):
        inside = low <= port <= high
        parts += [(low, port - 1), (port + 1, high)] if inside else [(low, high)]
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts if low <= high)
