# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the driver of a node, or remove it: all is known and downloaded before anything is changed, and what fails
after that is taken back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import which
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages import installation, system
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.apt import Apt
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.dnf import Dnf
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Fault, Package, Transaction, Want
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.system import System
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import (
    dkms,
    driver_apply,
    driver_plan,
    driver_present,
    driver_sources,
    driver_table,
    files,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_apply import Result
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_plan import Choice, Order
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_present import Present
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_sources import ROOM, Wish
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_table import Recipe

LOCK = "/run/trainmesh-gpu-driver.lock"
PREFERENCES = "/etc/apt/preferences.d/trainmesh-nvidia"
NOUVEAU = "/etc/modprobe.d/trainmesh-nouveau.conf"
BUILDERS = ("dkms",)
PEERMEM = "/etc/modules-load.d/trainmesh-nvidia-peermem.conf"


def converge(wish: Wish, check: bool) -> Result:
    """Bring the node to the wanted driver; raises Fault with the node as it was."""
    present = driver_present.read(Machine(), wish.kernel)
    if wish.branch != "absent" and driver_plan.satisfied(present, wish.branch):
        return _settled(wish, present, check)
    with alone(wish.limit):
        shutil.rmtree(ROOM, ignore_errors=True)  # what a run that was killed has left
        try:
            return _change(wish, driver_present.read(Machine(), wish.kernel), check)
        finally:
            shutil.rmtree(ROOM, ignore_errors=True)


def _change(wish: Wish, present: Present, check: bool) -> Result:
    """What is to be done now that nobody else does anything."""
    if wish.branch != "absent" and driver_plan.satisfied(present, wish.branch):  # by the run that this has waited for
        return _settled(wish, present, check)
    if wish.branch == "absent":
        return _remove(wish, present, check)
    node = system.read()
    if why := driver_plan.unsupported(node, wish.source):
        raise Fault(why)
    manager = _manager(wish)
    installed = installed_drivers(manager)
    driver_plan.refuse(present, wish.branch, installed, driver_present.users())
    return _install(manager, wish, node, present, installed, check)


def _manager(wish: Wish) -> Apt | Dnf:
    return installation.manager(limit=wish.limit, room=ROOM)


@contextlib.contextmanager
def alone(seconds: float) -> t.Iterator[None]:
    """Let one run at a time: that of an interrupted play goes on by itself. Raises Fault."""
    deadline = time.monotonic() + seconds
    with open(LOCK, "w", encoding="utf-8") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise Fault("another installation runs on this node and does not end") from None
            time.sleep(1.0)
        yield


def installed_drivers(manager: Apt | Dnf) -> dict[str, str]:
    """The packages of the driver that are installed, with their versions."""
    return {name: version for name, version in manager.installed().items() if driver_plan.is_driver(name)}


def _settled(wish: Wish, present: Present, check: bool) -> Result:
    """A driver that is good enough stays as it is; what this role has installed stays held."""
    version = present.module or present.loaded
    result = Result(False, version, present.kind, reboot_reason=driver_plan.reboot_reason(present, version or ""))
    ours = driver_apply.record().get("held", [])
    if not ours:
        return result
    manager = _manager(wish)
    result.held = sorted(set(ours) & manager.held())
    released = sorted(set(ours) - set(result.held))
    if released:
        result.changed, result.held = True, ours
        if not check:
            manager.hold(released)
    return result


def _install(
    manager: Apt | Dnf, wish: Wish, node: System, present: Present, installed: t.Mapping[str, str], check: bool
) -> Result:
    """Decide what to install, and do it."""
    os.makedirs(ROOM, mode=0o755, exist_ok=True)
    driver_plan.disk_faults([(ROOM, driver_plan.LISTS_BYTES, _free(ROOM))])
    wanted_files = driver_sources.open_sources(manager, wish, node)
    choice, wanted = _decide(manager, wish, node, present)
    drops = driver_plan.to_drop(installed, manager.packages(installed), choice, wanted)
    if isinstance(manager, Apt):  # dnf takes the versions that it is told, and packages name those that they need
        wanted_files = {**wanted_files, PREFERENCES: driver_plan.pin(choice.version).encode()}
        manager.prepare(wanted_files)
    wanted_files, ours = {**wanted_files, **_settings(present)}, driver_apply.record()
    with _over_holds(manager, sorted(set(ours.get("held", [])) & manager.held()), check):
        order = Order(choice, wanted, drops, wanted_files)
        return _installed(manager, order, present, installed, wish.limit, check, ours)


@contextlib.contextmanager
def _over_holds(manager: Apt | Dnf, names: t.Sequence[str], check: bool) -> t.Iterator[None]:
    """What an earlier run has held is not in the way; it is held again unless the new driver is there."""
    manager.suspend(names)
    is_there = False
    try:
        yield
        is_there = not check
    finally:
        if not is_there:
            manager.resume(names)


def _installed(
    manager: Apt | Dnf,
    order: Order,
    present: Present,
    installed: t.Mapping[str, str],
    limit: float,
    check: bool,
    ours: t.Mapping[str, t.Any],
) -> Result:
    """Judge what the installation would do, download, install."""
    choice, steps = order.choice, _steps(manager, order.wanted, order.drops)
    driver_plan.object_to(steps, manager.held(), ours.get("held", []), manager.unhold)
    _check_disk(steps)
    changes = files.compare(order.files)
    result = Result(True, choice.version, choice.recipe.module, sorted(steps.after), diff=files.diff(changes))
    result.held = driver_plan.to_hold(steps, choice.version, installed)
    result.diff.append(_steps_diff(steps))
    result.notes += _notes(present, choice)
    manager.download(order.wanted, order.drops)
    if not choice.recipe.prebuilt and present.module:  # else the node's own module would be gone before it is known
        _try_build(manager, choice, present, limit)
    if not check:
        driver_apply.install(manager, order, steps, changes, present, limit, result, ours)
    return result


def _steps(manager: Apt | Dnf, wanted: t.Sequence[Want], drops: t.Sequence[str]) -> Transaction:
    """What the installation would do; raises Fault."""
    try:
        return manager.transaction(wanted, drops)
    except Fault as error:
        raise Fault(f"the packages do not fit together: {error}") from None


def _decide(manager: Apt | Dnf, wish: Wish, node: System, present: Present) -> tuple[Choice, list[Want]]:
    """The driver, and all packages to install for it; raises Fault."""
    kinds = driver_plan.kinds(present, wish.module, wish.branch)
    groups = [driver_table.recipes(node, wish.source, wish.branch, kind, present.kernel) for kind in kinds]
    names = _names(groups)
    headers = driver_table.headers(node, present.kernel)
    later = driver_table.later_headers(node, present.kernel, manager.installed())
    extra = [*(want.name for want in (*headers, *later)), *driver_table.fabric_managers(wish.branch), *BUILDERS]
    packages = manager.packages([*names, *extra, *manager.holder()])
    choice = driver_plan.choose(groups, packages, wish.branch)
    if choice is None:
        offered = driver_plan.branches({name: packages[name] for name in names if name in packages})
        raise Fault(driver_plan.unavailable(node, wish.source, wish.branch, offered, ""))
    wanted = list(choice.wanted)
    if present.nvswitches:
        wanted.append(driver_plan.fabric_manager(packages, choice, wish.branch, wish.source))
    if not choice.recipe.prebuilt:
        wanted += _headers(node, present, headers, packages)
        wanted += [want for want in later if _is_offered(want, packages)]
        _check_builders(node, packages)
    wanted += _holder(manager, node, packages)
    return choice, wanted


def _is_offered(want: Want, packages: t.Mapping[str, Package]) -> bool:
    found = packages.get(want.name)
    return found is not None and (not want.version or want.version in found.versions)


def _check_builders(node: System, packages: t.Mapping[str, Package]) -> None:
    """Raise Fault where nothing can build the module: dkms is no part of the RHEL family."""
    if node.family == "rhel" and "dkms" not in packages and not which("dkms"):
        raise Fault(
            f"dkms, which builds the module, is in no repository of {node.name}: enable EPEL first (dnf install "
            "epel-release; on RHEL itself the package of its address, see docs.fedoraproject.org/en-US/epel)"
        )


def _holder(manager: Apt | Dnf, node: System, packages: t.Mapping[str, Package]) -> list[Want]:
    """What holds packages, where the node lacks it; raises Fault where nobody has it."""
    missing = [Want(name) for name in manager.holder()]
    for want in missing:
        if want.name not in packages:
            raise Fault(
                f"an upgrade could split library and module: {want.name}, which holds packages, is in no repository of "
                f"{node.name}"
            )
    return missing


def _names(groups: t.Iterable[t.Iterable[Recipe]]) -> list[str]:
    """All names that the sets of packages have."""
    found = [
        name
        for recipes in groups
        for recipe in recipes
        for name in (*recipe.driver, *recipe.beside, *([recipe.prebuilt] if recipe.prebuilt else []))
    ]
    return list(dict.fromkeys(found))


def _headers(node: System, present: Present, wants: t.Sequence[Want], packages: t.Mapping[str, Package]) -> list[Want]:
    """The headers for the kernel, where they are not there; raises Fault."""
    if present.headers:
        return []
    lacking = ["-".join(filter(None, want)) for want in wants if not _is_offered(want, packages)]
    if lacking:
        raise Fault(
            f"the module can't be built for kernel {present.kernel}: {' '.join(lacking)} is in no source of "
            f"{node.name}, and /lib/modules/{present.kernel}/build is missing. Boot a kernel whose headers there are, "
            "or install those of this one"
        )
    return list(wants)


def _settings(present: Present) -> dict[str, bytes]:
    """Settings of the kernel that go with the driver."""
    wanted = {NOUVEAU: b"# trainmesh.cluster: the NVIDIA driver takes the GPUs\nblacklist nouveau\n"
              b"options nouveau modeset=0\n"}  # fmt: skip
    if present.rdma:
        wanted[PEERMEM] = b"# trainmesh.cluster: network adapters read GPU memory directly\nnvidia-peermem\n"
    return wanted


def _check_disk(steps: Transaction) -> None:
    """Raise Fault where packages, their content or the build would not fit."""
    needs: dict[int, tuple[str, int, int]] = {}
    for place, size in ((ROOM, steps.download), ("/usr", steps.disk), ("/var/lib", driver_plan.BUILD_BYTES)):
        device = os.stat(place).st_dev
        first, sizes, free = needs.get(device) or (place, 0, _free(place))
        needs[device] = (first, sizes + size, free)
    driver_plan.disk_faults(needs.values())


def _free(place: str) -> int:
    """Bytes that are free on the file system of a directory."""
    info = os.statvfs(place)
    return info.f_bavail * info.f_frsize


def _notes(present: Present, choice: Choice) -> list[str]:
    """What the user should know, though nothing is wrong with the installation."""
    notes = []
    if not present.devices:
        notes.append("there is no NVIDIA GPU on the PCI bus: the driver is installed, and its module can't be loaded")
    if present.secure_boot and not choice.recipe.prebuilt and not _signs():
        notes.append(
            "Secure Boot is on, and the kernel refuses the module until its key is enrolled: run "
            "mokutil --import /var/lib/dkms/mok.pub (Ubuntu: /var/lib/shim-signed/mok/MOK.der), reboot, and confirm "
            "it on the console; or turn Secure Boot off in the firmware"
        )
    return notes


def _signs() -> bool:
    """Whether the firmware trusts the key that dkms signs modules with."""
    mokutil = which("mokutil")
    keys = [path for path in ("/var/lib/dkms/mok.pub", "/var/lib/shim-signed/mok/MOK.der") if os.path.exists(path)]
    return bool(mokutil) and any("already enrolled" in command.run([str(mokutil), "--test-key", key], 30).text
                                 for key in keys)  # fmt: skip


def _steps_diff(steps: Transaction) -> dict[str, str]:
    before = [f"{name} {steps.before.get(name, '')}".rstrip() for name in (*sorted(steps.upgraded), *steps.removed)]
    after = [f"{name} {new}" for name, new in sorted(steps.after.items())]
    texts = ["".join(f"{line}\n" for line in lines) for lines in (before, after)]
    return {"before_header": "packages", "after_header": "packages", "before": texts[0], "after": texts[1]}


def _try_build(manager: Apt | Dnf, choice: Choice, present: Present, limit: float) -> None:
    """Build the new module while the node still has its own; raises Fault."""
    paths = [path for path in manager.downloaded() if _holds_source(os.path.basename(path), choice.version)]
    if not which("dkms") or not present.headers:
        return  # these come with the packages: a failure is taken back then
    directory = f"{ROOM}/trial"
    os.makedirs(directory, exist_ok=True)
    dkms.trial(manager.unpack, paths, choice.version, present.kernel, directory, limit)
    shutil.rmtree(directory, ignore_errors=True)


def _holds_source(name: str, version: str) -> bool:
    bare = name.removeprefix("kmod-")
    return bare.startswith("nvidia-") and version in name and ("dkms" in name or "kernel-source" in name)


def _remove(wish: Wish, present: Present, check: bool) -> Result:
    """Take off what this role has installed, and nothing else; raises Fault."""
    ours = driver_apply.record()
    if not ours:
        foreign = ["the driver of this node was not installed by this role, and stays"]
        return Result(False, notes=foreign if present.library else [])
    manager = _manager(wish)
    installed = installed_drivers(manager)
    users = driver_present.users()
    driver_plan.refuse_users(users)
    names = [name for name in ours.get("packages", []) if name in installed]
    driver_plan.object_to_removal(manager.removal(names), [*names, *ours.get("added", [])])
    changes = files.compare(dict.fromkeys([*ours.get("files", []), driver_apply.RECORD]))
    result = Result(True, packages=names, diff=files.diff(changes))
    if not check:
        manager.remove(names)
        manager.hold(sorted(set(ours.get("held", [])) & manager.held()), is_held=False)
        files.write(changes)
        manager.forget_keys(set(ours.get("keys", [])) & manager.keys())
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(driver_apply.RECORD))
        result.reboot_reason = f"the module of driver {present.loaded} is loaded" if present.loaded else ""
    return result
