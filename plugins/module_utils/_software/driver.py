# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the driver of a node, or remove it: all is known and downloaded before anything is changed, and what fails
after that is taken back.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.search_path import which
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import (
    dkms,
    driver_apply,
    driver_plan,
    driver_present,
    driver_sources,
    driver_table,
    files,
    system,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.apt import Apt, SoftwareError, Steps
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_apply import Result
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_plan import Choice
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_present import Present
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_sources import ROOM, Wish
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_table import Recipe
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.system import System

LOCK = "/run/trainmesh-gpu-driver.lock"
PREFERENCES = "preferences.d/trainmesh-nvidia"
NOUVEAU = "/etc/modprobe.d/trainmesh-nouveau.conf"
PEERMEM = "/etc/modules-load.d/trainmesh-nvidia-peermem.conf"


def converge(wish: Wish, check: bool) -> Result:
    """Bring the node to the wanted driver; raises SoftwareError with the node as it was."""
    apt, present = Apt(ROOM, wish.limit), driver_present.read(Machine(), wish.kernel)
    if wish.branch != "absent" and driver_plan.satisfied(present, wish.branch):
        return _settled(apt, present, check)
    with alone(wish.limit):
        shutil.rmtree(ROOM, ignore_errors=True)  # what a run that was killed has left
        try:
            return _change(apt, wish, driver_present.read(Machine(), wish.kernel), check)
        finally:
            shutil.rmtree(ROOM, ignore_errors=True)


def _change(apt: Apt, wish: Wish, present: Present, check: bool) -> Result:
    """What is to be done now that nobody else does anything."""
    if wish.branch == "absent":
        return _remove(apt, present, check)
    if driver_plan.satisfied(present, wish.branch):  # by the run that this one has waited for
        return _settled(apt, present, check)
    node, installed = system.read(), installed_drivers(apt)
    if node.family not in driver_table.ORIGINS:
        raise SoftwareError(driver_plan.unsupported(node))
    driver_plan.refuse(present, wish.branch, installed, driver_present.users())
    return _install(apt, wish, node, present, installed, check)


@contextlib.contextmanager
def alone(seconds: float) -> t.Iterator[None]:
    """Let one run at a time: that of an interrupted play goes on by itself. Raises SoftwareError."""
    deadline = time.monotonic() + seconds
    with open(LOCK, "w", encoding="utf-8") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise SoftwareError("another installation runs on this node and does not end") from None
            time.sleep(1.0)
        yield


def installed_drivers(apt: Apt) -> dict[str, str]:
    """The packages of the driver that are installed, with their versions."""
    return {name: version for name, version in apt.installed().items() if driver_plan.is_driver(name)}


def _settled(apt: Apt, present: Present, check: bool) -> Result:
    """A driver that is good enough stays as it is; what this role has installed stays held."""
    version = present.module or present.loaded
    result = Result(False, version, present.kind, reboot_reason=driver_plan.reboot_reason(present, version or ""))
    ours = driver_apply.record().get("held", [])
    result.held = sorted(set(ours) & apt.held()) if ours else []
    released = sorted(set(ours) - set(result.held))
    if released:
        result.changed, result.held = True, ours
        if not check:
            apt.hold(released)
    return result


def _install(
    apt: Apt, wish: Wish, node: System, present: Present, installed: t.Mapping[str, str], check: bool
) -> Result:
    """Decide, download, install."""
    os.makedirs(ROOM, mode=0o755, exist_ok=True)
    driver_plan.disk_faults([(ROOM, driver_plan.LISTS_BYTES, _free(ROOM))])
    wanted_files = driver_sources.open_sources(apt, wish, node)
    choice, wanted = _decide(apt, wish, node, present)
    wanted += driver_plan.to_drop(installed, apt.packages(installed), choice, wanted)
    pin = driver_plan.pin(choice.version).encode()
    apt.prepare({**driver_sources.below_etc(wanted_files), PREFERENCES: pin})
    wanted_files = {**wanted_files, f"/etc/apt/{PREFERENCES}": pin, **_settings(present)}
    steps, ours = apt.steps(wanted), driver_apply.record()
    driver_plan.object_to(steps, apt.held(), ours.get("held", []))
    _check_disk(apt, wanted)
    changes = files.compare(wanted_files)
    result = Result(True, choice.version, choice.recipe.module, sorted(steps.install), diff=files.diff(changes))
    result.held = driver_plan.to_hold(steps, choice.version, installed)
    result.diff.append(_steps_diff(steps))
    result.notes += _notes(present, choice)
    apt.download(wanted)
    if not choice.recipe.prebuilt and present.module:  # else the node's own module would be gone before it is known
        _try_build(apt, choice, present, wish.limit)
    if not check:
        driver_apply.install(apt, choice, wanted, steps, changes, present, wish.limit, result, ours)
    return result


def _decide(apt: Apt, wish: Wish, node: System, present: Present) -> tuple[Choice, list[str]]:
    """The driver, and all packages to install for it; raises SoftwareError."""
    kinds = driver_plan.kinds(present, wish.module, wish.branch)
    groups = [driver_table.recipes(node, wish.source, wish.branch, kind, present.kernel) for kind in kinds]
    names = _names(groups)
    headers = driver_table.headers(present.kernel)
    extra = [*headers, *driver_table.fabric_managers(wish.branch)]
    later = driver_table.later_headers(apt.installed())
    packages = apt.packages([*names, *extra, *later])
    choice = driver_plan.choose(groups, packages, wish.branch)
    if choice is None:
        offered = driver_plan.branches({name: packages[name] for name in names if name in packages})
        raise SoftwareError(driver_plan.unavailable(node, wish.source, wish.branch, offered, ""))
    wanted = list(choice.wanted)
    if present.nvswitches:
        wanted.append(driver_plan.fabric_manager(packages, choice, wish.branch, wish.source))
    if not choice.recipe.prebuilt:
        wanted += _headers(node, present, headers, packages)
        wanted += [name for name in later if name in packages]
    return choice, wanted


def _names(groups: t.Iterable[t.Iterable[Recipe]]) -> list[str]:
    """All names that the sets of packages have."""
    found = [
        name
        for recipes in groups
        for recipe in recipes
        for name in (*recipe.driver, *recipe.beside, *([recipe.prebuilt] if recipe.prebuilt else []))
    ]
    return list(dict.fromkeys(found))


def _headers(node: System, present: Present, names: t.Sequence[str], packages: t.Mapping[str, t.Any]) -> list[str]:
    """The headers for the kernel, where they are not there; raises SoftwareError."""
    if present.headers:
        return []
    lacking = [name for name in names if name not in packages]
    if lacking:
        raise SoftwareError(
            f"the module can't be built for kernel {present.kernel}: {' '.join(lacking)} is in no source of "
            f"{node.name}, and /lib/modules/{present.kernel}/build is missing. Boot a kernel whose headers there are, "
            "or install those of this one"
        )
    return list(names)


def _settings(present: Present) -> dict[str, bytes]:
    """Settings of the kernel that go with the driver."""
    wanted = {NOUVEAU: b"# trainmesh.cluster: the NVIDIA driver takes the GPUs\nblacklist nouveau\n"
              b"options nouveau modeset=0\n"}  # fmt: skip
    if present.rdma:
        wanted[PEERMEM] = b"# trainmesh.cluster: network adapters read GPU memory directly\nnvidia-peermem\n"
    return wanted


def _check_disk(apt: Apt, wanted: t.Sequence[str]) -> None:
    """Raise SoftwareError where packages, their content or the build would not fit."""
    download, unpacked = apt.sizes(wanted)
    needs: dict[int, tuple[str, int, int]] = {}
    for place, size in ((ROOM, download), ("/usr", unpacked), ("/var/lib", driver_plan.BUILD_BYTES)):
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


def _steps_diff(steps: Steps) -> dict[str, str]:
    before = [f"{name} {old}" for name, (old, _new) in sorted(steps.install.items()) if old]
    before += [f"{name} {old}" for name, old in sorted(steps.remove.items())]
    after = [f"{name} {new}" for name, (_old, new) in sorted(steps.install.items())]
    texts = ["".join(f"{line}\n" for line in lines) for lines in (before, after)]
    return {"before_header": "packages", "after_header": "packages", "before": texts[0], "after": texts[1]}


def _try_build(apt: Apt, choice: Choice, present: Present, limit: float) -> None:
    """Build the new module while the node still has its own; raises SoftwareError."""
    paths = [path for path in glob.glob(f"{apt.archives}/*.deb") if _holds_source(os.path.basename(path))]
    if not which("dkms") or not present.headers:
        return  # these come with the packages: a failure is taken back then
    directory = f"{ROOM}/trial"
    os.makedirs(directory, exist_ok=True)
    dkms.trial(paths, choice.version, present.kernel, directory, limit)
    shutil.rmtree(directory, ignore_errors=True)


def _holds_source(name: str) -> bool:
    return name.startswith("nvidia-") and ("dkms" in name or "kernel-source" in name)


def _remove(apt: Apt, present: Present, check: bool) -> Result:
    """Take off what this role has installed, and nothing else; raises SoftwareError."""
    ours = driver_apply.record()
    if not ours:
        foreign = ["the driver of this node was not installed by this role, and stays"]
        notes = foreign if installed_drivers(apt) else []
        return Result(False, notes=notes)
    installed = installed_drivers(apt)
    users = driver_present.users()
    driver_plan.refuse_users(users)
    names = [name for name in ours.get("packages", []) if name in installed]
    driver_plan.object_to_removal(apt.removal(names), [*names, *ours.get("added", [])])
    changes = files.compare(dict.fromkeys([*ours.get("files", []), driver_apply.RECORD]))
    result = Result(True, packages=names, diff=files.diff(changes))
    if not check:
        apt.remove(names)
        files.write(changes)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(driver_apply.RECORD))
        result.reboot_reason = f"the module of driver {present.loaded} is loaded" if present.loaded else ""
    return result
