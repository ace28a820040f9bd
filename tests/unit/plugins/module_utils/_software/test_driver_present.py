# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.plugins.module_utils._software import driver_present

KERNEL = "6.1.0-57-amd64"


def machine(tmp_path, **files: bytes) -> Machine:
    for name, content in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Machine(str(tmp_path))


def gpu(tmp_path, address: str, device: str, kind: str = "0x030200", vendor: str = "0x10de") -> None:
    place = tmp_path / "sys/bus/pci/devices" / address
    place.mkdir(parents=True)
    for name, text in (("vendor", vendor), ("class", kind), ("device", device)):
        (place / name).write_text(f"{text}\n")


def test_devices_are_gpus_and_nothing_beside(tmp_path):
    gpu(tmp_path, "0000:07:00.0", "0x20b0")
    gpu(tmp_path, "0000:08:00.0", "0x1db1", "0x030000")
    gpu(tmp_path, "0000:08:00.1", "0x10f7", "0x040300")  # its sound
    gpu(tmp_path, "0000:c0:00.0", "0x1af1", "0x068000")  # an NVSwitch
    gpu(tmp_path, "0000:00:02.0", "0x1111", "0x030000", "0x1234")
    found = driver_present.read(machine(tmp_path), KERNEL)
    assert (found.devices, found.nvswitches, found.kernel) == ((0x20B0, 0x1DB1), 1, KERNEL)


@pytest.mark.parametrize(("content", "on"), [(b"\x06\x00\x00\x00\x01", True), (b"\x06\x00\x00\x00\x00", False)])
def test_secure_boot(tmp_path, content, on):
    (tmp_path / driver_present.SECURE_BOOT).parent.mkdir(parents=True)
    (tmp_path / driver_present.SECURE_BOOT).write_bytes(content)
    assert driver_present.secure_boot(Machine(str(tmp_path))) is on


def test_without_efi_nothing_is_said_of_secure_boot(tmp_path):
    assert driver_present.secure_boot(Machine(str(tmp_path))) is None


@pytest.mark.parametrize(
    "name",
    [
        "updates/dkms/nvidia.ko",
        "updates/dkms/nvidia-current.ko.xz",  # Debian
        "updates/dkms/nvidia-current-open.ko",
        "kernel/nvidia-570srv-open/nvidia.ko.zst",  # Ubuntu, built by the distribution
        "extra/nvidia.ko.xz",  # the RHEL family
        "updates/dkms/nvidia-tesla-470.ko",
    ],
)
def test_the_module_is_found_where_distributions_put_it(tmp_path, name):
    path = tmp_path / f"lib/modules/{KERNEL}/{name}"
    path.parent.mkdir(parents=True)
    path.touch()
    for other in ("nvidia-uvm.ko", "nvidia-drm.ko", "nvidia-current-uvm.ko", "nvidia-peermem.ko", "nvidiafb.ko"):
        (path.parent / other).touch()
    assert driver_present.module_files(Machine(str(tmp_path)), KERNEL) == [str(path)]


@pytest.mark.parametrize(("license_", "kind"), [("NVIDIA", "proprietary"), ("Dual MIT/GPL", "open")])
def test_version_and_kind_of_the_module(tmp_path, monkeypatch, license_, kind):
    path = tmp_path / f"lib/modules/{KERNEL}/updates/dkms/nvidia.ko"
    path.parent.mkdir(parents=True)
    path.touch()
    text = f"filename:       {path}\nversion:        570.86.15\nlicense:        {license_}\nfirmware: x\n"
    monkeypatch.setattr(driver_present.command, "run", lambda argv, limit: Outcome(0, text, "", False, False, 0))
    assert driver_present.installed_module(Machine(str(tmp_path)), KERNEL) == ("570.86.15", kind)
    assert driver_present.installed_module(Machine(str(tmp_path)), "6.18") == (None, None)


def test_who_uses_a_gpu(tmp_path):
    for pid, comm, target in (
        ("10", "python3", "/dev/nvidia0"),
        ("11", "nvidia-persiste", "/dev/nvidiactl"),
        ("12", "bash", "/dev/null"),
    ):
        (tmp_path / pid / "fd").mkdir(parents=True)
        (tmp_path / pid / "comm").write_text(f"{comm}\n")
        (tmp_path / pid / "fd/3").symlink_to(target)
    (tmp_path / "self").mkdir()
    assert driver_present.users(str(tmp_path)) == ["10 (python3)"]


def test_the_boot_of_the_kernel(tmp_path):
    assert driver_present.boot_id(str(tmp_path)) == ""
    place = tmp_path / "sys/kernel/random"
    place.mkdir(parents=True)
    (place / "boot_id").write_text("5b0fb5f3-ec0c-4c00-8f47-f5c0b00597d9\n")
    assert driver_present.boot_id(str(tmp_path)) == "5b0fb5f3-ec0c-4c00-8f47-f5c0b00597d9"
