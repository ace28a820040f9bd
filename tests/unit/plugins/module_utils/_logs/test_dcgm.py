# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dcgmi prints, of versions 2 to 4, as tables and as JSON."""

from __future__ import annotations

import json
import time
import typing as t

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.module_utils._logs.dcgm import excerpt, parse

HEAD = """Successfully ran diagnostic for group.
+---------------------------+------------------------------------------------+
| Diagnostic                | Result                                         |
+===========================+================================================+
|-----  Metadata  ----------+------------------------------------------------|
| DCGM Version              | 4.2.3                                          |
+-----  Hardware  ----------+------------------------------------------------+
"""


def row(left: str, right: str) -> str:
    return f"| {left:<25} | {right:<46} |\n"


def message(label: str, text: str) -> str:
    """A message as dcgmi cuts it."""
    parts = [text[at : at + 45] for at in range(0, len(text), 45)]
    return "".join(row(label if not at else "", part.strip()) for at, part in enumerate(parts))


def results(text: str) -> list[tuple[str, str, str, list[str]]]:
    return [
        (each["test"], each["entity"], each["status"], [one["text"] for one in each["messages"]])
        for each in parse(text)
        if each["what"] == "result"
    ]


LONG = "GPU 3 had memory errors and row remappings are pending. Drain the GPU and reset it or reboot the node."


def test_a_table_of_version_4() -> None:
    text = HEAD + row("memory", "Fail") + row("", "GPU0: Pass") + row("", "GPU3: Fail") + message("Warning: GPU3", LONG)
    text += row("diagnostic", "Skip") + row("", "GPU0: Skip") + message("Info: GPU0", "GPU 0 calculated 12 GFLOPS")
    assert results(text) == [
        ("memory", "", "fail", []),
        ("memory", "GPU 0", "pass", []),
        ("memory", "GPU 3", "fail", [LONG]),
        ("diagnostic", "", "skip", []),
        ("diagnostic", "GPU 0", "skip", []),
    ]


def test_a_table_of_version_2() -> None:
    down = "GPU 0GPU 0's NvLink link {} is currently down Run a field diagnostic on the GPU."
    text = HEAD + row("PCIe", "Fail - All") + message("Warning", f"{down.format(0)}, {down.format(1)}")
    text += (
        row("GPU Memory", "Pass - GPUs: 1, 2") + row("", "Fail - GPU: 0") + message("Warning", "GPU 0 Error using X")
    )
    assert results(text) == [
        ("PCIe", "", "fail", [down.format(0), down.format(1)]),
        ("GPU Memory", "GPU 1", "pass", []),
        ("GPU Memory", "GPU 2", "pass", []),
        ("GPU Memory", "GPU 0", "fail", ["GPU 0 Error using X"]),
    ]


WARNING = {"warning": LONG, "error_id": 85, "error_category": 10, "error_severity": 6}


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("DCGM Diagnostic", {"entity_group": "GPU", "entity_id": 3, "status": "Fail", "warnings": [WARNING]}),
        ("DCGM GPU Diagnostic", {"gpu_id": "3", "status": "Fail", "warnings": LONG}),
        ("DCGM GPU Diagnostic", {"gpu_ids": "3", "status": "FAIL", "warnings": [WARNING]}),
    ],
)
def test_json(name: str, result: dict[str, t.Any]) -> None:
    tests = [{"name": "memory", "results": [result], "test_summary": {"status": "Fail"}}]
    data = {name: {"test_categories": [{"category": "Hardware", "tests": tests}], "version": "4.2.3"}}
    assert results("Defaulted container x\n" + json.dumps(data, indent=1)) == [("memory", "GPU 3", "fail", [LONG])]
    assert results(json.dumps({"iterations": [data]})) == [("memory", "GPU 3", "fail", [LONG])]


@pytest.mark.parametrize(
    "text", ['{"DCGM Diagnostic": {"test_cat', "{" * 5000, '{"DCGM Diagnostic": [1, {"results": 3}]}', ""]
)
def test_json_that_is_none(text: str) -> None:
    assert results(text) == []


def test_health() -> None:
    text = row("Health Monitor Report", "") + row("Overall Health", "Warning") + row("GPU", "") + row("-> 0", "Healthy")
    text += row("-> 2", "Warning") + row("   -> Errors", "") + row("      -> PCIe system", "Warning")
    text += row("", "Detected more than 8 PCIe replays per minute") + row("", "for GPU 2 : 13")
    said = "Detected more than 8 PCIe replays per minute for GPU 2 : 13"
    assert results(text) == [("health", "", "warn", [""]), ("PCIe system", "GPU 2", "warn", [said])]
    errors = {"children": {"PCIe system": {"value": "Warning", "overflow": said.split(" for ")}}}
    gpu = {"children": {"2": {"value": "Warning", "children": {"Errors": errors}}}}
    data = {"header": ["Health Monitor Report"], "body": {"Overall Health": {"value": "Warning"}, "GPU": gpu}}
    assert results(json.dumps(data))[1][:3] == ("PCIe system", "GPU 2", "warn")


def test_other_commands() -> None:
    links = "GPUs:\n    gpuId 0:\n        U U D X _\nNvSwitches:\n    physicalId 8:\n        D U\n"
    assert [(each["entity"], each["up"], each["down"]) for each in parse(links)] == [
        ("GPU 0", 2, 1),
        ("NvSwitch 8", 1, 1),
    ]
    assert [(each["host"], each["gpus"]) for each in parse("gpu7: 4 GPUs found.\n", {"gpu7"})] == [("gpu7", 4)]
    mig = "GPU 0's MIG configuration is incompatible with the diagnostic because it prevents access to the entire GPU."
    assert [each["what"] for each in parse(f"{mig}\n{mig}\n")] == ["problem"]


def test_a_long_report_says_the_same_in_less() -> None:
    good = {"entity_group": "GPU", "entity_id": 0, "status": "Pass", "info": ["x" * 500]}
    bad = {"entity_group": "GPU", "entity_id": 3, "status": "Fail", "warnings": [WARNING]}
    tests = [{"name": f"test{number}", "results": [good]} for number in range(200)] + [
        {"name": "memory", "results": [bad]}
    ]
    text = json.dumps({"DCGM Diagnostic": {"test_categories": [{"tests": tests}]}}, indent=3)
    short = excerpt(text, 4096)
    assert len(short) <= 4096 and results(short) == [("memory", "GPU 3", "fail", [LONG])]
    both = "".join(f"{host}: {line}\n" for host in ("gpu1", "gpu2") for line in text.splitlines())
    assert [each["host"] for each in parse(excerpt(both, 4096))] == ["gpu1", "gpu2"]
    assert excerpt("short", 4096) == "short"


def test_several_machines() -> None:
    text = HEAD + row("memory", "Fail") + row("", "GPU3: Fail") + message("Warning: GPU3", LONG)
    both = "".join(f"{host}: {line}\n" for host in ("gpu1", "gpu2") for line in text.splitlines())
    found = [(each["host"], each["entity"]) for each in parse(both) if each.get("messages")]
    assert found == [("gpu1", "GPU 3"), ("gpu2", "GPU 3")]


WORDS = (
    "| memory | Fail |",
    "|  | GPU3: Fail |",
    "| Warning: GPU3 |",
    "{",
    '"results"',
    ": [",
    "gpuId 0:",
    "U D",
    "\n",
    "gpu1: ",
    "-> 3",
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), max_size=40).map(" ".join))
def test_any_text(text: str) -> None:
    assert all(each["what"] in ("result", "problem", "found", "links") for each in parse(text))


@pytest.mark.parametrize(
    "text", ["| " + " " * 60000, "{ " * 30000, "| a | Fail |\n" * 5000, "-> " * 20000, "GPU 1, " * 9000]
)
def test_floods_are_read_in_time(text: str) -> None:
    start = time.monotonic()
    assert len(parse(text)) <= 4000
    assert time.monotonic() - start < 5
