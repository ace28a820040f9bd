# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of machine a node is: system, container, virtual machine, memory, clock, PCI."""

from __future__ import annotations

import os
import platform
import struct
import sys
import time
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import procfs as files_module
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import clock, host, pci
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric.units import unit_active

GUEST = "processor\t: 0\nflags\t\t: fpu vme hypervisor lahf_lm\n\n"
METAL = "processor\t: 0\nflags\t\t: fpu vme lahf_lm\n\n"
DMI = "sys/class/dmi/id/"


def tree(root: Path, files: dict[str, str]) -> Tree:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return Tree(str(root))


def test_the_distribution_is_read_with_and_without_quotes(tmp_path: Path) -> None:
    text = "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nID=ubuntu\nVERSION_ID='24.04'\n# ID=x\nID_LIKE=debian\n"
    assert host.os_release(tree(tmp_path, {"usr/lib/os-release": text})) == {
        "id": "ubuntu",
        "version_id": "24.04",
        "pretty_name": "Ubuntu 24.04.1 LTS",
        "id_like": "debian",
    }


@pytest.mark.parametrize("text", ["uninitialized\n", "", "3d1219c7", "z" * 32])
def test_a_machine_id_that_is_not_set_is_null(tmp_path: Path, text: str) -> None:
    assert host.machine_id(tree(tmp_path, {"etc/machine-id": text})) is None


def test_a_machine_id_is_found_in_either_place(tmp_path: Path) -> None:
    number = "3D1219C7c4c5404aaa1f6d2a48adfda4"
    assert host.machine_id(tree(tmp_path, {"var/lib/dbus/machine-id": number + "\n"})) == number.lower()


@pytest.mark.parametrize(
    ("files", "environment", "kind"),
    [
        ({}, {}, None),
        ({"run/systemd/container": "podman\n"}, {"container": "lxc"}, "podman"),
        ({".dockerenv": ""}, {}, "docker"),
        ({"run/.containerenv": "", ".dockerenv": ""}, {}, "podman"),
        ({"proc/1/environ": "PATH=/bin\0container=lxc\0"}, {}, "lxc"),
        ({}, {"container": "systemd-nspawn"}, "systemd-nspawn"),
        ({"proc/1/cgroup": "0::/kubepods.slice/x\n"}, {}, "kubernetes"),
        ({"proc/1/cgroup": "4:memory:/docker/0123\n"}, {}, "docker"),
        ({"proc/1/cgroup": "0::/init.scope\n"}, {}, None),
        ({"proc/sys/kernel/osrelease": "5.15.1-microsoft-standard-WSL2\n"}, {}, "wsl"),
        ({}, {"container": "oci", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({}, {"container": "oci"}, "oci"),
    ],
)
def test_containers_are_told_apart(
    tmp_path: Path, files: dict[str, str], environment: dict[str, str], kind: str | None
) -> None:
    assert host.container(tree(tmp_path, files), environment) == kind


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"proc/cpuinfo": METAL, DMI + "sys_vendor": "Amazon EC2\n"}, None),
        ({"proc/cpuinfo": GUEST, DMI + "sys_vendor": "Amazon EC2\n"}, "amazon"),
        ({DMI + "sys_vendor": "Amazon EC2\n", DMI + "product_name": "g5g.metal\n"}, None),
        ({"proc/cpuinfo": GUEST, DMI + "product_name": "KVM\n", DMI + "sys_vendor": "QEMU\n"}, "kvm"),
        ({"proc/cpuinfo": GUEST, DMI + "product_name": "Virtual Machine\n"}, "microsoft"),
        ({"proc/cpuinfo": GUEST}, "other"),
        (
            {
                "proc/cpuinfo": GUEST,
                "sys/devices/system/clocksource/clocksource0/available_clocksource": "kvm-clock tsc acpi_pm \n",
            },
            "kvm",
        ),
        ({}, None),
    ],
)
def test_hypervisors_are_named_and_bare_metal_is_not(tmp_path: Path, files: dict[str, str], kind: str | None) -> None:
    assert host.virtual(tree(tmp_path, files)) == kind


def test_memory_is_in_bytes(tmp_path: Path) -> None:
    files = tree(tmp_path, {"proc/meminfo": "MemTotal:       2048 kB\nMemAvailable:   1024 kB\nHugePages_Total: 0\n"})
    assert host.memory(files) == {"memory_bytes": 2097152, "memory_available_bytes": 1048576}
    assert host.memory(Tree(str(tmp_path / "nowhere"))) == {"memory_bytes": None, "memory_available_bytes": None}


@pytest.mark.parametrize(
    ("files", "memory", "cpus"),
    [
        ({"memory.max": "max\n", "cpu.max": "max 100000\n"}, None, None),
        ({"memory.max": "1073741824\n", "cpu.max": "150000 100000\n"}, 1073741824, 1.5),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n", "cpu/cpu.cfs_quota_us": "-1\n"}, None, None),
        (
            {
                "memory/memory.limit_in_bytes": "1048576\n",
                "cpu/cpu.cfs_quota_us": "200000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            1048576,
            2.0,
        ),
        ({"cpu.max": "1 0\n"}, None, None),
    ],
)
def test_limits_of_a_container_are_read_of_both_cgroup_versions(
    tmp_path: Path, files: dict[str, str], memory: int | None, cpus: float | None
) -> None:
    tree(tmp_path, {f"sys/fs/cgroup/{name}": content for name, content in files.items()})
    assert host.cgroup_limits(Tree(str(tmp_path))) == {"memory_bytes": memory, "pids": None, "cpus": cpus}


@pytest.mark.parametrize(
    ("file", "text", "pids"), [("pids.max", "100\n", 100), ("pids.max", "max\n", None), ("pids/pids.max", "9\n", 9)]
)
def test_processes_of_a_container(tmp_path: Path, file: str, text: str, pids: int | None) -> None:
    tree(tmp_path, {f"sys/fs/cgroup/{file}": text})
    assert host.cgroup_limits(Tree(str(tmp_path)))["pids"] == pids


def put(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        place = root / name.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return Tree(str(root))


V2, V1 = "0::/user.slice/user-1000.slice/session-3.scope\n", "4:pids:/user.slice/user-0.slice/session-1.scope\n0::/x\n"
SLICE = "user.slice/user-1001.slice/pids.max"
DROP_INS = "/etc/systemd/system/user-.slice.d"


@pytest.mark.parametrize(
    ("group", "files", "found"),
    [
        (
            V2,
            {f"/sys/fs/cgroup/{SLICE}": "512\n", "/sys/fs/cgroup/user.slice/pids.max": "max\n"},
            (512, "user-1001.slice"),
        ),
        (V2, {f"/sys/fs/cgroup/{SLICE}": "max\n"}, None),
        (V2, {"/sys/fs/cgroup/user.slice/user-1000.slice/pids.max": "100\n"}, None),
        (
            V2,
            {f"{DROP_INS}/10.conf": "[Slice]\nTasksMax=33%\n", f"{DROP_INS}/50.conf": "TasksMax=300\n"},
            (300, "user-1001.slice"),
        ),
        (V2, {f"{DROP_INS}/10.conf": "[Slice]\nTasksMax=33%\n"}, None),
        (V1, {f"/sys/fs/cgroup/pids/{SLICE}": "40\n"}, (40, "user-1001.slice")),
        (
            "0::/system.slice/ssh.service\n",
            {"/sys/fs/cgroup/system.slice/ssh.service/pids.max": "90\n"},
            (90, "ssh.service"),
        ),
        ("0::/\n", {"/sys/fs/cgroup/pids.max": "100\n"}, None),
        ("", {}, None),
    ],
)
def test_the_processes_that_systemd_lets_a_login_have(
    tmp_path: Path, group: str, files: dict[str, str], found: tuple[int, str] | None
) -> None:
    tree = put(tmp_path, {"/proc/self/cgroup": group, **files})
    assert host.login_tasks(tree, 1001) == (found and {"pids": found[0], "unit": found[1]})


def test_the_own_interpreter_is_described_without_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "SYSTEM_PYTHONS", (sys.executable,))
    monkeypatch.setattr(host, "run", None)
    found = host.system_python(1)
    assert (found["path"], found["version"]) == (sys.executable, platform.python_version())


def test_another_interpreter_is_asked_once_and_may_hang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "python3"
    monkeypatch.setattr(host, "SYSTEM_PYTHONS", (str(other),))
    for script, version in (
        ("printf '3.9.2\\nTrue\\n'", "3.9.2"),
        ("echo garbage of many words", None),
        ("sleep 60", None),
    ):
        other.write_text(f"#!/bin/sh\n{script}\n")
        other.chmod(0o755)
        started = time.monotonic()
        assert host.system_python(1)["version"] == version
        assert time.monotonic() - started < 10
    other.unlink()
    assert host.system_python(1) == {"path": None, "version": None, "ensurepip": None}


def test_security_modules_and_the_package_manager_are_named(tmp_path: Path) -> None:
    empty = Tree(str(tmp_path / "nowhere"))
    assert (host.selinux(empty), host.apparmor(empty), host.package_manager(empty)) == ("disabled", False, None)
    files = tree(
        tmp_path,
        {
            "sys/fs/selinux/enforce": "1",
            "sys/module/apparmor/parameters/enabled": "Y\n",
            "usr/bin/dnf": "",
            "usr/bin/yum": "",
        },
    )
    assert (host.selinux(files), host.apparmor(files), host.package_manager(files)) == ("enforcing", True, "dnf")


def test_a_service_is_active_while_systemd_keeps_its_link(tmp_path: Path) -> None:
    files = Tree(str(tmp_path))
    assert unit_active(files, "chrony.service") is None
    (tmp_path / "run/systemd/units").mkdir(parents=True)
    assert unit_active(files, "chrony.service") is False
    (tmp_path / "run/systemd/units/invocation:chrony.service").symlink_to("0123456789abcdef")
    assert unit_active(files, "chrony.service") is True
    assert clock.time_source(files) == "chronyd"


def test_without_systemd_a_time_daemon_is_known_by_its_process(tmp_path: Path) -> None:
    files = tree(tmp_path, {"run/ntpd.pid": "77\n"})
    assert clock.time_source(files) is None
    (tmp_path / "proc/77").mkdir(parents=True)
    assert clock.time_source(files) == "ntpd"


@pytest.mark.parametrize(("error", "synchronised"), [(None, None), (21500, True), (16_000_000, False)])
def test_the_clock_is_synchronised_if_the_kernels_error_is_small(
    monkeypatch: pytest.MonkeyPatch, error: int | None, synchronised: bool | None
) -> None:
    monkeypatch.setattr(clock, "kernel_error_us", lambda: error)
    found = clock.clock(Tree("/nowhere"))
    assert (found["synchronised"], found["max_error_us"]) == (synchronised, error)
    assert abs(found["epoch"] - time.time()) < 60


def test_the_real_kernel_may_be_asked_for_its_clock() -> None:
    error = clock.kernel_error_us()
    assert error is None or error >= 0


def config_space(capabilities: list[tuple[int, bytes]]) -> bytes:
    """A PCI configuration space of 4096 bytes with these extended capabilities (id, body)."""
    raw = bytearray(4096)
    offset = 0x100
    for index, (number, body) in enumerate(capabilities):
        following = offset + 0x40 if index + 1 < len(capabilities) else 0
        struct.pack_into("<I", raw, offset, number | 1 << 16 | following << 20)
        raw[offset + 4 : offset + 4 + len(body)] = body
        offset = following
    return bytes(raw)


def acs(control: int) -> tuple[int, bytes]:
    return 0x000D, struct.pack("<HH", 0x1F, control)


def bridge(root: Path, device: str, space: bytes, vendor: str = "10de2330") -> Tree:
    base = root / "sys/bus/pci/devices" / device
    base.mkdir(parents=True)
    (base / "class").write_text("0x060400\n")
    (base / "config").write_bytes(space)
    return tree(root, {"proc/bus/pci/devices": f"0300\t{vendor}\t10\t0\n"})


def test_acs_is_found_behind_other_capabilities(tmp_path: Path) -> None:
    bridge(tmp_path, "0000:00:01.0", config_space([(1, b""), (0x19, b""), acs(0x1D)]))
    files = bridge(tmp_path, "0000:00:02.0", config_space([(1, b""), acs(0)]))
    assert pci.acs(files) == {"enabled": True, "bridges": ["0000:00:01.0"]}


def test_acs_that_is_off_or_absent_is_not_enabled(tmp_path: Path) -> None:
    bridge(tmp_path, "0000:00:01.0", config_space([acs(0)]))
    assert pci.acs(bridge(tmp_path, "0000:00:02.0", config_space([]))) == {"enabled": False, "bridges": []}


def test_acs_is_unknown_without_root_and_not_asked_without_gpu_or_rdma(tmp_path: Path) -> None:
    cut = config_space([acs(1)])[:64]  # what an ordinary user may read
    assert pci.acs(bridge(tmp_path, "0000:00:01.0", cut))["enabled"] is None
    other = bridge(tmp_path / "other", "0000:00:01.0", config_space([acs(1)]), "80861234")
    assert pci.acs(other)["enabled"] is None


def test_a_ring_of_capabilities_ends(tmp_path: Path) -> None:
    raw = bytearray(4096)
    struct.pack_into("<I", raw, 0x100, 1 | 1 << 16 | 0x100 << 20)
    (tmp_path / "config").write_bytes(raw)
    assert pci.acs_control(str(tmp_path / "config")) == 0


@settings(max_examples=60, deadline=None, database=None)
@given(st.binary(min_size=0, max_size=400))
def test_random_configuration_spaces_never_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("pci") / "config"
    path.write_bytes(bytes(256) + data)
    control = pci.acs_control(str(path))
    assert control is None or 0 <= control < 65536


def test_the_iommu_and_its_kernel_options_are_told(tmp_path: Path) -> None:
    assert pci.iommu(Tree(str(tmp_path / "nowhere"))) == {"enabled": False, "groups": 0, "types": {}, "cmdline": []}
    groups = "sys/kernel/iommu_groups/"
    files = tree(
        tmp_path,
        {
            f"{groups}0/type": "DMA-FQ\n",
            f"{groups}1/type": "identity\n",
            f"{groups}10/type": "DMA-FQ\n",
            "proc/cmdline": "ro iommu=pt intel_iommu=on quiet\n",
        },
    )
    assert pci.iommu(files) == {
        "enabled": True,
        "groups": 3,
        "types": {"DMA-FQ": 2, "identity": 1},
        "cmdline": ["iommu=pt", "intel_iommu=on"],
    }


@pytest.mark.parametrize(
    ("version", "kernel", "able"),
    [
        (None, "6.8.0-41-generic", None),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  565.57.01  Release Build\n", "6.8.0-41", True),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  565.57.01  Release Build\n", "5.4.0-1", False),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07\n", "6.8.0-41", False),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  565.57.01\n", "custom", False),
    ],
)
def test_dmabuf_takes_the_open_driver_and_a_new_kernel(
    tmp_path: Path, version: str | None, kernel: str, able: bool | None
) -> None:
    files = tree(tmp_path, {"proc/driver/nvidia/version": version} if version else {})
    assert pci.dmabuf(files, kernel) is able


def test_either_peer_memory_module_counts(tmp_path: Path) -> None:
    assert pci.peermem(Tree(str(tmp_path))) is False
    (tmp_path / "sys/module/nv_peer_mem").mkdir(parents=True)
    assert pci.peermem(Tree(str(tmp_path))) is True


def test_a_pipe_in_the_place_of_a_file_does_not_hold_the_reader_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert Tree(str(tmp_path)).line("/fifo") is None


def test_files_of_any_bytes_become_valid_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff\xfe4\n\0")
    files = Tree(str(tmp_path))
    assert (files.line("/x") or "").endswith("4")
    assert files.number("/x") is None
    assert files.line("/\0") is None
    assert files.names("/x") == []


@settings(max_examples=100, deadline=None, database=None)
@given(
    st.recursive(
        st.text() | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_printable_data_stays_as_it_is(value: t.Any) -> None:
    assert files_module.printable(value) == value


def test_lone_surrogates_are_replaced() -> None:
    assert files_module.printable({"a\udcff": ("b\udcfe",)}) == {"a?": ["b?"]}


@pytest.mark.parametrize("text", ["", "x", "\N{ARABIC-INDIC DIGIT FOUR}", "1_0_", None, "4\x00"])
def test_what_is_no_number_is_none(text: str | None) -> None:
    assert files_module.to_int(text) is None


@settings(max_examples=80, deadline=None, database=None)
@given(st.binary(max_size=200))
def test_random_files_never_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.mktemp("node")
    for name in ("etc/os-release", "etc/machine-id", "proc/meminfo", "proc/cpuinfo", "proc/1/cgroup", "proc/1/environ"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    files = Tree(str(root))
    for read in (host.os_release, host.machine_id, host.memory, host.virtual, host.cgroup_limits, pci.iommu, pci.acs):
        read(files)
    host.container(files, {})
