# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Want
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.system import System
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver_table

DEBIAN = System("debian", "12", "bookworm", "Debian 12", "x86_64")
UBUNTU = System("ubuntu", "24.04", "noble", "Ubuntu 24.04", "x86_64")
ROCKY = System("rhel", "9.4", "", "Rocky Linux 9.4", "x86_64")


def test_packages_of_debian():
    (found,) = driver_table.recipes(DEBIAN, "distribution", "535", "open", "6.1.0-57-amd64")
    assert found.driver[0] == "nvidia-open-kernel-dkms" and "nvidia-driver" not in found.driver
    (found,) = driver_table.recipes(DEBIAN, "vendor", "570", "proprietary", "6.1.0-57-amd64")
    assert found.driver == ("nvidia-kernel-dkms", "nvidia-driver-cuda")


def test_ubuntu_takes_signed_modules_and_longer_care_first():
    found = driver_table.recipes(UBUNTU, "distribution", "570", "open", "6.8.0-60-generic")
    assert [recipe.prebuilt for recipe in found] == [
        "linux-modules-nvidia-570-server-open-6.8.0-60-generic",
        "",
        "linux-modules-nvidia-570-open-6.8.0-60-generic",
        "",
    ]
    assert found[1].driver[0] == "nvidia-dkms-570-server-open" and "libnvidia-compute-570-server" in found[1].driver


def test_the_vendor_dropped_the_branch_from_ubuntus_names():
    found = driver_table.recipes(UBUNTU, "vendor", "590", "open", "6.8.0-60-generic")
    assert [recipe.driver[0] for recipe in found] == ["nvidia-dkms-590-open", "nvidia-dkms-open"]


@pytest.mark.parametrize(
    ("system", "place"),
    [
        (DEBIAN, "debian12"),
        (UBUNTU, "ubuntu2404"),
        (ROCKY, "rhel9"),
        (ROCKY._replace(version="10.0"), "rhel10"),
        (ROCKY._replace(version="7.9"), ""),
        (ROCKY._replace(family="fedora", version="43"), "fedora43"),
        (UBUNTU._replace(version="24.10"), ""),
        (DEBIAN._replace(version="11"), ""),
    ],
)
def test_where_the_vendor_has_packages(system, place):
    assert driver_table.vendor_place(system) == place


def test_the_components_that_hold_the_driver():
    assert driver_table.components(DEBIAN) == ("contrib", "non-free", "non-free-firmware")
    assert driver_table.components(DEBIAN._replace(version="11")) == ("contrib", "non-free")
    assert driver_table.components(UBUNTU) == ("restricted",)


def test_new_kernels_get_their_headers():
    images = [
        "linux-image-amd64",
        "linux-image-6.1.0-57-amd64",
        "linux-image-generic-hwe-22.04",
        "linux-image-amd64-dbg",
    ]
    assert [want.name for want in driver_table.later_headers(DEBIAN, "6.1.0-57-amd64", images)] == [
        "linux-headers-amd64",
        "linux-headers-generic-hwe-22.04",
    ]


def test_packages_of_the_rhel_family_and_fedora():
    for system in (ROCKY, ROCKY._replace(family="fedora", version="43")):
        (found,) = driver_table.recipes(system, "vendor", "570", "open", "5.14.0-427.el9.x86_64")
        assert found.driver == ("kmod-nvidia-open-dkms", "nvidia-driver-cuda")
        (found,) = driver_table.recipes(system, "vendor", "570", "proprietary", "5.14.0-427.el9.x86_64")
        assert found.driver[0] == "kmod-nvidia-latest-dkms"
        assert driver_table.recipes(system, "distribution", "570", "open", "") == []


@pytest.mark.parametrize(
    ("kernel", "want"),
    [
        ("5.14.0-427.13.1.el9_4.x86_64", Want("kernel-devel", "5.14.0-427.13.1.el9_4")),
        ("5.14.0-427.13.1.el9_4.aarch64+64k", Want("kernel-64k-devel", "5.14.0-427.13.1.el9_4")),
        ("5.14.0-427.13.1.el9_4.x86_64+rt", Want("kernel-rt-devel", "5.14.0-427.13.1.el9_4")),
        ("5.15.0-209.161.7.2.el9uek.x86_64", Want("kernel-uek-devel", "5.15.0-209.161.7.2.el9uek")),
    ],
)
def test_headers_are_those_of_the_kernel_and_its_flavour(kernel, want):
    assert driver_table.headers(ROCKY, kernel) == [want]


def test_new_kernels_of_the_rhel_family_get_their_headers():
    kernel = "5.14.0-427.el9.x86_64"
    assert driver_table.later_headers(ROCKY, kernel, ["kernel-core"]) == [
        Want("kernel-devel-matched", "5.14.0-427.el9")
    ]
    assert driver_table.later_headers(ROCKY, kernel, ["kernel-uek-core"]) == []


def test_a_key_without_a_fingerprint_that_is_certain_has_none():
    assert driver_table.vendor_key(ROCKY) == ("D42D0685.pub", "610C7B14E068A878070DA4E99CD0A493D42D0685")
    assert driver_table.vendor_key(ROCKY._replace(version="10.1")) == ("CDF6BA43.pub", "")
    assert driver_table.vendor_key(ROCKY._replace(family="fedora", version="43")) == ("", "")
    assert driver_table.vendor_key(DEBIAN)[0] == "3bf863cc.pub"
