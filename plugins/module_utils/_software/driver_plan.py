# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done about the driver of a node: pure decisions, each with its reason."""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import generation
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.apt import Archive
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import (
    Fault,
    Package,
    Transaction,
    Want,
    upstream,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.system import OF_RPM, System
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver_table
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_present import Present, numbers
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_table import OPEN, PROPRIETARY, Recipe

BUILD_BYTES = 800 * 10**6  # what building the module takes beside the packages; measured with 535 and 550: 0.5 GB
LISTS_BYTES = 200 * 10**6  # package lists and what apt makes of them; apt hangs where a disk is full
ROOM_BYTES = 200 * 10**6  # what is left free
SHOWN = 5
RPM_SOURCE = "trainmesh-nvidia"  # what dnf calls the repository
# Packages whose version is that of the driver, in any distribution.
_MARKS = re.compile(
    r"libcuda1|libnvidia-(?:ml1|compute)|nvidia-(?:smi|driver-cuda|utils)|nvidia-(?:open-)?(?:kernel-)?dkms|"
    r"kmod-nvidia-\w+-dkms"
)


class Choice(t.NamedTuple):
    """The driver to install: its version, the packages with their versions, and what they come from."""

    version: str
    recipe: Recipe
    wanted: tuple[Want, ...]


class Order(t.NamedTuple):
    """What is to be installed: packages, those of an older driver that have to go, and files."""

    choice: Choice
    wanted: t.Sequence[Want]
    drops: t.Sequence[str]
    files: t.Mapping[str, bytes]


def branch_of(version: str | None) -> int:
    """The branch of a version, 0 for none."""
    return numbers(version or "0")[0]


def satisfied(present: Present, branch: str) -> bool:
    """Whether library and module are there, of one version, and of the wanted branch or a newer one."""
    in_use = present.loaded if present.kernel == present.running else None
    module = present.module or in_use
    return present.library is not None and module == present.library and branch_of(module) >= int(branch)


def is_split(present: Present) -> bool:
    """Whether library and module on disk are of two versions, which no program works with."""
    return bool(present.library and present.module and present.library != present.module)


def refuse(present: Present, branch: str, packages: t.Collection[str], users: t.Sequence[str]) -> None:
    """Raise Fault where nothing may be installed here. ``packages`` of the driver are installed."""
    if present.contained and present.kernel == present.running:
        raise Fault(
            "this is a container, whose kernel is that of its host: install the driver there, and take "
            "trainmesh_driver out of the container's variables"
        )
    if present.from_runfile or (present.library and not packages):
        raise Fault(
            f"driver {present.library or present.module or present.loaded} was installed here without packages (by a "
            f"NVIDIA-Linux-*.run file), and packages of branch {branch} would be mixed with it: run "
            "nvidia-uninstall on the node, or leave trainmesh_driver out of its variables"
        )
    refuse_users(users)


def refuse_users(users: t.Sequence[str]) -> None:
    """Raise Fault while anybody uses the GPUs."""
    if users:
        more = f" and {len(users) - SHOWN} more" if len(users) > SHOWN else ""
        raise Fault(
            f"processes use the GPUs, and a new driver would stop them: {', '.join(users[:SHOWN])}{more}. Stop them, "
            "or wait for their end"
        )


def kinds(present: Present, wish: str, branch: str) -> list[str]:
    """The kinds of module that work with the GPUs of this node, the better one first; raises Fault."""
    fits = generation.modules(present.devices)
    works = {OPEN: fits.open, PROPRIETARY: fits.proprietary and int(branch) <= driver_table.LAST_WITH_PROPRIETARY}
    found = [kind for kind in (OPEN, PROPRIETARY) if works[kind] and wish in ("auto", kind)]
    if found:
        return found
    ids = ", ".join(sorted({f"10de:{device:04x}" for device in present.devices}))
    if int(branch) > driver_table.LAST_WITH_PROPRIETARY and fits.proprietary:
        why = f"branch {branch} has no proprietary module any more"
        fix = "trainmesh_driver_module: auto" if fits.open else "trainmesh_driver: 580, the last one for these GPUs"
    elif fits.open or fits.proprietary:
        why = f"the {wish} kernel module does not work with the GPUs here ({ids})"
        fix = "trainmesh_driver_module: auto"
    else:
        why = f"one driver can't serve all GPUs here ({ids}): some need the open kernel module, others the proprietary"
        raise Fault(f"{why}; take one kind out of the node")
    raise Fault(f"{why}: set {fix}")


def choose(groups: t.Sequence[t.Sequence[Recipe]], packages: t.Mapping[str, Package], branch: str) -> Choice | None:
    """The newest driver of the branch that is offered in full, of kinds equally new the first; None for none."""
    found: list[Choice] = []
    for recipes in groups:  # of each kind the first that is there
        choices = (_of_recipe(recipe, packages, branch) for recipe in recipes)
        found += [choice for choice in choices if choice][:1]
    return max(found, key=lambda choice: numbers(choice.version), default=None)  # the first of equal ones


def _of_recipe(recipe: Recipe, packages: t.Mapping[str, Package], branch: str) -> Choice | None:
    offered = [
        {upstream(version): version for version in reversed(packages[name].versions)} if name in packages else {}
        for name in recipe.driver
    ]
    common = [version for version in offered[0] if all(version in each for each in offered)]
    common = [version for version in common if branch_of(version) == int(branch)]
    if not common or (recipe.prebuilt and recipe.prebuilt not in packages):
        return None
    best = max(common, key=numbers)
    wanted = [Want(name, each[best]) for name, each in zip(recipe.driver, offered)]
    beside = [Want(name) for name in (recipe.prebuilt, *recipe.beside) if name in packages]
    return Choice(best, recipe, (*wanted, *beside))


def to_drop(
    installed: t.Mapping[str, str], packages: t.Mapping[str, Package], choice: Choice, wanted: t.Sequence[Want]
) -> list[str]:
    """What of an older driver has to go: all that there is no package of the new version of."""
    chosen = {want.name for want in wanted}
    old = {upstream(version) for name, version in installed.items() if _MARKS.match(name)}
    return [
        name
        for name, version in sorted(installed.items())
        if name not in chosen and upstream(version) in old - {choice.version} and not _offers(packages, name, choice)
    ]


def _offers(packages: t.Mapping[str, Package], name: str, choice: Choice) -> bool:
    versions = packages[name].versions if name in packages else ()
    return any(upstream(version) == choice.version for version in versions)


def branches(packages: t.Mapping[str, Package]) -> list[str]:
    """The branches that are offered."""
    found = {branch_of(upstream(version)) for each in packages.values() for version in each.versions}
    return [str(each) for each in sorted(found - {0})]


def unsupported(system: System, source: str) -> str:
    """Why nothing is installed on this distribution from there, and what to do instead; empty where it can be."""
    if system.family in OF_RPM:
        if source == "vendor":
            return ""
        return (
            f"{system.name} has no NVIDIA driver of its own: set trainmesh_driver_source: vendor for the vendor's "
            "repository; or install the one of RPM Fusion by hand (dnf install akmod-nvidia xorg-x11-drv-nvidia-cuda), "
            "which is then left alone if it is of the branch or newer"
        )
    if system.family in driver_table.ORIGINS:
        return ""
    return (
        f"a driver is installed on Debian, Ubuntu, the RHEL family and Fedora only, and this is {system.name}: install "
        "it with the tools of the distribution; a driver of the branch or newer is then left alone"
    )


def unavailable(system: System, source: str, branch: str, offered: t.Sequence[str], told: str) -> str:
    """Why there is no such driver, and what to do. ``told`` are the package manager's words."""
    place = "the vendor's repository" if source == "vendor" else f"the sources of {system.name}"
    have = f"it offers {', '.join(offered)}" if offered else "it offers no driver"
    other = "" if source == "vendor" else ", or trainmesh_driver_source: vendor"
    fix = f"set trainmesh_driver to one of these{other}" if offered else f"check its address{other}"
    return f"driver {branch} is not in {place}; {have}: {fix}{f' ({told})' if told else ''}"


def fabric_manager(packages: t.Mapping[str, Package], choice: Choice, branch: str, source: str) -> Want:
    """The package of the fabric manager, of exactly the driver's version; raises Fault."""
    found = []
    for name in driver_table.fabric_managers(branch):
        for version in packages[name].versions if name in packages else ():
            found.append(upstream(version))
            if upstream(version) == choice.version:
                return Want(name, version)
    have = f"only {', '.join(sorted(set(found), key=numbers))}" if found else "none"
    fix = "set trainmesh_driver_source: vendor" if source != "vendor" else "set trainmesh_driver to another branch"
    raise Fault(
        f"this node has NVSwitches, whose fabric manager must be of exactly the driver's version, {choice.version}, "
        f"and the sources have {have}: {fix}"
    )


def is_driver(name: str) -> bool:
    """Whether a package belongs to the driver, by its name without architecture."""
    bare = name.partition(":")[0]
    return any(fnmatch.fnmatchcase(bare, pattern) for pattern in driver_table.NAMES)


def object_to(steps: Transaction, held: t.Collection[str], ours: t.Collection[str], unhold: str) -> None:
    """Raise Fault where an installation would go against what somebody wants on this node."""
    against = sorted((set(held) - set(ours)) & {*steps.after, *steps.removed})
    if against:
        names = " ".join(against)
        raise Fault(
            f"{', '.join(against)} may not be changed: somebody has put a hold on it. If that is no longer wanted, run "
            f"{unhold} {names}"
        )
    foreign = sorted(name for name in steps.removed if not _may_go(name))
    if foreign:
        raise Fault(
            f"it would remove {', '.join(foreign[:SHOWN])}, which the driver does not go together with: remove it by "
            "hand if it is not needed"
        )


def _may_go(name: str) -> bool:
    return is_driver(name) or name.startswith(("glx-", "libegl-nvidia", "libgl"))


def object_to_removal(steps: Transaction, names: t.Collection[str]) -> None:
    """Raise Fault where somebody else's packages would go with ours."""
    others = sorted(set(steps.removed) - set(names))
    if others:
        raise Fault(f"{', '.join(others[:SHOWN])} need the driver: remove them first")


def to_hold(steps: Transaction, version: str, installed: t.Mapping[str, str]) -> list[str]:
    """The packages that must stay of one version: all of the driver with this one."""
    after = {**installed, **steps.after}
    return sorted(name for name, have in after.items() if is_driver(name) and upstream(have) == version)


def disk_faults(needs: t.Iterable[tuple[str, int, int]]) -> None:
    """Raise Fault where a file system is too small: (directory, bytes needed, bytes free)."""
    for place, needed, free in needs:
        if free < needed + ROOM_BYTES:
            raise Fault(
                f"{place} has {free / 1e9:.1f} GB free, and the driver takes {(needed + ROOM_BYTES) / 1e9:.1f} GB "
                "there: make room"
            )


def pin(version: str) -> str:
    """Preferences by which apt takes the driver of this version alone."""
    names = " ".join(driver_table.NAMES)
    head = "# trainmesh.cluster: library and kernel module of the NVIDIA driver stay of one version\n"
    return f"{head}Package: {names}\nPin: version {version}*\nPin-Priority: 991\n"


def deb_source(uri: str, suite: str, components: str, key: str) -> str:
    """A source in apt's newer format; an empty ``components`` for a flat repository."""
    lines = ["# trainmesh.cluster", "Types: deb", f"URIs: {uri}", f"Suites: {suite}"]
    lines += [f"Components: {components}"] if components else []
    lines += [f"Signed-By: {key}"] if key else []
    return "\n".join([*lines, ""])


def rpm_source(url: str, key: str) -> str:
    """A repository in dnf's format. Modules (nvidia-driver:570-dkms) hide nothing of it: holds keep the version."""
    lines = ["# trainmesh.cluster", f"[{RPM_SOURCE}]", "name=NVIDIA driver and CUDA", f"baseurl={url}", "enabled=1"]
    return "\n".join([*lines, "gpgcheck=1", f"gpgkey=file://{key}", "module_hotfixes=1", ""])


def missing_components(system: System, archives: t.Sequence[Archive], signed_by: t.Mapping[str, str]) -> list[str]:
    """Sources for the components that hold the driver, beside those that the node has, of the same mirrors."""
    needed = driver_table.components(system)
    suites = {each.suite for each in archives if set(needed) <= each.components}
    stanzas = []
    for each in archives:
        wanted = system.codename, f"{system.codename}-updates", f"{system.codename}-security"
        if each.suite in wanted and each.suite not in suites and "main" in each.components:
            lacking = " ".join(name for name in needed if name not in each.components)
            stanzas.append(deb_source(each.uri, each.suite, lacking, signed_by.get(each.uri.rstrip("/"), "")))
    return stanzas


def reboot_reason(present: Present, version: str) -> str:
    """Why the new driver works only after a reboot; empty where it works now, or never will here."""
    if not present.devices:
        return ""
    if present.kernel != present.running:
        return f"its module is for kernel {present.kernel}, and {present.running} runs"
    if present.loaded and present.loaded != version:
        return f"the module of driver {present.loaded} is loaded"
    if not present.loaded and present.nouveau:
        return "nouveau has the GPUs"
    return "" if present.loaded else "its module is not loaded"
