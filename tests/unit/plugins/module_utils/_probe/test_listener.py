# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import socket
import threading
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import left_listeners, path_mtu
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import listener as probe_listener
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import protocol as wire


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def listener(request):
    """Starts listeners under the test's own name, and ends them."""
    token = f"{request.node.name.split('[')[0]}-{time.monotonic_ns()}"

    def start(callers=1, ports=None, link_port=0, seconds=20, peers=()):
        port = free_port()
        wish = probe_listener.Wish("127.0.0.1", ports or [port], "n", token, callers, seconds, link_port, peers)
        problems = probe_listener.start(wish)
        return wire.Peer("127.0.0.1", wish.ports[0], "n", token), problems

    yield start
    probe_listener.stop(token, "n")


def gone(peer, limit=5):
    """Whether the port is free again within ``limit`` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex((peer.address, peer.port)) == 111:
                return True
        time.sleep(0.05)
    return False


def call(peer):
    return wire.call(peer, 5)[0]


def test_a_caller_is_told_how_it_is_seen_and_not_the_token(listener):
    peer, problems = listener()
    assert problems == {}
    with socket.create_connection((peer.address, peer.port), 5) as raw:
        heard = wire.read_line(raw, 5)
    assert heard.endswith(" n 127.0.0.1") and peer.token not in heard


def test_the_port_is_free_when_every_caller_has_said_good_bye(listener):
    peer, _problems = listener(callers=2)
    for name in ("a", "a", "b"):
        assert not gone(peer, 0.5)
        with call(peer) as connection:
            wire.ask(connection, "bye", name)
    assert gone(peer)


def test_the_link_port_stays_until_it_is_stopped(listener):
    port = free_port()
    peer, _problems = listener(ports=[port], link_port=port)
    with call(peer) as connection:
        wire.ask(connection, "bye", "a")
    assert not gone(peer, 0.6)
    assert probe_listener.stop(peer.token, "n") and gone(peer, 0.2)
    assert not probe_listener.stop(peer.token, "n")


def test_the_time_is_over(listener):
    peer, _problems = listener(seconds=0.3)
    assert gone(peer)


def test_an_open_connection_does_not_keep_the_port(listener):
    peer, _problems = listener()
    with call(peer):
        assert probe_listener.stop(peer.token, "n")
        with socket.socket() as job:
            job.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            job.bind((peer.address, peer.port))
            job.listen()


def test_one_that_a_broken_run_left_is_replaced(listener):
    peer, _problems = listener()
    again, problems = listener(ports=[peer.port])
    assert problems == {}
    call(again).close()


def test_a_port_that_is_just_becoming_free_is_not_called_taken(listener):
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    holder.listen()
    other, port = free_port(), holder.getsockname()[1]
    threading.Timer(0.4, holder.close).start()
    peer, problems = listener(ports=[other, port])
    assert problems == {}
    with call(peer._replace(port=port)) as connection:
        wire.ask(connection, "bye", "a")


def test_a_taken_port_is_reported():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        problems = probe_listener.start(probe_listener.Wish("127.0.0.1", [port], "n", "taken", 1, 5))
    assert problems[port] == (98, "Address already in use")
    assert not probe_listener.stop("taken", "n")


def test_bursts_in_both_directions_on_one_connection(listener):
    peer, _problems = listener()
    with call(peer) as connection:
        assert path_mtu.pull(connection, 5) == wire.BURST_BYTES
        assert path_mtu.push(connection, 5) == wire.BURST_BYTES


def test_a_burst_that_stalls_ends_with_its_limit(listener):
    peer, _problems = listener()
    with call(peer) as connection:
        started = time.monotonic()
        wire.ask(connection, "push", 1000, 0.3)
        assert wire.read_line(connection, 5).startswith("got 0 ")
        assert 0.2 < time.monotonic() - started < 2


def hung_up(connection):
    """Whether the listener says no more; what it did not read makes the end a reset."""
    try:
        return wire.read_line(connection, 5) == ""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("words", ["turn", "turn x", "dance 1 2", "stop", "x" * 600])
def test_a_request_that_is_none_ends_the_connection(listener, words):
    peer, _problems = listener()
    with call(peer) as connection:
        connection.sendall(words.encode() + b"\n")
        assert hung_up(connection)
    call(peer).close()


@pytest.mark.parametrize(
    "answer", ["bye a", "{token} bye a", "hello", "hello {nonce} {nonce}", "hello a b c", "x" * 600]
)
def test_who_does_not_know_the_token_can_not_end_a_port_early(listener, answer):
    peer, _problems = listener()
    with socket.create_connection((peer.address, peer.port), 5) as stranger:
        nonce = wire.read_line(stranger, 5).split(" ")[1]
        stranger.sendall(answer.format(token=peer.token, nonce=nonce).encode() + b"\nbye a\n")
        assert hung_up(stranger)
    call(peer).close()


def test_an_answer_that_was_overheard_opens_no_second_connection(listener):
    peer, _problems = listener()
    with socket.create_connection((peer.address, peer.port), 5) as first:
        nonce = wire.read_line(first, 5).split(" ")[1]
        hello = f"hello own {wire.proof(peer.token, 'caller', nonce, 'own', 'n', '127.0.0.1')}\n".encode()
        first.sendall(hello)
        assert wire.read_line(first, 5).startswith("welcome ")
    with socket.create_connection((peer.address, peer.port), 5) as second:
        wire.read_line(second, 5)
        second.sendall(hello)
        assert hung_up(second)


def test_a_listener_that_does_not_know_the_token_is_a_stranger(listener):
    peer, _problems = listener()
    with pytest.raises(wire.Refusal) as caught:
        wire.call(peer._replace(token="another"), 5)
    assert caught.value.failure == "stranger"


def test_strangers_take_no_places_of_the_nodes(listener, monkeypatch):
    monkeypatch.setattr(probe_listener, "MAX_STRANGERS", 2)
    peer, _problems = listener(peers=["127.0.0.1"])
    held = []
    try:
        for _number in range(6):
            held.append(socket.create_connection((peer.address, peer.port), 5, source_address=("127.0.0.9", 0)))
        greeted = [wire.read_line(connection, 5) for connection in held]
        call(peer).close()
    finally:
        for connection in held:
            connection.close()
    assert [bool(line) for line in greeted] == [True, True, False, False, False, False]


def test_another_user_of_the_node_can_not_speak_to_the_listener(listener, monkeypatch):
    peer, _problems = listener()
    monkeypatch.setattr(wire.os, "geteuid", lambda: 4711)
    monkeypatch.setattr(wire.struct, "unpack", lambda form, data: (1, 4712, 4712))
    with pytest.raises(OSError, match="another program"):
        wire.call_control(peer.token, "n", 5)


def test_turns_are_taken_one_after_the_other_and_end_with_the_connection(listener):
    peer, _problems = listener()
    first, second, third = call(peer), call(peer), wire.call_control(peer.token, "n", 5)
    wire.ask(first, "turn", 5)
    assert wire.read_line(first, 5) == "yours"
    wire.ask(second, "turn", 0.2)
    assert wire.read_line(second, 5) == "busy"
    wire.ask(third, "turn", 5)
    first.close()
    assert wire.read_line(third, 5) == "yours"
    second.close()
    third.close()


def test_many_callers_at_a_time(listener):
    peer, _problems = listener(callers=40)
    got = []

    def visit(number):
        with call(peer) as connection:
            got.append(path_mtu.pull(connection, 20))
            wire.ask(connection, "bye", number)

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert got == [wire.BURST_BYTES] * 40 and gone(peer)


def test_a_listener_of_another_run_that_was_left_is_ended(listener):
    port = free_port()
    left = probe_listener.Wish("127.0.0.1", [port], "other", f"left-{time.monotonic_ns()}", 1, 20)
    assert probe_listener.start(left) == {}
    peer, problems = listener(ports=[port])
    assert problems == {}
    call(peer).close()
    assert not probe_listener.stop(left.token, left.name), "it is no longer there"


def test_one_port_of_two_is_enough_to_end_it(listener):
    first, second = free_port(), free_port()
    left = probe_listener.Wish("127.0.0.1", [second], "other", f"left-{time.monotonic_ns()}", 1, 20)
    assert probe_listener.start(left) == {}
    peer, problems = listener(ports=[first, second])
    assert problems == {}
    call(peer._replace(port=second)).close()


def test_a_port_of_somebody_else_stays_theirs(listener):
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        _peer, problems = listener(ports=[port])
        assert problems[port][0] == errno.EADDRINUSE
        assert left_listeners.holders([port]) == []
