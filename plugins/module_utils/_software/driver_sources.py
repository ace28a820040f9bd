# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the packages of the driver come from: sources that apt has in its room first, and on the node only later."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import os
import typing as t
import urllib.error

from ansible.module_utils.urls import open_url

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import (
    deb_sources,
    driver_plan,
    driver_table,
    openpgp,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.apt import Apt, SoftwareError
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.system import System

ROOM = "/var/cache/trainmesh/gpu-driver"
KEYRING = "/usr/share/keyrings/trainmesh-nvidia.gpg"
SOURCE = "sources.list.d/trainmesh-nvidia.sources"
_MAX_KEY_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the inventory asks for; ``key`` is the content of a file of the controller."""

    branch: str
    source: str
    module: str
    repository: str
    key: bytes
    key_url: str
    fingerprint: str
    kernel: str
    limit: float


def open_sources(apt: Apt, wish: Wish, node: System) -> dict[str, bytes]:
    """Have the sources that hold the driver in the room; returns the files by which the node will have them."""
    if wish.source == "vendor":
        return _open_vendor(apt, wish, node)
    apt.prepare({})
    told = apt.refresh()
    archives = apt.archives_of(driver_table.ORIGINS[node.family])
    if not archives:
        raise SoftwareError(
            f"no package list of {node.name} could be read: {masked(told)[-600:] or 'it has no source'}"
        )
    keys = deb_sources.signed_by("/etc/apt", (os.path.basename(SOURCE),))
    stanzas = driver_plan.missing_components(node, archives, keys)
    if not stanzas:
        return {}
    content = "\n".join(stanzas).encode()
    apt.prepare({SOURCE: content})
    apt.refresh()
    return {f"/etc/apt/{SOURCE}": content}


def _open_vendor(apt: Apt, wish: Wish, node: System) -> dict[str, bytes]:
    """The vendor's repository, or a mirror of it, with the one key that it is signed with."""
    place = driver_table.vendor_place(node)
    arch = driver_table.VENDOR_ARCH.get(node.arch, "")
    url = wish.repository or (f"{driver_table.VENDOR_URL}/{place}/{arch}" if place and arch else "")
    if not url:
        raise SoftwareError(
            f"the vendor has no repository for {node.name} on {node.arch}: set trainmesh_driver_source: distribution, "
            "or trainmesh_driver_repository to one that fits"
        )
    url = url.rstrip("/")
    file, fingerprint = driver_table.VENDOR_KEY
    wanted = {}
    if url in deb_sources.signed_by("/etc/apt", (os.path.basename(SOURCE),)):
        apt.prepare({})  # the user has it already, with a key of theirs; a second entry would be a conflict
    else:
        try:
            key = openpgp.pinned(wish.key or fetch(wish.key_url or f"{url}/{file}"), wish.fingerprint or fingerprint)
        except openpgp.KeyFault as error:
            raise SoftwareError(
                f"the key of {masked(url)} is not the one that is trusted: {error}. If this repository is signed with "
                "another key, set trainmesh_driver_key_fingerprint to that of its owner"
            ) from None
        wanted = {KEYRING: key, f"/etc/apt/{SOURCE}": driver_plan.deb_source(url, "/", "", KEYRING).encode()}
        apt.prepare(below_etc(wanted))
    told = [line for line in apt.refresh().splitlines() if url in line]
    if told:
        raise SoftwareError(f"{masked(url)} could not be read: {masked(' '.join(told))[-600:]}")
    return wanted


def below_etc(wanted: t.Mapping[str, bytes]) -> dict[str, bytes]:
    """These files as they stand in the room, where the key lies beside them."""
    found = {}
    for path, content in wanted.items():
        if path == KEYRING:
            found["key.gpg"] = content
        elif path.startswith("/etc/apt/"):
            text = content.replace(KEYRING.encode(), f"{ROOM}/key.gpg".encode())
            found[path[len("/etc/apt/") :]] = text
    return found


def key_of(text: str) -> bytes:
    """The bytes of a key that was given as text or in Base64."""
    if not text or "BEGIN PGP" in text:
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode()  # what it is instead is told where it is read


def fetch(url: str) -> bytes:
    """The content of a small file, through the proxies of the environment; raises SoftwareError."""
    try:
        with open_url(url, timeout=60, http_agent="trainmesh.cluster") as stream:
            content: bytes = stream.read(_MAX_KEY_BYTES)
            size = stream.headers.get("Content-Length")
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise SoftwareError(f"{masked(url)} could not be read: {error}") from None
    if size and size.isdigit() and len(content) < min(int(size), _MAX_KEY_BYTES):
        raise SoftwareError(f"{masked(url)} was cut off after {len(content)} of {size} bytes: run again")
    return content
