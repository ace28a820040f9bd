# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the packages of the driver come from: sources that stand in a room first, and on the node only later."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import os
import urllib.error

from ansible.module_utils.urls import open_url

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.apt import Apt
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.dnf import KEYS, REPOSITORIES, Dnf
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.system import System
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import (
    deb_sources,
    driver_plan,
    driver_table,
    openpgp,
)

ROOM = "/var/cache/trainmesh/gpu-driver"
KEYRING = "/usr/share/keyrings/trainmesh-nvidia.gpg"
SOURCE = "/etc/apt/sources.list.d/trainmesh-nvidia.sources"
RPM_KEY = f"{KEYS}/RPM-GPG-KEY-trainmesh-nvidia"
RPM_SOURCE = f"{REPOSITORIES}/trainmesh-nvidia.repo"
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


def open_sources(manager: Apt | Dnf, wish: Wish, node: System) -> dict[str, bytes]:
    """Have the sources that hold the driver in the room; returns the files by which the node will have them."""
    if wish.source == "vendor" or not isinstance(manager, Apt):
        return _open_vendor(manager, wish, node)
    return _open_components(manager, node)


def _open_components(apt: Apt, node: System) -> dict[str, bytes]:
    """The components of the distribution that hold the driver."""
    apt.prepare({})
    told = apt.refresh()
    archives = apt.archives_of(driver_table.ORIGINS[node.family])
    if not archives:
        raise Fault(f"no package list of {node.name} could be read: {masked(told)[-600:] or 'it has no source'}")
    keys = deb_sources.signed_by("/etc/apt", (os.path.basename(SOURCE),))
    stanzas = driver_plan.missing_components(node, archives, keys)
    if not stanzas:
        return {}
    content = "\n".join(stanzas).encode()
    apt.prepare({SOURCE: content})
    apt.refresh()
    return {SOURCE: content}


def _open_vendor(manager: Apt | Dnf, wish: Wish, node: System) -> dict[str, bytes]:
    """The vendor's repository, or a mirror of it, with the one key that it is signed with."""
    place = driver_table.vendor_place(node)
    arch = driver_table.VENDOR_ARCH.get(node.arch, "")
    url = wish.repository or (f"{driver_table.VENDOR_URL}/{place}/{arch}" if place and arch else "")
    if not url:
        raise Fault(
            f"the vendor has no repository for {node.name} on {node.arch}: set trainmesh_driver_source: distribution, "
            "or trainmesh_driver_repository to one that fits"
        )
    url = url.rstrip("/")
    is_apt = isinstance(manager, Apt)
    if isinstance(manager, Dnf):
        own = {each: name for each, name in manager.repositories().items() if name != driver_plan.RPM_SOURCE}
        has_it = url in own
        manager.unfilter(own.get(url, driver_plan.RPM_SOURCE))
    else:
        has_it = url in deb_sources.signed_by("/etc/apt", (os.path.basename(SOURCE),))
    wanted = {}
    if has_it:
        manager.prepare({})  # the user has it already, with a key of theirs; a second entry would be a conflict
    else:
        key = _key(wish, node, url)
        if is_apt:
            wanted = {KEYRING: key, SOURCE: driver_plan.deb_source(url, "/", "", KEYRING).encode()}
        else:
            wanted = {RPM_KEY: openpgp.armored(key), RPM_SOURCE: driver_plan.rpm_source(url, RPM_KEY).encode()}
        manager.prepare(wanted)
    name = url if is_apt else own.get(url, driver_plan.RPM_SOURCE)
    told = [line for line in manager.refresh().splitlines() if url in line or name in line]
    if told:
        raise Fault(f"{masked(url)} could not be read: {masked(' '.join(told))[-600:]}")
    return wanted


def _key(wish: Wish, node: System, url: str) -> bytes:
    """The key that signs the repository, alone, and of the fingerprint that is trusted; raises Fault."""
    file, known = driver_table.vendor_key(node)
    fingerprint = wish.fingerprint or known
    if not fingerprint:
        raise Fault(
            f"the fingerprint of the key that signs {masked(url)} is not known here: set "
            "trainmesh_driver_key_fingerprint to the one that the vendor publishes"
        )
    if not file and not (wish.key or wish.key_url):
        raise Fault(f"the key that signs {masked(url)} is not known here: set trainmesh_driver_key to its URL or file")
    try:
        return openpgp.pinned(wish.key or fetch(wish.key_url or f"{url}/{file}"), fingerprint)
    except openpgp.KeyFault as error:
        raise Fault(
            f"the key of {masked(url)} is not the one that is trusted: {error}. If this repository is signed with "
            "another key, set trainmesh_driver_key_fingerprint to that of its owner"
        ) from None


def key_of(text: str) -> bytes:
    """The bytes of a key that was given as text or in Base64."""
    if not text or "BEGIN PGP" in text:
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode()  # what it is instead is told where it is read


def fetch(url: str) -> bytes:
    """The content of a small file, through the proxies of the environment; raises Fault."""
    try:
        with open_url(url, timeout=60, http_agent="trainmesh.cluster") as stream:
            content: bytes = stream.read(_MAX_KEY_BYTES)
            size = stream.headers.get("Content-Length")
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise Fault(f"{masked(url)} could not be read: {error}") from None
    if size and size.isdigit() and len(content) < min(int(size), _MAX_KEY_BYTES):
        raise Fault(f"{masked(url)} was cut off after {len(content)} of {size} bytes: run again")
    return content
