# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether several nodes have one home directory: what tells each node's, and who may use the one that a node leaves.

A number of a device means something on its own machine alone, an inode of a shared file system the same on all.
"""

from __future__ import annotations

import os
import re
import socket
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.textfile import read_text, settled
from ansible_collections.trainmesh.cluster.plugins.module_utils._config import ssh_identity
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import disk

_FROM = re.compile(r'(?:\A|,)from="([^"]*)"')
_LOOPBACK = "127.0.0.0/8"


def identity(wish: ssh_identity.Wish, check: bool) -> dict[str, t.Any]:
    """What ssh_identity.converge() makes and tells, and where the user's ~/.ssh is then."""
    found = ssh_identity.converge(wish, check)
    return {**found, "ssh_directory": directory_of(found["home"])}


def directory_of(home: str) -> dict[str, t.Any]:
    """Where ~/.ssh is, or the home where that is still to be made: ``inode``, ``device``, ``machine`` (its running
    kernel), ``fs_type``, ``source`` and ``local`` of the file system; nothing where there is no home."""
    path = os.path.realpath(f"{home}/.ssh" if os.path.isdir(f"{home}/.ssh") else home)
    try:
        found = os.stat(path)
    except OSError:
        return {}
    tree = Tree()
    mount = disk.mount_of(disk.mounts(tree), path)
    return {
        "inode": found.st_ino,
        "device": found.st_dev,
        "machine": (tree.text("/proc/sys/kernel/random/boot_id", 64) or "").strip(),
        "fs_type": mount.fs_type if mount else "",
        "source": mount.source if mount else "",
        "local": mount is not None and mount.fs_type in disk.LOCAL,
    }


def others_in(home: str) -> list[str]:
    """Who else uses the ssh files of a home, as its block says: the names in the line for loopback addresses, which
    are more than one in a home of several nodes; else those with this node's key, where none comes from here."""
    lines = settled(read_text(f"{home}/.ssh/authorized_keys")) or []
    own = [line for line in lines if _LOOPBACK in line]
    named = [name for line in own for name in line.partition(" trainmesh ")[2].split()]
    if len(named) > 1:
        return named
    keys = {_key(line) for line in own}
    same = [line for line in lines if line not in own and _key(line) in keys]
    if any(_is_here(address) for line in same for address in _sources(line)):
        return []
    return [name for line in same for name in line.partition(" trainmesh ")[2].split()]


def _key(line: str) -> str:
    match = re.search(r"(?:^|\s)((?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+)", line)
    return match.group(1) if match else ""


def _sources(line: str) -> list[str]:
    match = _FROM.search(line.partition(" ")[0])
    return match.group(1).split(",") if match else []


def _is_here(address: str) -> bool:
    """Whether an address is one of this node's own."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
