# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia-smi, ibstat and ibv_devinfo said of one node or of several: exact ids and hosts."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import node_reports

PLAN = {
    "order": ["node1", "node2"],
    "nodes": {
        f"node{number}": {"name": f"node{number}", "address": f"10.0.0.1{number}", "hostname": f"gpu{number}"}
        for number in (1, 2)
    },
}
IBSTAT = "CA 'mlx5_0'\n\tCA type: MT4129\n\tPort 1:\n\t\tState: {}\n\t\tPhysical state: {}\n\t\tRate: 400"
UP, DOWN = IBSTAT.format("Active", "LinkUp"), IBSTAT.format("Down", "Polling")
VERBS = "hca_id:\tmlx5_0\n\ttransport:\t\t\tInfiniBand (0)\n\t\tport:\t1\n\t\t\tstate:\t\t\tPORT_{} ({})\n"
TOPO = "\tGPU0\tGPU1\tGPU2\tCPU Affinity\nGPU0\t X \tNV18\t{0}\t0-55\nGPU1\tNV18\t X \t{0}\t0-55\n"
TOPO += "GPU2\t{0}\t{0}\t X \t0-55\n"
TOPO += "\nLegend:\n\n  X    = Self\n  SYS  = Connection traversing PCIe\n  NV#  = Connection traversing NVLinks"
QUERY = """\
==============NVSMI LOG==============

Timestamp                                 : Mon Nov 30 12:00:00 2026
Driver Version                            : 580.65.06
Attached GPUs                             : 1
GPU 00000000:18:00.0
    Product Name                          : NVIDIA H100 80GB HBM3
    GPU UUID                              : GPU-1
    GPU Recovery Action                   : None
    PCI
        GPU Link Info
            Link Width
                Max                       : 16x
                Current                   : 16x
    ECC Errors
        Volatile
            SRAM Uncorrectable Parity     : 0
            SRAM Uncorrectable SEC-DED    : 0
            DRAM Correctable              : 0
            DRAM Uncorrectable            : {dram}
    Remapped Rows
        Correctable Error                 : 0
        Uncorrectable Error               : 0
        Pending                           : {pending}
        Remapping Failure Occurred        : No
    Temperature
        GPU Current Temp                  : 41 C"""
WELL, ILL, PENDING = QUERY.format(dram=0, pending="No"), QUERY.format(dram=2, pending="No"), QUERY.format(
    dram=0, pending="Yes"
)  # fmt: skip
LOST = "Unable to determine the device handle for GPU0000:18:00.0: GPU is lost.  Reboot the system to recover this GPU"
FORMS: dict[str, t.Callable[[str, str], str]] = {
    "pdsh": lambda one, two: "".join(
        f"{host}: {line}\n" for host, text in (("gpu1", one), ("gpu2", two)) for line in text.split("\n")
    ),
    "clush": lambda one, two: f"------\ngpu1 (1)\n------\n{one}\n------\ngpu2 (1)\n------\n{two}\n",
    "ansible": lambda one, two: f"gpu1 | CHANGED | rc=0 >>\n{one}\ngpu2 | CHANGED | rc=0 >>\n{two}\n",
    "loop": lambda one, two: f"=== gpu1 ===\n{one}\n=== gpu2 ===\n{two}\n",
}


def case(**files: str) -> Case:
    user = {
        name: {"files": [{"kind": "node_report", "path": "/tmp/seen.txt", "text": text}]}
        for name, text in files.items()
    }
    return Case(plan=PLAN, user=user)


def findings(given: Case) -> list[Finding]:
    found = engine.merged(node_reports.reports(given), given.order)
    return [answer for answer in found if isinstance(answer, Finding)]


def told(given: Case) -> list[tuple[str, tuple[str, ...], str]]:
    return [(finding.rule, finding.hosts, finding.severity) for finding in findings(given)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("well", "ill", "want"),
    [
        (UP, DOWN, [("ib-port-not-active", ("node2",), "fail")]),
        (VERBS.format("ACTIVE", 4), VERBS.format("DOWN", 1), [("ib-port-not-active", ("node2",), "fail")]),
        (TOPO.format("NV18"), TOPO.format("SYS"), [("gpu-nvlink", ("node2",), "warn")]),
        (WELL, ILL, [("gpu-ecc", ("node2",), "fail")]),
        (WELL, PENDING, [("gpu-row-remap", ("node2",), "fail")]),
        (WELL, WELL.replace(": 41 C", ": GPU is lost"), [("gpu-lost-from-bus", ("node2",), "fail")]),
        (WELL, LOST, [("gpu-lost-from-bus", ("node2",), "fail")]),
        (WELL, "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.65",
         [("drv-nvml-mismatch", ("node2",), "fail")]),
    ],
)  # fmt: skip
def test_two_nodes_in_one_file(form: str, well: str, ill: str, want: list[tuple[str, tuple[str, ...], str]]) -> None:
    given = case(node1=FORMS[form](well, ill))
    assert told(given) == want
    assert {host for each in findings(given) for host in each.hosts} == {"node2"}
    assert all(each.evidence["node2"].startswith("/tmp/seen.txt: ") for each in findings(given))
    assert told(case(node1=FORMS[form](well, well))) == []


def test_bridges_between_other_pairs_are_no_fault() -> None:
    other = "\tGPU0\tGPU1\tGPU2\nGPU0\t X \tSYS\tNV4\nGPU1\tSYS\t X \tSYS\nGPU2\tNV4\tSYS\t X \n"
    assert told(case(node1=TOPO.format("SYS"), node2=other)) == []


def test_one_file_on_each_node() -> None:
    assert told(case(node1=UP, node2=DOWN)) == [("ib-port-not-active", ("node2",), "fail")]
    assert told(case(node2=ILL)) == [("gpu-ecc", ("node2",), "fail")]
    (one,) = findings(case(node1=ILL, node2=ILL))  # a shared file that names nobody
    assert one.hosts == () and list(one.evidence) == ["/tmp/seen.txt"]


def test_hosts_of_one_answer_and_strangers() -> None:
    text = f"------\ngpu[1-2] (2)\n------\n{ILL}\n"
    assert told(case(node1=text)) == [("gpu-ecc", ("node1", "node2"), "fail")]
    (one,) = findings(case(node1=f"=== elsewhere ===\n{ILL}\n"))
    assert one.hosts == () and list(one.evidence) == ["elsewhere"]


@pytest.mark.parametrize(
    "text", ["", "x", "{", "GPU 00000000:18:00.0", "CA 'mlx5_0'", "\tGPU0\n", "\ufffd" * 9, UP, WELL]
)
def test_texts_that_say_nothing_bad(text: str) -> None:
    assert told(case(node1=text)) == []
