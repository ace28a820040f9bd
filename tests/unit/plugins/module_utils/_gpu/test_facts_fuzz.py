# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged outputs of every tool: never an exception, never a hang, never "ok"."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import kernel, xid
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu import topology as gpu_topology
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.architectures import compute_capability
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.facts import gather
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi import TIERS, read_gpus
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_errors import classify
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.smi_xml import parse
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import (
    Recorded,
    Spoken,
    expected_values,
    recorded,
    sample,
    two_a100,
)

BOUNDED = settings(
    max_examples=150,
    derandomize=True,  # the same cases on every run: a failure is a change, not luck
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

HEALTHY = two_a100()


@st.composite
def damaged(draw: t.Callable[..., t.Any], text: str) -> str:
    """The text truncated, or with lines doubled, exchanged or moved, or with bytes that are not UTF-8."""
    for _step in range(draw(st.integers(1, 3))):
        lines = text.splitlines(keepends=True)
        first = draw(st.integers(0, max(0, len(lines) - 1)))
        last = draw(st.integers(first, min(len(lines), first + 40)))
        how = draw(
            st.sampled_from(("cut", "head", "tail", "drop", "double", "move", "reverse", "twice", "bytes", "empty"))
        )
        if how == "cut":
            text = text[: draw(st.integers(0, len(text)))]
        elif how == "head":
            text = "".join(lines[:first])
        elif how == "tail":
            text = "".join(lines[first:])
        elif how == "drop":
            text = "".join(lines[:first] + lines[last:])
        elif how == "double":
            text = "".join(lines[:last] + lines[first:])
        elif how == "move":
            text = "".join(lines[last:] + lines[first:last] + lines[:first])
        elif how == "reverse":
            text = "".join(lines[:first] + lines[first:last][::-1] + lines[last:])
        elif how == "twice":
            text += text
        elif how == "bytes":
            place = draw(st.integers(0, len(text)))
            text = (text[:place].encode() + draw(st.binary(min_size=1, max_size=6)) + text[place:].encode()).decode(
                "utf-8", "replace"
            )
        else:
            text = ""
    return text


@pytest.fixture(name="node")
def _node(tmp_path: pathlib.Path) -> Recorded:
    return Recorded(tmp_path).two_a100()


def facts_with(node: Recorded, **answers: tuple[int, str]) -> dict[str, t.Any]:
    machine = Spoken(node.root, {**HEALTHY, **answers})
    facts = gather(machine)
    json.dumps(facts).encode("utf-8")
    return facts


def meaning(facts: dict[str, t.Any]) -> dict[str, t.Any]:
    """The facts without the values that one tool alone tells, where nothing can contradict it."""
    return {key: each for key, each in facts.items() if key not in ("topology", "nvlink", "xids")}


def test_the_undamaged_machine_is_ok(node: Recorded) -> None:
    assert facts_with(node)["status"] == "ok"


@BOUNDED
@given(text=damaged(HEALTHY["nvidia-smi -q -x"][1]))
def test_a_damaged_xml_is_ok_only_if_it_says_the_same(node: Recorded, text: str) -> None:
    whole = facts_with(node)
    facts = facts_with(node, **{"nvidia-smi -q -x": (0, text)})
    if facts["status"] == "ok":
        gpus = [gpu["pci_bus_id"] for gpu in whole["gpus"]]
        assert [gpu["pci_bus_id"] for gpu in facts["gpus"]] == gpus
        for gpu, was in zip(facts["gpus"], whole["gpus"]):
            # a line that is gone without a trace makes a value unknown, never another value
            assert all(
                gpu[key] in (was[key], None) for key in ("name", "uuid", "memory_mib", "mig_mode", "compute_capability")
            )


@BOUNDED
@given(text=damaged(HEALTHY["nvidia-smi --query-gpu="][1]))
def test_a_damaged_query_is_ok_only_if_it_says_the_same(node: Recorded, text: str) -> None:
    facts = facts_with(node, **{"nvidia-smi --query-gpu=": (0, text)})
    if facts["status"] == "ok":
        assert [gpu["compute_capability"] for gpu in facts["gpus"]] == ["8.0", "8.0"]
        assert [gpu["index"] for gpu in facts["gpus"]] == [0, 1]


@BOUNDED
@given(text=damaged(HEALTHY["nvidia-smi topo -m"][1]))
def test_a_damaged_matrix_is_whole_or_none(node: Recorded, text: str) -> None:
    topology = facts_with(node, **{"nvidia-smi topo -m": (0, text)})["topology"]
    if topology is not None:
        assert topology["gpus"] == ["GPU0", "GPU1"]
        assert topology["gpu_gpu"] == [["X", "NV12"], ["NV12", "X"]]
        assert all(len(row) == len(topology["nics"]) for row in topology["gpu_nic"])


@BOUNDED
@given(text=damaged(HEALTHY["nvidia-smi nvlink -s"][1]))
def test_damaged_links_never_grow(node: Recorded, text: str) -> None:
    for gpu in facts_with(node, **{"nvidia-smi nvlink -s": (0, text)})["nvlink"] or []:
        assert (gpu["active"] or 0) <= 24


@BOUNDED
@given(text=st.text(max_size=300), rc=st.sampled_from((0, 1, 2, 6, 9, 15, 255)))
def test_any_text_from_every_command_is_not_ok(node: Recorded, text: str, rc: int) -> None:
    facts = facts_with(node, **dict.fromkeys(HEALTHY, (rc, text)))
    assert facts["status"] not in ("ok", "none")
    assert facts["problem"]


@BOUNDED
@given(content=st.binary(max_size=200))
def test_any_bytes_in_the_files_of_the_kernel(tmp_path: pathlib.Path, content: bytes) -> None:
    node = Recorded(tmp_path)
    for name in ("vendor", "class", "numa_node"):
        path = tmp_path / "sys/bus/pci/devices/0000:07:00.0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in ("proc/driver/nvidia/version", "sys/module/nvidia/version", "proc/stat", "proc/self/mountinfo"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    facts = gather(Spoken(node.root, {"nvidia-smi": (9, content.decode("utf-8", "replace"))}))
    assert facts["status"] != "ok"
    json.dumps(facts).encode("utf-8")


READERS: dict[str, t.Callable[[str], t.Any]] = {
    "nvidia_smi_xml": parse,
    "nvidia_smi_csv": lambda text: read_gpus(text, TIERS[0]),
    "nvidia_smi_errors": classify,
    "nvidia_smi_topo": lambda text: (gpu_topology.parse(text), gpu_topology.parse_nvlink(text)),
    "proc_driver_nvidia_version": lambda text: (
        kernel.parse_module_version(text),
        kernel.parse_information(text),
    ),
    "dmesg_xid": lambda text: xid.parse(text, 1767225600.0),
}


@pytest.mark.parametrize("folder", READERS)
@settings(BOUNDED, max_examples=60)
@given(data=st.data())
def test_damaged_recordings_never_raise(folder: str, data: st.DataObject) -> None:
    names = [name for each, name, _values in expected_values() if each == folder]
    if not names:
        pytest.skip(f"no recordings of {folder}")
    READERS[folder](data.draw(damaged(recorded(folder, data.draw(st.sampled_from(names))))))


@BOUNDED
@given(text=st.text(max_size=200))
def test_no_reader_raises_on_any_text(text: str) -> None:
    for reader in READERS.values():
        reader(text)
    compute_capability(text)


def test_long_lines_and_floods_are_read_in_time() -> None:
    for text in (
        "NVRM: Xid (" * 100_000,
        "a-" * 500_000,
        "\x1b[" * 300_000,
        "GPU0\t" * 100_000,
        "GPU 0: (UUID: " * 50_000,
    ):
        for reader in READERS.values():
            reader(text)


def test_the_samples_are_what_the_fuzzing_starts_from() -> None:
    assert parse(sample("nvidia_smi_two_a100.xml")).defect is None
