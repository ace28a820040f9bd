# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import socket
import threading
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import link, listener
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import protocol as wire


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wish(name, token, port, **changed):
    given = {"seconds": 0.05, "max_bytes": 1 << 28, "streams": 1, "messages": 5, "wait": 5.0, "timeout": 5.0,
             "limit": 60.0}  # fmt: skip
    return link.Wish(name=name, token=token, port=port, **{**given, **changed})


@pytest.fixture
def nodes(request):
    """Starts listeners for so many nodes, 127.0.0.1 and on, all with one port."""
    started = []
    token, port = f"{request.node.name.split('[')[0]}-{time.monotonic_ns()}", free_port()

    def start(count, listening=None):
        targets = [link.Target(f"n{number}", f"127.0.0.{number}") for number in range(1, count + 1)]
        for target in targets if listening is None else targets[:listening]:
            given = listener.Wish(target.address, [port], target.name, token, 99, 60, port)
            assert listener.start(given) == {}
            started.append(target.name)
        return targets, token, port

    yield start
    for name in started:
        listener.stop(token, name)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9, 64])
def test_rounds_have_every_pair_once_and_no_node_twice(count):
    order = [f"n{number}" for number in range(count)]
    met = {name: link.partners(order, name) for name in order}
    assert all(sorted(others) == sorted(set(order) - {name}) for name, others in met.items())
    if count % 2 == 0:
        for number in range(count - 1):
            assert all(met[met[name][number]][number] == name for name in order)


def test_a_single_node_has_nobody_to_meet():
    assert link.partners(["a"], "a") == []


def test_latency_and_bandwidth_of_each_way(nodes):
    targets, token, port = nodes(3)
    rows = {}

    def measure(name):
        rows[name] = link.probe(targets, wish(name, token, port))

    threads = [threading.Thread(target=measure, args=(target.name,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for source, other in itertools.permutations([target.name for target in targets], 2):
        found = rows[source][other]
        assert found["ok"] and found["failure"] == "" and found["mbps"] > 10 and found["latency_us"] > 0, found


def test_several_streams_and_a_byte_limit(nodes):
    targets, token, port = nodes(2)
    found = link.probe(targets, wish("n1", token, port, streams=3, max_bytes=3000, seconds=5))["n2"]
    assert found["ok"] and found["mbps"] > 0 and found["seconds"] < 4


def test_a_partner_that_is_busy_is_not_met_and_not_accused(nodes):
    targets, token, port = nodes(2)
    with wire.call(wire.Peer("127.0.0.2", port, "n2", token), 5)[0] as other:
        wire.ask(other, "turn", 5)
        assert wire.read_line(other, 5) == "yours"
        found = link.probe(targets, wish("n1", token, port, wait=0.3))["n2"]
    assert (found["ok"], found["failure"], found["mbps"]) == (False, "not_met", None)
    assert "n2 was busy" in found["evidence"] and found["seconds"] < 3
    assert link.probe(targets, wish("n1", token, port))["n2"]["ok"]


def test_a_partner_without_a_listener_is_refused(nodes):
    targets, token, port = nodes(2, listening=1)
    found = link.probe(targets, wish("n1", token, port))["n2"]
    assert (found["ok"], found["failure"]) == (False, "refused")


def test_without_the_own_listener_nothing_can_be_tested(nodes):
    targets, token, port = nodes(2, listening=1)
    found = link.probe([targets[1], targets[0]], wish("n2", token, port))["n1"]
    assert (found["ok"], found["failure"]) == (False, "not_met")


def test_the_time_for_all_is_over(nodes):
    targets, token, port = nodes(2)
    found = link.probe(targets, wish("n1", token, port, limit=0.0))["n2"]
    assert found["failure"] == "not_met" and "are over" in found["evidence"]


def test_bulk_data_that_does_not_arrive_is_told_from_small_messages(nodes, monkeypatch):
    targets, token, port = nodes(2)
    monkeypatch.setattr(link, "_pour", lambda connection, given: (0, 0.05))
    found = link.probe(targets, wish("n1", token, port))["n2"]
    assert (found["ok"], found["failure"], found["mbps"]) == (False, "stalled", 0.0) and found["latency_us"] > 0


@pytest.mark.parametrize(
    ("speeds", "found"),
    [
        ([900, 1000, 980], {"n2": 1000.0, "n3": 980.0}),  # the first is measured twice, the next is not
        ([900, 1000, 90, 950], {"n2": 1000.0, "n3": 950.0}),  # a moment
        ([900, 1000, 90, 91, 92, 93], {"n2": 1000.0, "n3": 93.0}),  # no moment
    ],
)
def test_a_link_that_was_slow_for_a_moment_is_measured_again(nodes, monkeypatch, speeds, found):
    targets, token, port = nodes(3)
    left = iter(speeds)
    monkeypatch.setattr(link, "_bandwidth", lambda connection, other, given: (1, float(next(left))))
    monkeypatch.setattr(link, "partners", lambda order, own: ["n2", "n3"])
    probed = link.probe(targets, wish("n1", token, port))
    assert {name: result["mbps"] for name, result in probed.items()} == found and not list(left)


def test_one_stream_where_the_speed_is_not_known(monkeypatch, tmp_path):
    assert link.streams_for("127.0.0.1") == 1
    (tmp_path / "eth9").mkdir()
    monkeypatch.setattr(link.pathlib, "Path", lambda path: tmp_path)
    monkeypatch.setattr(link.mtu, "interface_of", lambda address: ("eth9", 9000))
    for speed, streams in (("10000\n", 1), ("100000\n", 4), ("-1\n", 1)):
        (tmp_path / "eth9" / "speed").write_text(speed)
        assert link.streams_for("10.0.0.1") == streams


def test_the_listeners_end_by_themselves_when_every_pair_was_measured(nodes):
    token, port, targets = (
        f"ends-{time.monotonic_ns()}",
        free_port(),
        [link.Target("a", "127.0.0.1"), link.Target("b", "127.0.0.2")],
    )
    for target in targets:
        assert listener.start(listener.Wish(target.address, [port], target.name, token, 2, 60, port)) == {}
    link.probe(targets, wish("a", token, port))
    assert wire.call(wire.Peer("127.0.0.1", port, "a", token), 2)[0].close() is None  # b has not measured yet
    link.probe(targets, wish("b", token, port))
    time.sleep(1)
    assert not any(listener.stop(token, target.name) for target in targets)
