# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of ssh's trust a plan puts on a node."""

from __future__ import annotations

import typing as t


class Size(t.NamedTuple):
    """What stands in our block of authorized_keys, in known_hosts, and in certificates."""

    authorized_lines: int
    authorized_bytes: int
    known_lines: int
    known_bytes: int
    certificate_bytes: int


def size(plan: t.Mapping[str, t.Any], name: str) -> Size:
    """The lines and bytes of a node, by keys as by certificates."""
    node = plan["nodes"][name]
    authorized = [*node["authority_lines"], *plan["ssh"]["authorized_keys"], *node["loopback_key"]]
    known = plan["ssh"]["known_hosts"]
    certificates = [node["certificate"], *node["host_certificates"]]
    lengths = [sum(len(line) + 1 for line in lines if line) for lines in (authorized, known, certificates)]
    return Size(len(authorized), lengths[0], len(known), lengths[1], lengths[2])
