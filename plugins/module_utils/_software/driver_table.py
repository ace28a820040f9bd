# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages make up the driver: without anything for screens, as a node that only computes needs it."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.model import Want
from ansible_collections.trainmesh.cluster.plugins.module_utils._packages.system import OF_RPM, System

SOURCE = (
    "packages.debian.org (source packages nvidia-graphics-drivers, nvidia-open-gpu-kernel-modules), "
    "packages.ubuntu.com (nvidia-graphics-drivers-570-server, linux-restricted-modules); "
    "docs.nvidia.com/datacenter/tesla/driver-installation-guide: Compute-only and Desktop Installation, "
    "Kernel Modules, Version locking, Recent Updates (names without a branch on Ubuntu from 590 on; no proprietary "
    "module from 620 on); the fingerprints of 3bf863cc.pub and D42D0685.pub as several projects pin them"
)
DATE = "2026-11-30"

OPEN, PROPRIETARY = "open", "proprietary"
LAST_WITH_PROPRIETARY = 619
# Distributions for which the vendor has a repository, by family and major number (Ubuntu: the whole version).
VENDOR_PLACES = {
    ("debian", "12"): "debian12",
    ("debian", "13"): "debian13",
    ("ubuntu", "22.04"): "ubuntu2204",
    ("ubuntu", "24.04"): "ubuntu2404",
    ("rhel", "8"): "rhel8",
    ("rhel", "9"): "rhel9",
    ("rhel", "10"): "rhel10",
}
VENDOR_URL = "https://developer.download.nvidia.com/compute/cuda/repos"
VENDOR_ARCH = {"x86_64": "x86_64", "aarch64": "sbsa"}
# File in the repository, and fingerprint. Where that is not known for certain there is none, and the user names it.
VENDOR_KEY = ("3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC")
VENDOR_KEYS = {
    "rhel8": ("D42D0685.pub", "610C7B14E068A878070DA4E99CD0A493D42D0685"),
    "rhel9": ("D42D0685.pub", "610C7B14E068A878070DA4E99CD0A493D42D0685"),
    "rhel10": ("CDF6BA43.pub", ""),
}
ORIGINS = {"debian": "Debian", "ubuntu": "Ubuntu"}
# What belongs to the driver among all packages: pinned to one version, never removed with anything else.
NAMES = (
    *("nvidia-*", "libnvidia-*", "libcuda1*", "libcudadebugger1*", "libnvcuvid1*", "libnvoptix*", "libxnvctrl*"),
    *("firmware-nvidia-*", "cuda-drivers*", "linux-modules-nvidia-*", "xserver-xorg-video-nvidia*"),
    *("kmod-nvidia-*", "akmod-nvidia*", "xorg-x11-drv-nvidia*", "xorg-x11-nvidia*"),
)


class Recipe(t.NamedTuple):
    """Packages of one kind of module. ``driver`` all have the driver's version, ``beside`` need not even be there.

    ``prebuilt`` is the package of a module that need not be built.
    """

    module: str
    driver: tuple[str, ...]
    beside: tuple[str, ...] = ()
    prebuilt: str = ""


def components(system: System) -> tuple[str, ...]:
    """Components of the distribution that hold the driver, beside main."""
    if system.family == "ubuntu":
        return ("restricted",)
    firmware = ("non-free-firmware",) if system.major >= 12 else ()
    return ("contrib", "non-free", *firmware)


def vendor_place(system: System) -> str:
    """The directory of the vendor's repository for this distribution, empty where there is none."""
    key = (system.family, system.version if system.family == "ubuntu" else str(system.major))
    if system.family == "fedora":  # a new one twice a year
        return f"fedora{system.version}"
    return VENDOR_PLACES.get(key, "")


def vendor_key(system: System) -> tuple[str, str]:
    """The file of the key in the vendor's repository, and its fingerprint; either may be empty: not known here."""
    if system.family in OF_RPM:
        return VENDOR_KEYS.get(vendor_place(system), ("", ""))
    return VENDOR_KEY


def recipes(system: System, source: str, branch: str, module: str, kernel: str) -> list[Recipe]:
    """The sets of packages that may be, the better ones first."""
    if system.family == "debian":
        return [_debian(source, module)]
    if system.family == "ubuntu":
        return _ubuntu(source, branch, module, kernel)
    return [_rpm(module)] if source == "vendor" and system.family in OF_RPM else []


def _rpm(module: str) -> Recipe:
    """nvidia-driver-cuda brings the libraries, the tools and the persistence daemon, all of its own version."""
    return Recipe(
        module, ("kmod-nvidia-open-dkms" if module == OPEN else "kmod-nvidia-latest-dkms", "nvidia-driver-cuda")
    )


def _debian(source: str, module: str) -> Recipe:
    is_open = module == OPEN
    if source == "vendor":
        kernel = "nvidia-kernel-open-dkms" if is_open else "nvidia-kernel-dkms"
        return Recipe(module, (kernel, "nvidia-driver-cuda"), ("nvidia-persistenced",))
    kernel = "nvidia-open-kernel-dkms" if is_open else "nvidia-kernel-dkms"
    beside = ("nvidia-persistenced", "libnvidia-nvvm4")
    return Recipe(module, (kernel, "libcuda1", "libnvidia-ml1", "nvidia-smi"), beside)


def _ubuntu(source: str, branch: str, module: str, kernel: str) -> list[Recipe]:
    """The distribution has branches with longer care (-server); the vendor dropped the branch from the names."""
    found = []
    flavour = "-open" if module == OPEN else ""
    endings = (f"-{branch}", "") if source == "vendor" else (f"-{branch}-server", f"-{branch}")
    for ending in endings:
        libraries = [f"{name}{ending}" for name in ("libnvidia-compute", "nvidia-utils", "nvidia-compute-utils")]
        common = (*libraries, f"nvidia-kernel-common{ending}")
        built = (f"nvidia-dkms{ending}{flavour}", *common)
        if source != "vendor":  # modules that the distribution has built and signed come first
            modules = f"linux-modules-nvidia{ending}{flavour}-{kernel}"
            found.append(Recipe(module, common, prebuilt=modules))
        found.append(Recipe(module, built))
    return found


def fabric_managers(branch: str) -> tuple[str, ...]:
    """Names that the package of the fabric manager has had."""
    return (f"nvidia-fabricmanager-{branch}", "nvidia-fabricmanager", "nvidia-fabric-manager")


def headers(system: System, kernel: str) -> list[Want]:
    """The packages with which a module is built for this kernel."""
    if system.family not in OF_RPM:
        return [Want(f"linux-headers-{kernel}")]
    bare, _plus, flavour = kernel.partition("+")  # 5.14.0-427.el9.x86_64+rt
    kind = flavour or ("uek" if "uek" in bare else "")  # that of Oracle
    return [Want(f"kernel-{kind}-devel" if kind else "kernel-devel", _without_arch(bare))]


def _without_arch(kernel: str) -> str:
    return re.sub(r"\.(?:x86_64|aarch64)\Z", "", kernel)


def later_headers(system: System, kernel: str, installed: t.Iterable[str]) -> list[Want]:
    """The packages that bring headers with each new kernel, for those that bring the kernels."""
    if system.family in OF_RPM:
        matched = Want("kernel-devel-matched", _without_arch(kernel))
        return [matched] if "kernel-core" in installed and "+" not in kernel else []
    images = [name for name in installed if name.startswith("linux-image-") and not name[12:13].isdigit()]
    return [Want(name.replace("linux-image-", "linux-headers-", 1)) for name in images if not name.endswith("-dbg")]
