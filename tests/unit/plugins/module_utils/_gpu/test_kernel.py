# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says of the GPUs, from files."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.kernel import (
    PciGpu,
    parse_information,
    parse_module_version,
    read_information,
    read_kernel,
    read_library_version,
)
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import (
    Recorded,
    expected_in,
    recorded,
)


@pytest.mark.parametrize(("name", "want"), expected_in("proc_driver_nvidia_version"))
def test_recorded_versions(name: str, want: dict[str, t.Any]) -> None:
    version, kind = parse_module_version(recorded("proc_driver_nvidia_version", name))
    assert version == want["driver_version"]
    assert kind == ("open" if want["open_module"] else "closed")


@pytest.mark.parametrize(
    "text", [None, "", "GCC version:  gcc version 12.2.0 (GCC)", "NVRM version: NVIDIA UNIX", "\ufffd"]
)
def test_no_version_is_none(text: str | None) -> None:
    assert parse_module_version(text) == (None, None)


def test_only_gpus_are_counted(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path)
    node.pci("0000:07:00.0", numa=1)
    node.pci("0000:08:00.0", device_class="0x030000", numa=-1, driver=None)
    node.pci("0000:07:00.1", device_class="0x040300")  # the sound function of the same board
    node.pci("0000:07:00.4")
    node.write("sys/bus/pci/devices/0000:07:00.4/physfn", "")  # a virtual function
    node.pci("0000:c4:00.0", device_class="0x068000")
    node.write("sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086\n")
    node.write("sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n")
    kernel = read_kernel(Machine(str(tmp_path)))
    assert kernel.pci_gpus == (PciGpu("00000000:07:00.0", 1, "nvidia"), PciGpu("00000000:08:00.0", None, None))
    assert kernel.nvswitches == 1
    assert (kernel.driver_version, kernel.driver_kind, kernel.driver_gpus) == (None, "none", ())


def test_a_loaded_driver(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path)
    node.driver("565.57.01", ["0000:07:00.0", "0000:0f:00.0"], kind="open")
    node.library("565.57.01")
    (tmp_path / "sys/module/nouveau").mkdir()
    kernel = read_kernel(Machine(str(tmp_path)))
    assert (kernel.driver_version, kernel.driver_kind) == ("565.57.01", "open")
    assert kernel.driver_gpus == ("00000000:07:00.0", "00000000:0f:00.0")
    assert kernel.nouveau_loaded
    assert read_library_version(Machine(str(tmp_path))) == "565.57.01"
    assert read_information(Machine(str(tmp_path)))["00000000:0f:00.0"] == {
        "name": "A100-SXM4-40GB",
        "uuid": "GPU-aaaaaaaa-0000-0000-0000-000000000001",
        "minor_number": 1,
        "excluded": False,
    }


def test_what_cannot_be_read_is_none(tmp_path: pathlib.Path) -> None:
    kernel = read_kernel(Machine(str(tmp_path / "nothing")))
    assert kernel == (None, 0, None, None, None, False, False)
    assert read_library_version(Machine(str(tmp_path))) is None
    assert read_information(Machine(str(tmp_path))) == {}


def test_the_library_of_debian_lies_behind_its_alternatives(tmp_path: pathlib.Path) -> None:
    place, alternatives = tmp_path / "usr/lib/x86_64-linux-gnu", tmp_path / "etc/alternatives"
    (place / "nvidia/current").mkdir(parents=True)
    alternatives.mkdir(parents=True)
    (place / "libnvidia-ml.so.1").symlink_to("/etc/alternatives/nvidia--libnvidia-ml.so.1-x86_64-linux-gnu")
    chosen = alternatives / "nvidia--libnvidia-ml.so.1-x86_64-linux-gnu"
    chosen.symlink_to("/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.1")
    (place / "nvidia/current/libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.535.309.01")
    assert read_library_version(Machine(str(tmp_path))) == "535.309.01"
    (place / "nvidia/current/libnvidia-ml.so.1").unlink()
    (place / "nvidia/current/libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.1")
    assert read_library_version(Machine(str(tmp_path))) is None


def test_a_machine_without_a_pci_bus_has_no_gpu(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sys/class").mkdir(parents=True)
    assert read_kernel(Machine(str(tmp_path))).pci_gpus == ()


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv", "run/systemd/container"])
def test_containers_are_known(tmp_path: pathlib.Path, mark: str) -> None:
    node = Recorded(tmp_path)
    assert not read_kernel(Machine(str(tmp_path))).contained
    node.write(mark, "")
    assert read_kernel(Machine(str(tmp_path))).contained


def test_a_masked_driver_directory_is_a_container(tmp_path: pathlib.Path) -> None:
    Recorded(tmp_path).write("proc/self/mountinfo", "912 900 0:94 / /proc/driver/nvidia rw - tmpfs tmpfs rw\n")
    assert read_kernel(Machine(str(tmp_path))).contained


def test_a_uuid_that_is_not_known_yet() -> None:
    told = parse_information(
        "Model: \t\t NVIDIA H200\nGPU UUID: \t GPU-????????-????-????-????-????????????\n"
        "Bus Location: \t 0000:53:00.0\n"
        "GPU Excluded:\t Yes\nModel: \t\t NVIDIA H200\n"
    )
    assert told == {"00000000:53:00.0": {"name": "H200", "uuid": None, "minor_number": None, "excluded": True}}
