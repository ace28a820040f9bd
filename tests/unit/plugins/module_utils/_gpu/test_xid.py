# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel log: Xid, SXid, GPUs off the bus."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.machine import Machine
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.text import bus_id
from ansible_collections.trainmesh.cluster.plugins.module_utils._gpu.xid import KernelLog, parse, read_kernel_log
from ansible_collections.trainmesh.cluster.tests.unit.samples.gpu_recordings import (
    Recorded,
    expected_in,
    recorded,
)


def of_kind(log: KernelLog, kind: str) -> list[dict[str, t.Any]]:
    return [event for event in log.events if event["kind"] == kind]


@pytest.mark.parametrize(("name", "want"), expected_in("dmesg_xid"))
def test_recorded_logs(name: str, want: dict[str, t.Any]) -> None:
    log = parse(recorded("dmesg_xid", name))
    assert sorted({event["xid"] for event in of_kind(log, "xid")}) == want["xids"]
    assert [event["xid"] for event in of_kind(log, "sxid")] == want.get("sxids", [])
    assert {event["bus_id"] for event in of_kind(log, "xid")} == (
        {bus_id(want["bus_id"])} if "bus_id" in want else set()
    )
    off_bus = [event["bus_id"] for event in of_kind(log, "fallen_off_bus")]
    assert off_bus == ([bus_id(want["fallen_off_bus"])] if "fallen_off_bus" in want else [])
    degraded = [event["bus_id"] for event in of_kind(log, "degraded_link")]
    assert degraded == ([bus_id(want["degraded_nic"])] if "degraded_nic" in want else [])
    assert log.module_version == want.get("module_version")
    assert log.nouveau_devices == (want["devices"] if want.get("finding") == "nouveau_conflict" else None)


@pytest.mark.parametrize(
    ("line", "xid", "address"),
    [
        ("NVRM: Xid (PCI:0000:9b:00): 79, pid=1, GPU has fallen off the bus.", 79, "00000000:9b:00.0"),
        ("NVRM: Xid (0000:03:00): 31, Ch 0000001e", 31, "00000000:03:00.0"),
        ("NVRM: Xid (PCI:0000:01:00 GPU-I:05 GPU-CI:02): 94, pid=7194, Contained", 94, "00000000:01:00.0"),
        ("<4>[   12.5] NVRM: Xid (PCI:00000008:01:00.0): 154, GPU recovery action changed", 154, "00000008:01:00.0"),
        ("2026-02-23T16:24:18+0000 node1 kernel: NVRM: Xid (PCI:0000:9b:00): 48, DBE", 48, "00000000:9b:00.0"),
        ("Feb 23 16:24:18 node1 kernel: [  9.1] NVRM: Xid (PCI:0000:9B:00): 48, DBE", 48, "00000000:9b:00.0"),
    ],
)
def test_every_form_of_an_xid(line: str, xid: int, address: str) -> None:
    events = of_kind(parse(line), "xid")
    assert [(event["xid"], event["bus_id"]) for event in events] == [(xid, address)]
    assert f"): {xid}" in events[0]["line"]


def test_an_nvswitch_error_keeps_how_bad_it_is() -> None:
    log = parse("[131453.740743] nvidia-nvswitch0: SXid (PCI:0000:00:00.0): 20034, Fatal, Link 30 LTSSM Fault Up")
    assert [(event["kind"], event["xid"]) for event in log.events] == [("sxid", 20034)]
    assert ", Fatal," in log.events[0]["line"]


def test_times() -> None:
    xid = "NVRM: Xid (PCI:0000:9b:00): 79, x"
    for stamp, time in (
        ("[   60.250000] ", "2026-01-01T00:01:00Z"),
        ("[Sun Feb 23 16:24:18 2025] ", "2025-02-23T16:24:18"),
        ("2025-02-23T16:24:18+0000 node kernel: ", "2025-02-23T16:24:18+0000"),
        ("Feb 23 16:24:18 node kernel: ", None),
        ("[Sun Feb 99 16:24:18 2025] ", None),
        ("[999999999999.0] ", None),
    ):
        assert parse(stamp + xid, 1767225600.0).events[0]["time"] == time, stamp
    assert parse("[   60.250000] " + xid).events[0]["time"] is None


def test_a_gpu_off_the_bus_with_and_without_an_xid() -> None:
    log = parse(
        "NVRM: GPU 0000:0b:00.0: GPU has fallen off the bus.\n"
        "NVRM: GPU at PCI:0000:9b:00: GPU-509665ad-b600-ac93-3616-d754b23d636d\n"
        "NVRM: Xid (PCI:0000:0c:00): 79, pid=1, GPU has fallen off the bus.\n"
    )
    assert [event["bus_id"] for event in of_kind(log, "fallen_off_bus")] == ["00000000:0b:00.0"]
    assert [event["bus_id"] for event in of_kind(log, "xid")] == ["00000000:0c:00.0"]


def test_a_gpu_that_the_driver_does_not_support() -> None:
    log = parse(
        "[ 1.0] NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:128b)\n"
        "NVRM: installed in this system is not supported by the 580.95\nNVRM: NVIDIA Linux driver release.\n"
        "[ 1.0] NVRM: The NVIDIA GPU 0000:02:00.0 (PCI ID: 10de:128b)\nNVRM: installed in this system has\n"
        "NVRM: fallen off the bus and is not responding to commands.\n"
    )
    assert log.unsupported == ("00000000:01:00.0",)
    assert [event["bus_id"] for event in of_kind(log, "fallen_off_bus")] == ["00000000:02:00.0"]


def test_only_what_came_after_the_last_boot() -> None:
    log = parse(
        "Jan 1 kernel: NVRM: Xid (PCI:0000:01:00): 79, old\nJan 2 kernel: Linux version 6.8.0-31 (build@host)\n"
        "Jan 2 kernel: NVRM: Xid (PCI:0000:01:00): 31, new\n"
    )
    assert [event["xid"] for event in log.events] == [31]


def test_a_flood_keeps_the_rare_event() -> None:
    flood = "".join(f"[{second}.0] NVRM: Xid (PCI:0000:01:00): 31, x\n" for second in range(2000))
    log = parse("[1.0] NVRM: Xid (PCI:0000:02:00): 79, gone\n" + flood, 0.0)
    assert [event["xid"] for event in log.events] == [79, 31, 31, 31, 31, 31]
    assert log.events[-1]["time"] == "1970-01-01T00:33:19Z"


@pytest.mark.parametrize(
    "text", ["", "NVRM: Xid", "NVRM: Xid (PCI:zz): 79,", "\ufffd\x00", "Xid 79", "NVRM: Xid (PCI:0000:01:00): x"]
)
def test_no_event_is_made_up(text: str) -> None:
    assert parse(text).events == ()


def test_the_sources_in_their_order(tmp_path: pathlib.Path) -> None:
    node = Recorded(tmp_path)
    machine = Machine(str(tmp_path))
    assert read_kernel_log(machine) is None
    node.write("var/log/messages", "NVRM: Xid (PCI:0000:01:00): 3, file\n")
    node.write("proc/stat", "cpu 1\nbtime 1767225600\n")
    log = read_kernel_log(Machine(str(tmp_path)))
    assert log is not None
    assert log.events[0]["xid"] == 3
    node.command("journalctl", "#!/bin/sh\necho '[1.0] NVRM: Xid (PCI:0000:01:00): 2, journal'\n")
    log = read_kernel_log(Machine(str(tmp_path)))
    assert log is not None
    assert (log.events[0]["xid"], log.events[0]["time"]) == (2, "2026-01-01T00:00:01Z")
    node.command("dmesg", "#!/bin/sh\necho 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1\n")
    log = read_kernel_log(Machine(str(tmp_path)))
    assert log is not None
    assert log.events[0]["xid"] == 2
    node.command("dmesg", "#!/bin/sh\necho 'NVRM: Xid (PCI:0000:01:00): 1, dmesg'\n")
    log = read_kernel_log(Machine(str(tmp_path)))
    assert log is not None
    assert log.events[0]["xid"] == 1


def test_a_hanging_dmesg_costs_its_limit_only(tmp_path: pathlib.Path) -> None:
    Recorded(tmp_path).command("dmesg", "#!/bin/sh\nexec sleep 20\n")
    assert read_kernel_log(Machine(str(tmp_path)), limit=0.3) is None
