# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An installation of packages: what it would do is known, and judged, before it is done.

One that would remove a package, change one that is held, or not fit on the disk is refused while the node is still as
it was. One that fails half-way is taken back: the packages that it brought are removed again.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import which
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import system
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.apt import Apt
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.dnf import Dnf
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.manager import Manager, Runner
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Transaction, Unknown, Want

SPARE_BYTES = 256 * 2**20
"""What must be left on the disk for the others."""
ARCHIVES = {"apt": "/var/cache/apt/archives", "dnf": "/var/cache"}


def manager(run: Runner = command.run, limit: float = 3600.0, room: str = "") -> Apt | Dnf:
    """The node's package manager; raises Fault where it is none of those known here."""
    is_rpm = system.read().family in system.OF_RPM and (which("dnf") or which("yum"))
    if which("apt-get") and which("dpkg-query") and not is_rpm:  # each may be a package of the other's distribution
        return Apt(run, limit, room)
    if which("dnf") or which("yum"):
        return Dnf(run, limit, room)
    raise Fault("expected apt-get or dnf on this node, and found neither: install the packages by hand")


def judged(manager: Manager, found: Transaction, may_remove: t.Collection[str] = (), what: str = "") -> Transaction:
    """The transaction, where it may be done; raises Fault with why not."""
    held = sorted((set(found.new) | set(found.upgraded) | set(found.removed)) & manager.held())
    if held:
        names = " ".join(held)
        raise Fault(f"{what}{', '.join(held)} would change, and is held on this node: {manager.unhold} {names} first")
    removed = [name for name in found.removed if name not in may_remove]
    if removed:
        raise Fault(f"{what}the installation would remove {', '.join(removed)}: remove it first if it is not needed")
    check_spaces({ARCHIVES[manager.name]: found.download, "/usr": found.disk}, what)
    return found


def planned(
    manager: Manager, groups: t.Sequence[t.Sequence[Want]], may_remove: t.Collection[str], what: str
) -> tuple[list[Want], Transaction]:
    """What an installation would do, where it may be done; each group has a package's names, the preferred one first.

    Raises Unknown where the lists of packages do not have them, and Fault for what must not be done.
    """
    try:
        wants = [_first(manager, group) for group in groups]
        found = manager.transaction(wants)
    except Fault as error:
        raise Unknown(f"{what}{error}") from None
    return wants, judged(manager, found, may_remove, what)


def _first(manager: Manager, group: t.Sequence[Want]) -> Want:
    """The first of these packages that there is. Raises Fault."""
    for want in group[:-1]:
        with contextlib.suppress(Fault):
            return manager.choose(*want)
    return manager.choose(*group[-1])


def check_spaces(sizes: t.Mapping[str, int], what: str = "") -> None:
    """As check_space(), for paths that may be on one disk."""
    needs: dict[int, tuple[str, int]] = {}
    for path, size in sizes.items():
        device = os.stat(_existing(path)).st_dev
        first, before = needs.get(device, (path, 0))
        needs[device] = (first, before + size)
    for path, size in needs.values():
        check_space(path, size, what)


def check_space(path: str, size: int, what: str = "") -> None:
    """Raises Fault where fewer than ``size`` bytes and a spare are free at a path."""
    found = os.statvfs(_existing(path))
    free = found.f_bavail * found.f_frsize
    if size and free < size + SPARE_BYTES:
        raise Fault(
            f"{what}{(size + SPARE_BYTES) / 2**20:.0f} MiB are needed on the disk of {path}, and "
            f"{free / 2**20:.0f} MiB are free: make room there"
        )


def _existing(path: str) -> str:
    while not os.path.exists(path) and path != "/":
        path = os.path.dirname(path)
    return path


def apply(manager: Manager, wants: t.Sequence[Want], found: Transaction, what: str = "") -> None:
    """Install; a failure is taken back, and raises Fault."""
    keys = manager.keys()
    try:
        manager.install(wants, removes=bool(found.removed))
    except Fault as error:
        back = taken_back(manager, found)
        manager.forget_keys(manager.keys() - keys)
        raise Fault(f"{what}{error}; {back}") from None
    missing = sorted({want.name for want in wants} - set(manager.installed([want.name for want in wants])))
    if missing:
        raise Fault(f"{what}{', '.join(missing)} is not there afterwards; {taken_back(manager, found)}")


def taken_back(manager: Manager, found: Transaction) -> str:
    """Remove what a failed installation has brought; what that came to, in words."""
    brought = sorted(manager.left_of(list(found.new)))
    if not brought:
        return "the node is as it was"
    with contextlib.suppress(Fault):  # what is left is told
        manager.remove(brought, forced=True)
    left = sorted(manager.left_of(list(found.new)))
    if left:
        return f"{', '.join(left)} could not be removed again: see to it by hand"
    changed = f", except {', '.join(found.upgraded)}, which may be newer" if found.upgraded else ""
    return f"what it had installed was removed again, and the node is as it was{changed}"


def diff_of(found: Transaction) -> dict[str, str]:
    """The packages that change, as Ansible's diff shows them."""
    before = [*(f"{name}\n" for name in found.removed), *(f"{name} (another version)\n" for name in found.upgraded)]
    after = [f"{name} {version}\n" for name, version in sorted({**found.new, **found.upgraded}.items())]
    return {"before_header": "packages", "after_header": "packages", "before": "".join(before), "after": "".join(after)}
