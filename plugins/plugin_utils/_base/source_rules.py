# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of routing by source, by which several cards in one subnet each send what is theirs."""

from __future__ import annotations

import ipaddress
import typing as t


def told_apart(rules: t.Iterable[t.Any], held: t.Collection[str]) -> bool:
    """Whether the networks of ``rules`` hold each of the addresses but one alone, so that it has a way of its own."""
    alone = set()
    for rule in rules:
        try:
            network = ipaddress.ip_network(str(rule), strict=False)
            inside = [address for address in held if ipaddress.ip_address(address) in network]
        except ValueError:
            continue
        alone |= set(inside) if len(inside) == 1 else set()
    return len(alone) >= len(held) - 1
