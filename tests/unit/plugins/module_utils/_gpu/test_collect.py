# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole machines, replayed: from files and a fake nvidia-smi to the facts."""

from __future__ import annotations

import json
import pathlib
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.facts import gather
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import (
    Recorded,
    expected_in,
    query_of,
    recorded,
    sample,
)

KEYS = {
    "driver_version",
    "cuda_driver_version",
    "driver_kind",
    "library_version",
    "gpus",
    "mig_devices",
    "counts",
    "topology",
    "nvlink",
    "fabric_manager",
    "nouveau_loaded",
    "kernel_events",
    "xids",
    "status",
    "problem",
    "replayed_from",
}
GPU_KEYS = {
    "index",
    "name",
    "uuid",
    "pci_bus_id",
    "memory_mib",
    "compute_capability",
    "mig_mode",
    "mig_mode_pending",
    "ecc",
    "remapped_rows",
    "persistence_mode",
    "compute_mode",
    "temperature_c",
    "pcie",
    "throttle_reasons",
    "fabric",
    "numa_node",
    "processes",
    "recovery_action",
    "fabric_health",
    "fault",
}


@pytest.fixture(autouse=True)
def _no_real_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests on a machine with a GPU must not find its own nvidia-smi."""
    module = "ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine"
    monkeypatch.setattr(f"{module}.which", lambda name: None)


def facts_of(node: Recorded, timeout: float = 30.0) -> dict:
    facts = gather(Machine(str(node.root), timeout))
    assert set(facts) == KEYS
    assert all(set(gpu) == GPU_KEYS for gpu in facts["gpus"])
    assert (facts["problem"] is None) == (facts["status"] in ("ok", "none"))
    json.dumps(facts).encode("utf-8")
    return facts


def test_a_healthy_machine(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    facts = facts_of(node)
    assert (facts["status"], facts["problem"]) == ("ok", None)
    assert facts["driver_version"] == facts["library_version"] == "535.104.05"
    assert (facts["driver_kind"], facts["cuda_driver_version"]) == ("closed", "12.2")
    assert facts["counts"] == {"pci": 2, "driver": 2, "smi": 2}
    assert [gpu["compute_capability"] for gpu in facts["gpus"]] == ["8.0", "8.0"]
    assert [(gpu["index"], gpu["numa_node"]) for gpu in facts["gpus"]] == [(0, 0), (1, 1)]
    assert facts["topology"]["gpu_gpu"] == [["X", "NV12"], ["NV12", "X"]]
    assert [gpu["active"] for gpu in facts["nvlink"]] == [12, 11]
    assert facts["fabric_manager"] is None
    assert facts["xids"] is None and facts["kernel_events"] is None  # neither dmesg nor a log file was recorded
    assert [call.split()[0].split("=")[0] for call in node.calls()] == ["-q", "--query-gpu", "topo", "nvlink"]


def test_no_gpu_and_no_driver_starts_no_command(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "ansible_collections.trainmesh.cluster.plugins.module_utils"
    for place in ("_gpu.machine", "_gpu.kernel"):
        monkeypatch.setattr(f"{module}.{place}.run", lambda *args, **kwargs: pytest.fail("a command was started"))
    facts = facts_of(Recorded(tmp_path))
    assert facts["status"] == "none"
    assert facts["counts"] == {"pci": 0, "driver": 0, "smi": 0}
    assert (facts["gpus"], facts["xids"]) == ([], [])


def test_a_single_gpu_is_not_asked_for_its_wiring(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path)
    one = sample("nvidia_smi_two_a100.xml")
    one = one[: one.index("</gpu>") + 6].replace("<attached_gpus>2", "<attached_gpus>1") + "</nvidia_smi_log>"
    node.smi(xml=one, query=sample("nvidia_smi_two_a100.csv").splitlines()[0])
    assert facts_of(node)["status"] == "ok"
    assert len(node.calls()) == 2
    node.write("sys/class/infiniband/mlx5_0/fw_ver", "1\n")
    facts_of(node)
    assert [call for call in node.calls() if call.startswith("topo")] == ["topo -m"]


def test_an_old_driver_is_asked_again_without_the_capability(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    (tmp_path / "answers/query").unlink()
    node.write("answers/query_old", sample("nvidia_smi_two_a100.csv").replace(", 8.0", ""))
    facts = facts_of(node)
    assert facts["status"] == "ok"
    assert [gpu["compute_capability"] for gpu in facts["gpus"]] == ["8.0", "8.0"]  # by name
    node.write("answers/xml", sample("nvidia_smi_two_a100.xml").replace("A100-SXM4-40GB", "X999"))
    node.write(
        "answers/query_old", sample("nvidia_smi_two_a100.csv").replace(", 8.0", "").replace("A100-SXM4-40GB", "X999")
    )
    facts = facts_of(node)
    assert facts["status"] == "ok"
    assert [gpu["compute_capability"] for gpu in facts["gpus"]] == [None, None]


def test_a_gpu_whose_fabric_needs_its_manager(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    node.pci("0000:c4:00.0", device_class="0x068000")
    node.command("nv-fabricmanager", "#!/bin/sh\necho 'Fabric Manager version is : 535.104.05'\n")
    assert facts_of(node)["fabric_manager"] == {"nvswitches": 1, "running": None, "version": "535.104.05"}
    node.write("proc/1/comm", "systemd\n")
    assert facts_of(node)["fabric_manager"]["running"] is False
    node.write("proc/777/comm", "nv-fabricmanage\n")
    assert facts_of(node)["fabric_manager"]["running"] is True


def test_xids_of_a_machine(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    node.write("proc/stat", "btime 1767225600\n")
    node.command("dmesg", "#!/bin/sh\necho '[   60.0] NVRM: Xid (PCI:0000:07:00): 63, pid=1, Row remap'\n")
    assert facts_of(node)["xids"] == [
        {
            "kind": "xid",
            "xid": 63,
            "bus_id": "00000000:07:00.0",
            "time": "2026-01-01T00:01:00Z",
            "line": "[ 60.0] NVRM: Xid (PCI:0000:07:00): 63, pid=1, Row remap",
        }
    ]


@pytest.mark.parametrize(("name", "want"), expected_in("nvidia_smi_errors"))
def test_recorded_failures(tmp_path: pathlib.Path, name: str, want: dict) -> None:
    node = Recorded(tmp_path)
    node.pci("0000:07:00.0")
    node.smi(xml=(9, recorded("nvidia_smi_errors", name)))
    loaded = want["class"] != "driver_not_loaded"
    if loaded:
        node.driver(want.get("loaded_module_in_same_report", "580.173.02"), ["0000:07:00.0"])
    node.library(f"{want.get('nvml_library') or '575.57'}.08")
    facts = facts_of(node)
    assert facts["status"] == want["class"].replace("driver_library_mismatch", "library_mismatch")
    if facts["status"] == "library_mismatch":
        assert facts["library_version"] == f"{want.get('nvml_library') or '575.57'}.08"
        assert facts["driver_version"] in facts["problem"]
        assert (want.get("nvml_library") or "575.57") in facts["problem"]
    assert facts["counts"] == {"pci": 1, "driver": int(loaded), "smi": None}
    assert facts["gpus"][0]["pci_bus_id"] == "00000000:07:00.0"
    assert facts["gpus"][0]["name"] == ("A100-SXM4-40GB" if loaded else None)


def test_nvidia_smi_blames_a_driver_that_is_loaded(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    node.smi(xml=(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"))
    facts = facts_of(node)
    assert facts["status"] == "unknown"
    assert "535.104.05 is loaded" in facts["problem"]


def test_gpus_without_a_driver(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path)
    node.pci("0000:07:00.0", driver="nouveau")
    node.pci("0000:0f:00.0", driver="nouveau", numa=1)
    (tmp_path / "sys/module/nouveau").mkdir()
    facts = facts_of(node)
    assert facts["status"] == "no_driver"
    assert "2 NVIDIA GPUs" in facts["problem"]
    assert "nouveau" in facts["problem"]
    assert [gpu["numa_node"] for gpu in facts["gpus"]] == [0, 1]
    assert facts["counts"] == {"pci": 2, "driver": 0, "smi": None}


def test_a_driver_without_its_user_space(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    (tmp_path / "usr/bin/nvidia-smi").unlink()
    facts = facts_of(node)
    assert facts["status"] == "no_driver"
    assert "535.104.05 is loaded" in facts["problem"]
    assert [gpu["name"] for gpu in facts["gpus"]] == ["A100-SXM4-40GB"] * 2


def test_driver_packages_on_a_node_without_gpu(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path)
    node.smi(xml=(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"))
    assert facts_of(node)["status"] == "none"
    node.smi(xml=(6, "No devices were found\n"))
    assert facts_of(node)["status"] == "none"


def test_no_devices_were_found(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    node.smi(xml=(6, "No devices were found\n"))
    node.write("var/log/kern.log", "NVRM: Xid (PCI:0000:07:00): 119, GSP\n")
    facts = facts_of(node)
    assert facts["status"] == "no_devices"
    assert "): 119" in facts["problem"]


def test_a_gpu_that_nvidia_smi_no_longer_lists(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    one = sample("nvidia_smi_two_a100.xml")
    one = one[: one.index("</gpu>") + 6].replace("<attached_gpus>2", "<attached_gpus>1") + "</nvidia_smi_log>"
    node.smi(xml=one, query=sample("nvidia_smi_two_a100.csv").splitlines()[0])
    facts = facts_of(node)
    assert facts["status"] == "gpu_lost"
    assert "00000000:0f:00.0" in facts["problem"]
    assert facts["counts"] == {"pci": 2, "driver": 2, "smi": 1}


@pytest.mark.parametrize("reason", ["container", "passed-through", "excluded", "unsupported"])
def test_a_gpu_that_is_rightly_not_listed(tmp_path: pathlib.Path, reason: str) -> None:
    node = Recorded(tmp_path)
    node.pci("0000:07:00.0")
    node.pci("0000:0f:00.0", driver="vfio-pci" if reason == "passed-through" else None)
    node.driver("535.104.05", ["0000:07:00.0", "0000:0f:00.0"] if reason == "excluded" else ["0000:07:00.0"])
    if reason == "container":
        node.write(".dockerenv", "")
    if reason == "excluded":
        path = "proc/driver/nvidia/gpus/0000:0f:00.0/information"
        node.write(path, (tmp_path / path).read_text().replace("Excluded:\t No", "Excluded:\t Yes"))
    if reason == "unsupported":
        node.write(
            "var/log/kern.log",
            "NVRM: The NVIDIA GPU 0000:0f:00.0 (PCI ID: 10de:128b)\nNVRM: installed in this system is not supported\n",
        )
    one = sample("nvidia_smi_two_a100.xml")
    one = one[: one.index("</gpu>") + 6].replace("<attached_gpus>2", "<attached_gpus>1") + "</nvidia_smi_log>"
    node.smi(xml=one, query=sample("nvidia_smi_two_a100.csv").splitlines()[0])
    facts = facts_of(node)
    assert facts["status"] == "ok", facts["problem"]
    assert (facts["counts"]["pci"], facts["counts"]["smi"]) == (2, 1)


def test_the_declared_count_must_be_the_listed_one(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path)
    node.smi(
        xml=sample("nvidia_smi_two_a100.xml").replace("<attached_gpus>2", "<attached_gpus>4"),
        query=sample("nvidia_smi_two_a100.csv"),
    )
    facts = facts_of(node)
    assert facts["status"] == "unknown"
    assert "declares 4 GPUs but lists 2" in facts["problem"]


def test_an_inforom_warning_is_not_a_failure(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    warning = "WARNING: infoROM is corrupted at gpu 0000:07:00.0\n"
    node.smi(xml=(14, sample("nvidia_smi_two_a100.xml") + warning))
    assert facts_of(node)["status"] == "ok"
    node.smi(xml=(14, sample("nvidia_smi_two_a100.xml")[:3000] + warning))
    assert facts_of(node)["status"] == "unknown"


def test_a_new_error_is_told_as_it_is(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    node.smi(xml=(255, "A sentence that nobody has seen.\n"))
    facts = facts_of(node)
    assert facts["status"] == "unknown"
    assert "255" in facts["problem"]
    assert "A sentence that nobody has seen." in facts["problem"]


@pytest.mark.parametrize("text", ["", "\n", "\x00\x01\x02", "<html>", "<nvidia_smi_log></nvidia_smi_log>"])
def test_success_without_an_answer_is_not_ok(tmp_path: pathlib.Path, text: str) -> None:
    node = Recorded(tmp_path).two_a100()
    node.smi(xml=text)
    assert facts_of(node)["status"] not in ("ok", "none")


def test_half_a_matrix_is_left_out(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    node.write("answers/topo", "".join(sample("nvidia_smi_topo_two_a100.txt").splitlines(True)[:2]))
    facts = facts_of(node)
    assert (facts["status"], facts["topology"], facts["nvlink"]) == ("ok", None, None)
    node.write("answers/topo.rc", "3")
    assert facts_of(node)["topology"] is None


HANGS = {
    # ignores everything that can be ignored, and has already printed something
    "stubborn": "#!/bin/sh\ntrap '' TERM INT HUP\necho '<?xml version=\"1.0\" ?>'\nwhile :; do sleep 0.2; done\n",
    # the process ends, a child of its own session holds the pipe and never writes
    "child": "#!/bin/sh\nsetsid sleep 8 &\nwhile :; do sleep 0.2; done\n",
}


@pytest.mark.parametrize("script", HANGS)
def test_a_hanging_nvidia_smi(tmp_path: pathlib.Path, script: str) -> None:
    node = Recorded(tmp_path).two_a100()
    node.command("nvidia-smi", HANGS[script])
    node.write("var/log/kern.log", "NVRM: Xid (PCI:0000:07:00): 119, GSP timeout\n")
    started = time.monotonic()
    facts = facts_of(node, timeout=1.0)
    assert time.monotonic() - started < 3.0
    assert facts["status"] == "hung"
    assert "nvidia-smi -q -x did not answer within" in facts["problem"]
    assert "119" in facts["problem"]
    assert (facts["driver_version"], facts["library_version"], facts["driver_kind"]) == (
        "535.104.05",
        "535.104.05",
        "closed",
    )
    assert facts["counts"] == {"pci": 2, "driver": 2, "smi": None}
    assert [gpu["pci_bus_id"] for gpu in facts["gpus"]] == ["00000000:07:00.0", "00000000:0f:00.0"]
    assert [gpu["name"] for gpu in facts["gpus"]] == ["A100-SXM4-40GB"] * 2
    assert [gpu["numa_node"] for gpu in facts["gpus"]] == [0, 1]
    assert facts["xids"][0]["xid"] == 119


def test_a_child_that_keeps_the_pipe_open_does_not_hold_an_answer_back(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    script = (tmp_path / "usr/bin/nvidia-smi").read_text()
    node.command("nvidia-smi", script.replace("#!/bin/sh\n", "#!/bin/sh\nsleep 8 &\n"))
    started = time.monotonic()
    assert facts_of(node)["status"] == "ok"
    assert time.monotonic() - started < 5.0


@pytest.mark.parametrize(
    ("what", "says"), [("--query-gpu", "nvidia-smi --query-gpu"), ("topo", "topo -m"), ("nvlink", "nvlink -s")]
)
def test_a_hang_after_the_first_answer(tmp_path: pathlib.Path, what: str, says: str) -> None:
    node = Recorded(tmp_path).two_a100()
    script = (tmp_path / "usr/bin/nvidia-smi").read_text()
    hang = f'#!/bin/sh\ncase "$1" in {what}*) exec sleep 9 ;; esac\n'
    node.command("nvidia-smi", script.replace("#!/bin/sh\n", hang))
    facts = facts_of(node, timeout=1.0)
    assert facts["status"] == "hung"
    assert says in facts["problem"]
    assert [gpu["name"] for gpu in facts["gpus"]] == ["A100-SXM4-40GB"] * 2


def test_a_command_that_cannot_be_started(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path).two_a100()
    node.command("nvidia-smi", "#!/does/not/exist\n")
    facts = facts_of(node)
    assert facts["status"] == "unknown"
    assert "could not be started" in facts["problem"]


@pytest.mark.parametrize(("name", "want"), expected_in("nvidia_smi_xml"))
def test_recorded_machines(tmp_path: pathlib.Path, name: str, want: dict) -> None:
    """Each recording alone, without the files of its kernel: what its own words allow to say."""
    xml = recorded("nvidia_smi_xml", name)
    node = Recorded(tmp_path)
    node.smi(xml=xml, query_old=query_of(xml, None))
    facts = facts_of(node)
    whole = want["driver_version"] and want["attached_gpus"] == str(want["gpu_blocks"])
    lost = any(gpu.get("lost") for gpu in want["gpus"])
    assert facts["status"] == ("gpu_lost" if lost else "ok" if whole else "unknown"), facts["problem"]
    assert facts["driver_version"] == want["driver_version"]
    assert facts["counts"] == {"pci": 0, "driver": 0, "smi": want["gpu_blocks"]}
    assert len(facts["mig_devices"]) == sum(gpu["mig_devices"] for gpu in want["gpus"])
    assert all(gpu["compute_capability"] for gpu in facts["gpus"] if not gpu["name"].endswith("_2"))


def test_eight_h100(tmp_path: pathlib.Path) -> None:
    xml = recorded("nvidia_smi_xml", "k8stestinfra-hw-h100.xml")
    node = Recorded(tmp_path)
    links = "".join(f"\t Link {number}: 26.562 GB/s\n" for number in range(18))
    node.smi(
        xml=xml,
        query=query_of(xml, "9.0"),
        topo=recorded("nvidia_smi_topo", "vllm-22372-h100x8-topo-excerpt.txt"),
        nvlink="".join(f"GPU {gpu}: NVIDIA H100 80GB HBM3 (UUID: GPU-{gpu})\n{links}" for gpu in range(8)),
    )
    facts = gather(Machine(str(tmp_path)))
    addresses = [gpu["pci_bus_id"][4:] for gpu in facts["gpus"]]
    for number, address in enumerate(addresses):
        node.pci(address, numa=number // 4)
    node.driver("580.105.08", addresses, kind="open")
    facts = facts_of(node)
    assert (facts["status"], facts["problem"]) == ("ok", None)
    assert facts["counts"] == {"pci": 8, "driver": 8, "smi": 8}
    assert {gpu["compute_capability"] for gpu in facts["gpus"]} == {"9.0"}
    assert [gpu["numa_node"] for gpu in facts["gpus"]] == facts["topology"]["numa_affinity"] == [0] * 4 + [1] * 4
    assert {gpu["active"] for gpu in facts["nvlink"]} == {18}
    assert facts["fabric_manager"] == {"nvswitches": 0, "running": None, "version": None}
    assert facts["driver_kind"] == "open"
