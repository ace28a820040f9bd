# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, system, container or virtual machine, memory, Python and security of a node."""

from __future__ import annotations

import os
import platform
import sys
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import run
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree, to_int

PACKAGE_MANAGERS = (
    ("apt", "/usr/bin/apt-get"),
    ("dnf", "/usr/bin/dnf"),
    ("dnf", "/usr/bin/dnf5"),
    ("yum", "/usr/bin/yum"),
    ("zypper", "/usr/bin/zypper"),
)
SYSTEM_PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/local/bin/python3", "/bin/python3")
ASK_PYTHON = """
import os, sys
print("%d.%d.%d" % sys.version_info[:3])
print(os.path.isdir(os.path.join(os.path.dirname(os.__file__), "ensurepip")))
"""
# Start of a DMI string -> name. Source: dmi_vendor_table of systemd's src/basic/virt.c, read 2026-11-21;
# "Virtual Machine" is the product name of Hyper-V and Azure guests.
DMI_FILES = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")
DMI_VENDORS = {
    "KVM": "kvm",
    "OpenStack": "kvm",
    "KubeVirt": "kvm",
    "Amazon EC2": "amazon",
    "QEMU": "qemu",
    "VMware": "vmware",
    "VMW": "vmware",
    "innotek GmbH": "oracle",
    "VirtualBox": "oracle",
    "Oracle Corporation": "oracle",
    "Xen": "xen",
    "Bochs": "bochs",
    "Parallels": "parallels",
    "BHYVE": "bhyve",
    "Hyper-V": "microsoft",
    "Virtual Machine": "microsoft",
    "Apple Virtualization": "apple",
    "Google Compute Engine": "google",
}
# Clock source that only this hypervisor offers -> name, for guests without DMI.
CLOCKS = {"kvm-clock": "kvm", "hyperv": "microsoft", "xen": "xen"}
CGROUP_WORDS = {"kubepods": "kubernetes", "libpod": "podman", "docker": "docker", "lxc": "lxc"}


def glibc() -> str | None:
    """The version of glibc, which decides what wheels run; None on another C library."""
    try:
        name, _blank, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return None
    return version if name == "glibc" and version else None


def os_release(files: Tree) -> dict[str, str | None]:
    """``id``, ``version_id``, ``pretty_name`` and ``id_like`` of the distribution. Format: os-release(5)."""
    text = files.text("/etc/os-release") or files.text("/usr/lib/os-release") or ""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            found[key] = value.strip().strip("'\"")
    return {key: found.get(key.upper()) or None for key in ("id", "version_id", "pretty_name", "id_like")}


def machine_id(files: Tree) -> str | None:
    """The 32 hexadecimal digits of /etc/machine-id, or None when it is absent, empty or not yet set."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        text = (files.line(path) or "").lower()
        if len(text) == 32 and not text.strip("0123456789abcdef"):
            return text
    return None


def container(files: Tree, environment: t.Mapping[str, str]) -> str | None:
    """What kind of container this is (docker, podman, lxc, systemd-nspawn, wsl, ...), or None.

    The order is that of systemd-detect-virt: what the container manager declares, then its marker files.
    """
    declared = files.line("/run/systemd/container") or environment.get("container")
    if not declared:
        variables = (files.text("/proc/1/environ", 256 * 1024) or "").split("\0")
        declared = next((item[10:] for item in variables if item.startswith("container=")), "")
    if declared and declared != "oci":
        return declared
    if files.has("/run/.containerenv"):
        return "podman"
    if files.has("/.dockerenv"):
        return "docker"
    if environment.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if "microsoft" in (files.line("/proc/sys/kernel/osrelease") or "").lower():
        return "wsl"
    groups = files.text("/proc/1/cgroup") or ""
    return next((name for word, name in CGROUP_WORDS.items() if f"/{word}" in groups), declared or None)


def virtual(files: Tree) -> str | None:
    """The hypervisor below (kvm, vmware, amazon, ...; "other" when it does not say which), None on bare metal.

    On x86 the processor says whether there is one; without its word DMI strings are not believed,
    because bare-metal machines of cloud providers carry the same ones.
    """
    flags = files.text("/proc/cpuinfo", 8192) or ""  # the first processor is enough; the whole file is slow to make
    x86 = "\nflags" in flags
    if x86 and " hypervisor" not in flags:
        return None
    strings = [files.line(f"/sys/class/dmi/id/{name}") or "" for name in DMI_FILES]
    for text in strings:
        for start, found in DMI_VENDORS.items():
            if text.startswith(start):
                return None if found == "amazon" and ".metal" in strings[0] else found
    clocks = files.line("/sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    known = next((found for word, found in CLOCKS.items() if word in clocks), None)
    return known or files.line("/sys/hypervisor/type") or ("other" if x86 else None)


def memory(files: Tree) -> dict[str, int | None]:
    """``memory_bytes`` and ``memory_available_bytes`` of /proc/meminfo."""
    found: dict[str, int | None] = {}
    for line in (files.text("/proc/meminfo") or "").splitlines():
        key, _colon, value = line.partition(":")
        kib = to_int(value.replace("kB", "").strip())
        found[key] = None if kib is None else kib * 1024
    return {"memory_bytes": found.get("MemTotal"), "memory_available_bytes": found.get("MemAvailable")}


def cgroup_limits(files: Tree) -> dict[str, t.Any]:
    """What the container may use: ``memory_bytes``, ``cpus`` (maybe a fraction), ``pids``; None where unlimited."""
    memory_limit = to_int(files.line("/sys/fs/cgroup/memory.max"))
    if memory_limit is None:
        memory_limit = files.number("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    quota, period = (files.number(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    pids = to_int(files.line("/sys/fs/cgroup/pids.max"))
    pids = files.number("/sys/fs/cgroup/pids/pids.max") if pids is None else pids
    fields = (files.line("/sys/fs/cgroup/cpu.max") or "").split()
    if len(fields) == 2:
        quota, period = to_int(fields[0]), to_int(fields[1])
    return {
        "memory_bytes": memory_limit if memory_limit is not None and 0 < memory_limit < 2**60 else None,
        "pids": pids,
        "cpus": round(quota / period, 2) if quota and period and quota > 0 and period > 0 else None,
    }


def login_tasks(files: Tree, uid: int) -> dict[str, t.Any] | None:
    """How many processes and threads systemd lets a login of the user have: ``pids``, and the ``unit`` that says so.

    None where nothing limits them. The slice of a user who is not logged in is known by its drop-ins alone.
    """
    own = next((line for line in (files.text("/proc/self/cgroup") or "").splitlines() if _counts_pids(line)), "")
    root = "/sys/fs/cgroup/pids" if ":pids:" in own else "/sys/fs/cgroup"
    parts = [part for part in own.rpartition(":")[2].split("/") if part]
    if parts[:1] == ["user.slice"]:
        parts = ["user.slice", f"user-{uid}.slice"]
    found: dict[str, int] = {}
    for depth, unit in enumerate(parts, 1):
        most = to_int(files.line("/".join([root, *parts[:depth], "pids.max"])))
        if most is not None:
            found[unit] = most
    asked = _asked_of_systemd(files, uid) if parts[:1] == ["user.slice"] and parts[-1] not in found else None
    if asked:
        found[parts[-1]] = asked
    unit = min(found, key=lambda name: found[name], default="")
    return {"pids": found[unit], "unit": unit} if unit else None


def _counts_pids(line: str) -> bool:
    return line.startswith("0::/") or ":pids:" in line


def _asked_of_systemd(files: Tree, uid: int) -> int | None:
    """TasksMax of the user's slice as a number, by the drop-ins of all users and of this one; the last one counts."""
    answer = None
    for unit in ("user-.slice.d", f"user-{uid}.slice.d"):
        for name in files.names(f"/etc/systemd/system/{unit}"):
            for line in (files.text(f"/etc/systemd/system/{unit}/{name}") or "").splitlines():
                key, equals, value = line.partition("=")
                answer = to_int(value.strip()) if equals and key.strip() == "TasksMax" else answer
    return answer


def cpus() -> int:
    """The number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def system_python(limit: float) -> dict[str, t.Any]:
    """``path``, ``version`` and ``ensurepip`` (whether ``python3 -m venv`` can work) of the system's python3.

    Free where the module runs on that very interpreter, else one bounded subprocess.
    """
    path = next((name for name in SYSTEM_PYTHONS if os.path.exists(name)), None)
    if path is None:
        return {"path": None, "version": None, "ensurepip": None}
    if sys.executable and os.path.realpath(path) == os.path.realpath(sys.executable):
        beside = os.path.join(os.path.dirname(os.__file__), "ensurepip")
        return {"path": path, "version": platform.python_version(), "ensurepip": os.path.isdir(beside)}
    lines = run([path, "-I", "-S", "-c", ASK_PYTHON], limit).out.split()
    if len(lines) != 2:
        return {"path": path, "version": None, "ensurepip": None}
    return {"path": path, "version": lines[0], "ensurepip": lines[1] == "True"}


def package_manager(files: Tree) -> str | None:
    """apt, dnf, yum or zypper, whichever is there first; None for another one."""
    return next((name for name, path in PACKAGE_MANAGERS if files.has(path)), None)


def selinux(files: Tree) -> str:
    """enforcing, permissive or disabled (also when the kernel has none)."""
    return {"1": "enforcing", "0": "permissive"}.get(files.line("/sys/fs/selinux/enforce") or "", "disabled")


def apparmor(files: Tree) -> bool:
    """True when AppArmor is on in the kernel."""
    return files.line("/sys/module/apparmor/parameters/enabled") == "Y"
