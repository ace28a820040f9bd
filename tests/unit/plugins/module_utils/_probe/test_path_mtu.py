# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import struct

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.command import Outcome
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import path_mtu as mtu

WAY = mtu.Way(socket.AF_INET, "eth0", 1500, 1500)
WHOLE = 256 * 1024


def test_full_packets_from_what_tcp_agreed_on():
    with_stamps = bytes(5) + b"\x07\0\0" + struct.pack("=IIII", 0, 0, 1448, 0)
    without = bytes(8) + struct.pack("=IIII", 0, 0, 1460, 0)
    assert mtu.packet_size(with_stamps, socket.AF_INET) == 1500
    assert mtu.packet_size(without, socket.AF_INET) == 1500
    assert mtu.packet_size(with_stamps, socket.AF_INET6) == 1520
    assert mtu.packet_size(b"", socket.AF_INET) is None


def test_bursts_that_pass():
    found = mtu.verdict("n", WAY, WHOLE, WHOLE, 5)
    assert (found["ok"], found["passed"], found["failed"], found["stalls"], found["evidence"]) == (
        True, 1500, None, [], "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("received", "sent", "stalls", "failed"),
    [(WHOLE, 0, ["send"], 1500), (1448, WHOLE, ["receive"], None), (0, 0, ["receive", "send"], 1500)],
)
def test_the_direction_that_stalls_is_named(received, sent, stalls, failed):
    found = mtu.verdict("n", WAY, received, sent, 5)
    assert (found["ok"], found["stalls"], found["failed"], found["passed"]) == (False, stalls, failed, None)
    assert ("to n" in found["evidence"]) == ("send" in stalls)
    assert ("from n" in found["evidence"]) == ("receive" in stalls)


def test_a_slow_path_is_no_black_hole():
    found = mtu.verdict("n", WAY, WHOLE, 100 * 1024, 5)
    assert found["ok"] and found["evidence"] == "slow: 100 of 256 KiB to n within 5 s"


def ping(monkeypatch, largest):
    """A ping that passes packets of up to ``largest`` bytes."""
    sizes = []

    def run(argv, limit):
        sizes.append(int(argv[argv.index("-s") + 1]) + 28)
        return Outcome(0 if sizes[-1] <= largest else 1, "", "", False, False, 0.0)

    monkeypatch.setattr(mtu, "run", run)
    return sizes


def test_the_size_that_passes_is_found_by_bisection(monkeypatch):
    sizes = ping(monkeypatch, 1400)
    passed, failed = mtu.bisect("10.0.0.2", socket.AF_INET, 9000)
    assert passed <= 1400 < failed <= passed + 8 and len(sizes) < 16


@pytest.mark.parametrize(("largest", "answer"), [(0, (None, None)), (200, (None, 576)), (9000, (1500, None))])
def test_what_ping_can_not_tell(monkeypatch, largest, answer):
    ping(monkeypatch, largest)
    assert mtu.bisect("10.0.0.2", socket.AF_INET, 1500) == answer


def test_ping_is_asked_only_after_a_stall(monkeypatch):
    sizes = ping(monkeypatch, 900)
    whole = mtu.verdict("n", WAY, WHOLE, WHOLE, 5)
    assert mtu.refine(whole, "10.0.0.2", WAY) == whole and sizes == []
    stalled = mtu.refine(mtu.verdict("n", WAY, WHOLE, 0, 5), "10.0.0.2", WAY)
    assert stalled["passed"] <= 900 < stalled["failed"] and "ping passes with" in stalled["evidence"]


def test_the_interface_of_an_own_address():
    name, size = mtu.interface_of("127.0.0.1")
    assert (name, size or 0) >= ("lo", 1280)
    assert mtu.interface_of("192.0.2.77") == ("", None)
