# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node knows of a machine that the controller can't reach.

Whether its ssh port answers here, and whether the machine answers at all: its neighbour entry tells that even
where a firewall keeps every port shut.
"""

from __future__ import annotations

import concurrent.futures
import errno
import functools
import re
import socket
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command

CONNECT_S, SETTLE_S, PAUSE_S, WORKERS = 3.0, 10.0, 0.5, 32
# An entry stays REACHABLE for up to 45 s after the last answer: what died a moment ago still looks alive.
OLD_S = 45.0
# States that still wait for an answer; the kernel makes REACHABLE or FAILED of them within seconds.
_WAITING = frozenset({"INCOMPLETE", "DELAY", "PROBE", "STALE"})
_STATE = re.compile(r"(?:^|\s)(REACHABLE|STALE|DELAY|PROBE|INCOMPLETE|FAILED|PERMANENT|NOARP)\s*$", re.MULTILINE)
_CONFIRMED = re.compile(r" used \d+/(\d+)/\d+")  # seconds since the last answer

Runner = t.Callable[..., command.Outcome]


class Place(t.NamedTuple):
    """A machine that the controller could not reach: the addresses it may have, and the port of its ssh server."""

    name: str
    addresses: t.Sequence[str]
    port: int


def connect(address: str, port: int, limit: float) -> str:
    """``open``, ``refused``, ``no_route``, ``timeout``, ``name`` or ``other``."""
    try:
        with socket.create_connection((address, port), limit):
            return "open"
    except socket.gaierror:
        return "name"
    except socket.timeout:
        return "timeout"
    except OSError as error:
        known = {errno.ECONNREFUSED: "refused", errno.EHOSTUNREACH: "no_route", errno.ENETUNREACH: "no_route"}
        return known.get(error.errno or 0, "timeout" if error.errno == errno.ETIMEDOUT else "other")


def neighbour(
    address: str, asked: float, again: t.Callable[[], t.Any], run: Runner = command.run, settle: float = SETTLE_S
) -> bool | None:
    """Whether the machine answers on this node's own network; None when that is not known, as behind a router.

    ``asked`` is when an attempt to connect began (monotonic), which makes the kernel ask for its hardware address; an
    older answer does not count. ``again`` is another attempt, for an entry that has to grow old first.
    """
    deadline = asked + settle
    while True:
        outcome = run(["ip", "-s", "neigh", "show", "to", address], 5)
        match = _STATE.search(outcome.out) if outcome.ok else None
        if not match or match[1] in ("PERMANENT", "NOARP"):
            return None
        if match[1] == "REACHABLE":
            confirmed = _CONFIRMED.search(outcome.out)
            if not confirmed or int(confirmed[1]) <= time.monotonic() - asked:
                return True
            deadline = max(deadline, asked + OLD_S)
            again()
        elif match[1] not in _WAITING:
            return False
        if time.monotonic() >= deadline:
            return None
        time.sleep(PAUSE_S)


def look(place: Place, run: Runner = command.run, limit: float = CONNECT_S) -> list[dict[str, t.Any]]:
    """What each address shows: ``address``, ``port``, ``result`` as of connect and ``neighbour``."""
    rows = []
    for address in place.addresses:
        asked = time.monotonic()
        result = connect(address, place.port, limit)
        again = functools.partial(connect, address, place.port, PAUSE_S)
        answers = neighbour(address, asked, again, run) if result in ("timeout", "no_route", "other") else None
        rows.append({"address": address, "port": place.port, "result": result, "neighbour": answers})
    return rows


def look_at_all(places: t.Sequence[Place], run: Runner = command.run) -> dict[str, list[dict[str, t.Any]]]:
    """All of them at once, ``{name: rows}``."""
    if not places:
        return {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=WORKERS) as pool:
        rows = list(pool.map(lambda place: look(place, run), places))
    return {place.name: found for place, found in zip(places, rows)}
