# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which network the embedded nodes get, as plain data."""

from __future__ import annotations

import ipaddress
import json
import typing as t


def read_subnets(inspected: str) -> list[str]:
    """Return the subnets from the JSON text of ``docker network inspect``."""
    return [
        config["Subnet"]
        for item in json.loads(inspected or "[]")
        for config in (item.get("IPAM", {}).get("Config") or [])
        if "." in config.get("Subnet", "")
    ]


def read_routes(text: str) -> list[str]:
    """Return the destinations of ``/proc/net/route`` (little-endian hex), without the default route."""
    routes = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[7] == "00000000":
            continue
        address, mask = (
            ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(field), "little")) for field in (fields[1], fields[7])
        )
        routes.append(str(ipaddress.ip_network(f"{address}/{mask}", strict=False)))
    return routes


def free_subnets(taken: t.Iterable[str]) -> t.Iterator[str]:
    """Yield private /24 subnets that overlap with none of ``taken``.

    The search starts far from what Docker itself gives out (172.16/12, 192.168/16) and from where
    home and company networks usually are.
    """
    used = [ipaddress.ip_network(item, strict=False) for item in taken]
    for pool in ("10.213.0.0/16", "10.214.0.0/16", "172.30.0.0/16", "192.168.192.0/18"):
        for subnet in ipaddress.ip_network(pool).subnets(new_prefix=24):
            if not any(subnet.overlaps(other) for other in used):
                yield str(subnet)
