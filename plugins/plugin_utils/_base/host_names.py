# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host name a line of the inventory gives to its node."""

from __future__ import annotations

import ipaddress
import re

HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*\Z")
# Names that every host already has for itself, by /etc/hosts or by its resolver; RFC 6761, section 6.3.
_OF_EVERY_HOST = re.compile(
    r"(localhost[46]?|localhost\.localdomain|localhost[46]\.localdomain[46]|.+\.localhost|ip6-[a-z]+|broadcasthost"
    r"|_gateway|loopback)\.?\Z",
    re.IGNORECASE,
)
# Words that mean groups to Ansible.
_GROUPS = ("all", "ungrouped")


def is_address(name: object) -> bool:
    """True for an IPv4 or IPv6 address, also one with a zone (C(fe80::1%eth0))."""
    try:
        ipaddress.ip_address(str(name).split("%", maxsplit=1)[0])
    except ValueError:
        return False
    return True


def is_reserved(name: str) -> bool:
    """True for a name that no single node can have."""
    return bool(_OF_EVERY_HOST.match(name)) or name.lower() in _GROUPS


def is_host_name(name: str) -> bool:
    """True for a name that may stand in /etc/hosts, ssh configurations and hostfiles for this one node."""
    return bool(HOST_NAME.match(name)) and not is_address(name) and not is_reserved(name)


def host_name(inventory_name: str, wanted: str | None = None) -> str:
    """The host name of a node: the one asked for, or the inventory name up to the first dot.

    An address gives C(node-10-0-0-1), so that C(-i 10.0.0.1,10.0.0.2,) is an inventory too.
    """
    if wanted:
        return wanted
    if is_address(inventory_name):
        address = ipaddress.ip_address(inventory_name.split("%", maxsplit=1)[0])
        if address.version == 6:  # each group by itself: two addresses must not have one name
            return "node-" + "-".join(f"{int(group, 16):x}" for group in address.exploded.split(":"))
        return f"node-{str(address).replace('.', '-')}"
    return inventory_name.split(".", maxsplit=1)[0]
