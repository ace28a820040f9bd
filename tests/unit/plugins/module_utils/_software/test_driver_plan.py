# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.apt import Archive
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import (
    Fault,
    Package,
    Transaction,
    Want,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.system import System
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver_plan
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_present import Present
from ansible_collections.trainmesh.cluster.plugins.module_utils._software.driver_table import Recipe

DEBIAN = System("debian", "12", "bookworm", "Debian 12", "x86_64")
A100, V100, B200 = 0x20B0, 0x1DB1, 0x2901
BARE = Present(
    kernel="6.1.0-57-amd64",
    running="6.1.0-57-amd64",
    loaded=None,
    library=None,
    module=None,
    kind=None,
    from_runfile=False,
    devices=(A100,),
    nvswitches=0,
    nouveau=False,
    secure_boot=None,
    rdma=False,
    contained=False,
    headers=True,
)
OPEN = Recipe("open", ("nvidia-open-kernel-dkms", "libcuda1"), ("nvidia-persistenced",))
CLOSED = Recipe("proprietary", ("nvidia-kernel-dkms", "libcuda1"), ("nvidia-persistenced",))


def steps(install: dict, remove: dict) -> Transaction:
    """Of name to (old or None, new), and of name to old of what goes."""
    old = {name: before for name, (before, _new) in install.items() if before}
    return Transaction(
        new={name: new for name, (before, new) in install.items() if not before},
        upgraded={name: new for name, (before, new) in install.items() if before},
        removed=tuple(remove),
        before={**old, **remove},
    )


def package(*versions: str, installed: str | None = None) -> Package:
    return Package(installed, versions[0], versions)


OFFERED = {
    "libcuda1": package("535.309.01-0+deb12u1", "535.261.03-1"),
    "nvidia-kernel-dkms": package("535.309.01-0+deb12u1", "535.261.03-1"),
    "nvidia-open-kernel-dkms": package("535.261.03-1"),
    "nvidia-persistenced": package("535.171.04-1~deb12u1"),
}


@pytest.mark.parametrize(
    ("changes", "branch", "good"),
    [
        ({"library": "570.86.15", "module": "570.86.15"}, "570", True),
        ({"library": "580.65.06", "module": "580.65.06"}, "570", True),
        ({"library": "535.309.01", "module": "535.309.01"}, "570", False),
        ({"library": "570.86.15", "loaded": "570.86.15"}, "570", True),  # a module that depmod does not know
        ({"library": "570.86.15", "module": None}, "570", False),  # a new kernel without its module
        ({"library": "570.124.06", "module": "570.86.15"}, "570", False),  # split by an upgrade
        ({"library": "570.86.15", "loaded": "570.86.15", "running": "6.1.0-40-amd64"}, "570", False),
        ({"module": "570.86.15"}, "570", False),
        ({}, "570", False),
    ],
)
def test_a_good_driver_is_left_alone(changes, branch, good):
    assert driver_plan.satisfied(BARE._replace(**changes), branch) is good


@pytest.mark.parametrize(
    ("changes", "packages", "users", "told"),
    [
        ({"contained": True}, [], [], "container"),
        ({"from_runfile": True, "library": "525.60.13"}, [], [], "nvidia-uninstall"),
        ({"library": "525.60.13"}, [], [], "without packages"),  # a runfile whose uninstaller is gone
        ({}, [], ["123 (python3)", "124 (python3)"], "123 .python3., 124"),
    ],
)
def test_what_is_not_touched(changes, packages, users, told):
    with pytest.raises(Fault, match=told):
        driver_plan.refuse(BARE._replace(**changes), "570", packages, users)


def test_a_driver_of_packages_may_be_changed_and_a_kernel_to_come_is_served_in_a_container():
    driver_plan.refuse(BARE._replace(library="535.1.1"), "570", ["libcuda1"], [])
    driver_plan.refuse(BARE._replace(contained=True, running="6.18.0"), "570", [], [])


@pytest.mark.parametrize(
    ("devices", "wish", "branch", "kinds"),
    [
        ((A100,), "auto", "570", ["open", "proprietary"]),
        ((V100,), "auto", "570", ["proprietary"]),
        ((B200,), "auto", "580", ["open"]),
        ((A100,), "auto", "620", ["open"]),
        ((A100,), "proprietary", "570", ["proprietary"]),
        ((), "open", "570", ["open"]),
    ],
)
def test_kinds_of_module(devices, wish, branch, kinds):
    assert driver_plan.kinds(BARE._replace(devices=devices), wish, branch) == kinds


@pytest.mark.parametrize(
    ("devices", "wish", "branch", "told"),
    [
        ((V100,), "open", "570", r"open kernel module does not work .*10de:1db1.*trainmesh_driver_module: auto"),
        ((B200,), "proprietary", "580", "10de:2901"),
        ((V100,), "auto", "620", "no proprietary module any more: set trainmesh_driver: 580"),
        ((V100, B200), "auto", "580", "take one kind out"),
    ],
)
def test_no_kind_of_module(devices, wish, branch, told):
    with pytest.raises(Fault, match=told):
        driver_plan.kinds(BARE._replace(devices=devices), wish, branch)


def test_the_newest_driver_that_is_offered_in_full():
    choice = driver_plan.choose([[OPEN], [CLOSED]], OFFERED, "535")
    assert choice is not None and (choice.version, choice.recipe) == ("535.309.01", CLOSED)
    assert choice.wanted == (
        Want("nvidia-kernel-dkms", "535.309.01-0+deb12u1"),
        Want("libcuda1", "535.309.01-0+deb12u1"),
        Want("nvidia-persistenced"),
    )


def test_the_open_module_takes_the_library_of_its_version():
    choice = driver_plan.choose([[OPEN]], OFFERED, "535")
    assert choice is not None and choice.wanted[:2] == (
        Want("nvidia-open-kernel-dkms", "535.261.03-1"),
        Want("libcuda1", "535.261.03-1"),
    )


def test_of_equal_versions_the_better_kind():
    equal = {**OFFERED, "nvidia-open-kernel-dkms": package("535.309.01-1")}
    choice = driver_plan.choose([[OPEN], [CLOSED]], equal, "535")
    assert choice is not None and choice.recipe is OPEN


def test_a_prebuilt_module_must_be_there():
    built = Recipe("open", ("libnvidia-compute-570",), prebuilt="linux-modules-nvidia-570-open-6.8.0-60-generic")
    dkms = Recipe("open", ("nvidia-dkms-570-open", "libnvidia-compute-570"))
    offered = {name: package("570.86.15-0ubuntu1") for name in ("libnvidia-compute-570", "nvidia-dkms-570-open")}
    choice = driver_plan.choose([[built, dkms]], offered, "570")
    assert choice is not None and choice.recipe is dkms
    choice = driver_plan.choose([[built, dkms]], {**offered, built.prebuilt: package("6.8.0-60.63")}, "570")
    assert choice is not None and choice.wanted[-1].name == built.prebuilt


def test_a_branch_that_is_not_offered():
    assert driver_plan.choose([[OPEN], [CLOSED]], OFFERED, "570") is None
    text = driver_plan.unavailable(DEBIAN, "distribution", "570", driver_plan.branches(OFFERED), "")
    assert text == (
        "driver 570 is not in the sources of Debian 12; it offers 535: set trainmesh_driver to one of these, or "
        "trainmesh_driver_source: vendor"
    )


def test_other_distributions_are_told_what_to_do():
    rocky = System("rhel", "9.4", "", "Rocky Linux 9.4", "x86_64")
    told = driver_plan.unsupported(rocky, "distribution")
    assert "trainmesh_driver_source: vendor" in told and "RPM Fusion" in told and "akmod-nvidia" in told
    assert driver_plan.unsupported(rocky, "vendor") == driver_plan.unsupported(DEBIAN, "distribution") == ""
    assert "this is openSUSE" in driver_plan.unsupported(System("", "15", "", "openSUSE", "x86_64"), "vendor")


def test_packages_of_the_old_driver_go_where_there_are_none_of_the_new_one():
    choice = driver_plan.choose(
        [[CLOSED]], {**OFFERED, "libcuda1": package("570.1-1"), "nvidia-kernel-dkms": package("570.1-1")}, "570"
    )
    assert choice is not None
    installed = {
        "libcuda1": "535.309.01-1",
        "nvidia-smi": "535.309.01-1",
        "libnvidia-ml1": "535.309.01-1",
        "nvidia-support": "20220217+3",
        "nvidia-container-toolkit": "1.17.8-1",
    }
    offered = {"libnvidia-ml1": package("570.1-1", "535.309.01-1"), "nvidia-smi": package("535.309.01-1")}
    assert driver_plan.to_drop(installed, offered, choice, choice.wanted) == ["nvidia-smi"]


def test_the_fabric_manager_is_of_exactly_the_version():
    choice = driver_plan.choose([[CLOSED]], OFFERED, "535")
    assert choice is not None
    fits = {"nvidia-fabricmanager-535": package("535.400.01-1", "535.309.01-1")}
    assert driver_plan.fabric_manager(fits, choice, "535", "vendor") == Want("nvidia-fabricmanager-535", "535.309.01-1")
    with pytest.raises(Fault, match=r"535\.309\.01, and the sources have only 535\.400\.01: set .*another"):
        driver_plan.fabric_manager({"nvidia-fabricmanager": package("535.400.01-1")}, choice, "535", "vendor")
    with pytest.raises(Fault, match="have none: set trainmesh_driver_source: vendor"):
        driver_plan.fabric_manager({}, choice, "535", "distribution")


def test_holds_of_others_are_respected_and_ours_are_not_in_the_way():
    found = steps({"libcuda1": ("535.1.1-1", "570.1.1-1"), "dkms": (None, "3.0")}, {"nvidia-kernel-dkms": "535.1.1-1"})
    driver_plan.object_to(found, {"libcuda1", "unrelated"}, ["libcuda1"], "apt-mark unhold")
    with pytest.raises(Fault, match="apt-mark unhold libcuda1"):
        driver_plan.object_to(found, {"libcuda1"}, [], "apt-mark unhold")
    with pytest.raises(Fault, match=r"nvidia-kernel-dkms may not be changed.*dnf versionlock delete nvidia-"):
        driver_plan.object_to(found, {"nvidia-kernel-dkms"}, [], "dnf versionlock delete")


def test_nothing_foreign_is_removed():
    with pytest.raises(Fault, match="would remove postgresql"):
        driver_plan.object_to(steps({}, {"postgresql": "15", "nvidia-smi": "1"}), set(), [], "")
    with pytest.raises(Fault, match="ollama need the driver"):
        driver_plan.object_to_removal(steps({}, {"ollama": "1", "libcuda1": "1"}), ["libcuda1"])


def test_what_is_held_is_the_driver_of_this_version_and_nothing_else():
    found = steps({"libcuda1": (None, "535.309.01-0+deb12u1"), "gcc": (None, "4:12.2.0-3")}, {})
    installed = {"nvidia-smi": "535.309.01-0+deb12u1", "nvidia-container-toolkit": "1.17.8-1"}
    assert driver_plan.to_hold(found, "535.309.01", installed) == ["libcuda1", "nvidia-smi"]


def test_a_full_disk_is_told_before():
    driver_plan.disk_faults([("/usr", 10**9, 2 * 10**9)])
    with pytest.raises(Fault, match=r"/usr has 1\.1 GB free, and the driver takes 1\.2 GB there"):
        driver_plan.disk_faults([("/usr", 10**9, 11 * 10**8)])


def test_missing_components_come_from_the_mirrors_of_the_node():
    main = frozenset({"main"})
    mirror, whole = "http://mirror.example/debian", frozenset({"main", "contrib", "non-free", "non-free-firmware"})
    archives = [
        Archive(mirror, "bookworm", main),
        Archive(mirror, "bookworm-backports", main),
        Archive("http://s.example", "bookworm-security", main | {"contrib"}),
    ]
    stanzas = driver_plan.missing_components(DEBIAN, archives, {mirror: "/usr/share/keyrings/debian.gpg"})
    assert len(stanzas) == 2 and "Signed-By: /usr/share/keyrings/debian.gpg" in stanzas[0]
    assert "Suites: bookworm\nComponents: contrib non-free non-free-firmware\n" in stanzas[0]
    assert "Components: non-free non-free-firmware\n" in stanzas[1] and "Signed-By" not in stanzas[1]
    assert driver_plan.missing_components(DEBIAN, [Archive(mirror, "bookworm", whole)], {}) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"devices": ()}, ""),  # nothing to load it for
        ({"loaded": "570.1.1"}, ""),
        ({"loaded": "535.1.1"}, "the module of driver 535.1.1 is loaded"),
        ({"nouveau": True}, "nouveau has the GPUs"),
        ({"running": "6.18"}, "6.18 runs"),
        ({}, "its module is not loaded"),
    ],
)
def test_when_a_reboot_is_needed(changes, told):
    reason = driver_plan.reboot_reason(BARE._replace(**changes), "570.1.1")
    assert (told in reason) and bool(told) == bool(reason)
