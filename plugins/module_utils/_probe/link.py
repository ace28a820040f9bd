# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Latency and bandwidth from this node to every other, in rounds of disjoint pairs.

Every node measures its own way out; the two listeners of a pair hand out turns, so that no node takes part in two
measurements at once. Nodes that start together so fall into step, and one that starts late disturbs nobody.
"""

from __future__ import annotations

import concurrent.futures
import pathlib
import select
import socket
import statistics
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import path_mtu as mtu
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import protocol as wire

ECHO_BYTES, ECHO_WARM = 64, 5
CHUNK_BYTES = 1024 * 1024
# One TCP stream of Python fills this much; faster interfaces get four.
ONE_STREAM_MBPS, MANY_STREAMS = 25000, 4
# A link with less than this share of the fastest one before it is measured again, as the first one is: a moment in
# which a machine was busy must accuse nobody.
DOUBTFUL_SHARE, AGAIN, PAUSE_S = 0.5, 3, 0.2


class Target(t.NamedTuple):
    """A node by name and data address."""

    name: str
    address: str


class Wish(t.NamedTuple):
    """How to measure.

    ``name``: the own inventory name; ``port``: where the listeners are; ``seconds`` and ``max_bytes``: the
    length of a bulk transfer; ``streams``: parallel connections; ``messages``:
    round trips for the latency; ``wait``: seconds for a turn with one partner; ``timeout``: seconds for one
    attempt; ``limit``: seconds for all.
    """

    name: str
    token: str
    port: int
    seconds: float
    max_bytes: int
    streams: int
    messages: int
    wait: float
    timeout: float
    limit: float


def partners(order: t.Sequence[str], own: str) -> list[str]:
    """Whom ``own`` meets, round by round (circle method): in each round all pairs are disjoint.

    With an odd number of nodes one of them sits out in each round; its rounds are left out here.
    """
    ring: list[str | None] = [*order, *([None] if len(order) % 2 else [])]
    turns, place = len(ring) - 1, ring.index(own)
    met = []
    for number in range(turns):
        if place == turns:
            other = number * (len(ring) // 2) % turns
        else:
            other = (number - place) % turns
            other = turns if other == place else other
        met.append(ring[other])
    return [name for name in met if name is not None]


def streams_for(address: str) -> int:
    """Parallel streams for the interface that has an address of this node, by its speed in sysfs (Mbit/s)."""
    interface, _mtu = mtu.interface_of(address)
    try:
        speed = int((pathlib.Path("/sys/class/net") / interface / "speed").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 1
    return MANY_STREAMS if speed >= ONE_STREAM_MBPS else 1


def probe(targets: t.Sequence[Target], wish: Wish) -> dict[str, t.Any]:
    """{name: {ok, latency_us, mbps, seconds, failure, evidence}} for every other node, within ``limit`` seconds.

    ``targets`` are all nodes, in the same order on every node.
    """
    found = {target.name: target for target in targets}
    own, end = found[wish.name], time.monotonic() + wish.limit
    order = [target.name for target in targets]
    results: dict[str, dict[str, t.Any]] = {}
    for name in partners(order, own.name):
        fastest = max((float(result["mbps"] or 0) for result in results.values()), default=0.0)
        results[name] = _pair(own, found[name], order, wish, end, fastest)
    return results


def _pair(
    own: Target, other: Target, order: t.Sequence[str], wish: Wish, end: float, fastest: float
) -> dict[str, t.Any]:
    """One pair: a turn with both listeners, then the measurement. Turns are taken in the nodes' order: no deadlock.

    ``fastest``: Mbit/s of the fastest link so far.
    """
    started, waited = time.monotonic(), min(wish.wait, end - time.monotonic())
    result: dict[str, t.Any] = {"ok": False, "latency_us": None, "mbps": None, "failure": "", "evidence": ""}
    held: list[socket.socket] = []
    try:
        if waited <= 0:
            raise wire.Refusal("not_met", f"the {wish.limit:.0f} s for all measurements are over")
        for target in sorted((own, other), key=lambda target: order.index(target.name)):
            held.append(_turn(own, target, wish, started + waited))
        result.update(_measure(held[order.index(own.name) < order.index(other.name)], other, wish, fastest))
    except wire.Refusal as refusal:
        result.update(failure=refusal.failure, evidence=refusal.evidence)
    finally:
        for connection in held:
            wire.hang_up(connection)
    return {**result, "seconds": round(time.monotonic() - started, 3)}


def _turn(own: Target, target: Target, wish: Wish, deadline: float) -> socket.socket:
    """The connection that holds a turn with a node's listener. Raises Refusal."""
    limit = max(0.1, deadline - time.monotonic())
    if target == own:
        try:
            connection = wire.call_control(wish.token, own.name, wish.timeout)
        except (OSError, ValueError) as error:
            raise wire.Refusal("not_met", f"the listener of {own.name} itself does not answer: {error}") from error
    else:
        connection = wire.call(wire.Peer(target.address, wish.port, target.name, wish.token), wish.timeout)[0]
    try:
        wire.ask(connection, "turn", f"{limit:.1f}")
        answer = wire.read_line(connection, limit + wish.timeout)
    except (OSError, ValueError) as error:
        answer = str(error)
    if answer == "yours":
        return connection
    connection.close()
    said = "was busy with other pairs" if answer == "busy" else f"gave no turn ({answer or 'closed'})"
    raise wire.Refusal("not_met", f"{target.name} {said} for {limit:.0f} s")


def _measure(connection: socket.socket, other: Target, wish: Wish, fastest: float) -> dict[str, t.Any]:
    """Latency, then bandwidth. Raises Refusal."""
    where = f"{other.address} port {wish.port}"
    try:
        latency = _latency(connection, wish)
    except (OSError, ValueError) as error:
        raise wire.Refusal("timeout", f"{where}: the small messages stopped: {error}") from error
    try:
        taken, mbps = _bandwidth(connection, other, wish)
    except (OSError, ValueError) as error:
        evidence = f"{where}: small messages pass, the bulk transfer stopped: {error}"
        return {"latency_us": latency, "failure": "stalled", "evidence": evidence}
    if taken == 0:
        evidence = f"{where}: small messages pass, of the bulk transfer nothing arrived in {wish.seconds} s"
        return {"latency_us": latency, "mbps": 0.0, "failure": "stalled", "evidence": evidence}
    return {"ok": True, "latency_us": latency, "mbps": _best(mbps, other, wish, fastest)}


def _best(mbps: float, other: Target, wish: Wish, fastest: float) -> float:
    """The best of several attempts where the first was doubtful; one that fails takes nothing back."""
    for _number in range(AGAIN if fastest else 1):
        if fastest and mbps >= DOUBTFUL_SHARE * fastest:
            break
        time.sleep(PAUSE_S)
        peer = wire.Peer(other.address, wish.port, other.name, wish.token)
        try:
            connection = wire.call(peer, wish.timeout)[0]
        except wire.Refusal:
            break
        try:
            mbps = max(mbps, _bandwidth(connection, other, wish)[1])
        except (OSError, ValueError):
            break
        finally:
            wire.hang_up(connection)
    return mbps


def _latency(connection: socket.socket, wish: Wish) -> float:
    """Microseconds one way: half the median of the round trips of small messages."""
    wire.ask(connection, "echo", wish.messages + ECHO_WARM, ECHO_BYTES)
    times, message, end = [], bytes(ECHO_BYTES), time.monotonic() + wish.timeout
    for _number in range(wish.messages + ECHO_WARM):
        connection.settimeout(max(0.001, end - time.monotonic()))
        started = time.perf_counter()
        connection.sendall(message)
        left = ECHO_BYTES
        while left > 0:
            data = connection.recv(left)
            if not data:
                raise OSError("the connection was closed")
            left -= len(data)
        times.append(time.perf_counter() - started)
    return round(statistics.median(times[ECHO_WARM:]) / 2 * 1e6, 1)


def _bandwidth(connection: socket.socket, other: Target, wish: Wish) -> tuple[int, float]:
    """(bytes that arrived, Mbit/s as the receiver counts them), over all streams. Raises OSError, ValueError."""
    peer = wire.Peer(other.address, wish.port, other.name, wish.token)
    more: list[socket.socket] = []
    try:
        for _number in range(wish.streams - 1):
            more.append(wire.call(peer, wish.timeout)[0])
        with concurrent.futures.ThreadPoolExecutor(max_workers=wish.streams) as pool:
            counts = list(pool.map(lambda stream: _pour(stream, wish), [connection, *more]))
    except wire.Refusal as refusal:
        raise OSError(refusal.evidence) from refusal
    finally:
        for stream in more:
            wire.hang_up(stream)
    rate = sum(taken * 8 / seconds / 1e6 for taken, seconds in counts)
    return sum(taken for taken, _seconds in counts), round(rate, 1)


def _pour(connection: socket.socket, wish: Wish) -> tuple[int, float]:
    """Send until the receiver tells what it got: (bytes, seconds). Raises OSError, ValueError."""
    size, end = max(1, wish.max_bytes // wish.streams), time.monotonic() + wish.seconds + wish.timeout
    wire.ask(connection, "push", size, wish.seconds)
    chunk, sent = memoryview(bytes(CHUNK_BYTES)), 0
    connection.setblocking(False)
    while sent < size:
        readable, writable, _none = select.select([connection], [connection], [], max(0.0, end - time.monotonic()))
        if readable:
            break
        if not writable:
            raise socket.timeout(f"no answer within {wish.seconds + wish.timeout:.0f} s")
        sent += connection.send(chunk[: size - sent])
    words = wire.read_line(connection, max(0.1, end - time.monotonic())).split(" ")
    if len(words) != 3 or words[0] != "got":
        raise ValueError(f"unexpected answer {words!r}")
    return int(words[1]), float(words[2])
