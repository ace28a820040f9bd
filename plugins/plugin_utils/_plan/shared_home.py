# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nodes have one home directory, and which of them writes its ssh files.

One machine's containers have the same device and inode. Of a network's file system the inode is the same, and so is
where it comes from; the node that exports it has it on a disk of its own, under an address of its own. Keys that differ
prove two directories.
"""

from __future__ import annotations

import typing as t

Facts = t.Mapping[str, t.Any]


class Place(t.NamedTuple):
    """The directory of a node, as ssh_identity tells it; ``addresses`` and ``names`` are all of the node's."""

    name: str
    directory: Facts
    public_key: str
    addresses: t.Container[str]
    names: t.Container[str]


def groups(places: t.Sequence[Place]) -> list[list[str]]:
    """The names of the nodes that have one directory, in the order given; those alone are left out."""
    found: list[list[Place]] = []
    for place in places:
        home = next((one for one in found if any(_same(place, other) for other in one)), None)
        if home is None:
            found.append([place])
        else:
            home.append(place)
    return [[place.name for place in one] for one in found if len(one) > 1]


def _same(one: Place, other: Place) -> bool:
    a, b = one.directory, other.directory
    if not a or not b or a.get("inode") != b.get("inode") or one.public_key != other.public_key:
        return False
    if a.get("machine") and a.get("machine") == b.get("machine"):
        return bool(a.get("device") == b.get("device"))
    if a.get("local") and b.get("local"):
        return False
    if not a.get("local") and not b.get("local"):
        return bool(a.get("fs_type") == b.get("fs_type") and _path(a) == _path(b))
    client, server = (one, other) if b.get("local") else (other, one)
    host = _server(client.directory)
    return bool(host) and (host in server.addresses or host in server.names)


def _path(directory: Facts) -> str:
    """What is mounted without who serves it: nodes may know that by several names and addresses."""
    source = str(directory.get("source") or "")
    return source.partition(":/")[2] or source


def _server(directory: Facts) -> str:
    return str(directory.get("source") or "").partition(":/")[0].strip("[]")
