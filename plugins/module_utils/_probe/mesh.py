# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try ssh and TCP from one node to every other, and say what failed."""

from __future__ import annotations

import concurrent.futures
import os
import socket
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.ssh_options import Options
from ansible_collections.trainmesh.cluster.plugins.module_utils._fabric import netlink
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import path_mtu as mtu
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import protocol as wire
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import resolve as names
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import ssh_login as ssh

PORT_WORKERS = 16
# Seconds for the second look at all that failed; and which failures a crowd of logins can bring about.
AGAIN_S = 120.0
PORT_AGAIN_S, PORT_AGAIN_LIMIT_S = 60.0, 5.0
PORT_AGAIN_FAILURES = ("timeout", "no_route", "silent", "other")
AGAIN_FAILURES = ("closed", "timeout", "no_answer", "slow", "name", "not_met", "other")


class Target(t.NamedTuple):
    """A peer to try: its name and data address, the names ssh shall use, and the ports that listen there.

    ``addresses`` are all that it is known to have, beside ``address`` and the addresses in ``ssh_names``.
    """

    name: str
    address: str
    hostname: str
    ssh_names: t.Sequence[str]
    ports: t.Sequence[int]
    addresses: t.Sequence[str] = ()

    @property
    def known(self) -> frozenset[str]:
        """All addresses to which a name of the target may lead."""
        return frozenset([self.address, *self.addresses, *self.ssh_names])


class Wish(t.NamedTuple):
    """How to try: the own data address (empty when not known), the listeners' token, seconds a try, how to log in.

    ``options`` are those of the ssh client.
    """

    address: str
    token: str
    limit: float
    login: ssh.Wish
    options: Options

    def is_own(self, target: Target) -> bool:
        """Whether the target is this very node."""
        return target.address == self.address if self.address else target.hostname == socket.gethostname()


def try_login(target: Target, alias: str, wish: Wish) -> tuple[ssh.Login, str]:
    """One name of the target: resolve it, then log in; a name that leads elsewhere is not logged in to.

    The second value is the way that ssh takes, empty where it is not known.
    """
    started = time.monotonic()
    found = names.resolve(alias, target.known, target.address, wish.limit, wish.options)
    if found.failure:
        seconds = round(time.monotonic() - started, 2)
        result = {"ok": False, "failure": found.failure, "evidence": found.evidence, "seconds": seconds}
        login = ssh.Login({**result, "config_error": found.config_error} if found.config_error else result, None)
    else:
        login = ssh.log_in(alias, target.hostname, wish.login)
    return login._replace(result={**login.result, "addresses": found.addresses}), found.way


def try_logins(target: Target, wish: Wish) -> dict[str, ssh.Login]:
    """Each name of the target.

    Where a login by one name got no answer, another name that leads to the same place is not waited for again.
    """
    logins: dict[str, ssh.Login] = {}
    silent: dict[str, tuple[str, ssh.Login]] = {}
    for alias in target.ssh_names:
        for place, (other, known) in silent.items():
            if names.resolve(alias, target.known, target.address, wish.limit, wish.options).way == place:
                logins[alias] = known._replace(result={**known.result, "evidence": _as_by(other)})
        if alias in logins:
            continue
        logins[alias], way = try_login(target, alias, wish)
        if way and logins[alias].result["failure"] in ssh.SILENT:
            silent[way] = (alias, logins[alias])
    return logins


def _as_by(other: str) -> str:
    return f"leads where {other} leads: no answer"


class Again:
    """The second look at the end, alone and one by one: what failed in the crowd of all logins may be the crowd's."""

    def __init__(self, wish: Wish, seconds: float = AGAIN_S) -> None:
        self.wish, self.end = wish, time.monotonic() + seconds

    def look(self, target: Target, tried: t.Mapping[str, ssh.Login]) -> dict[str, ssh.Login]:
        """The logins to a target after the second look; where even one name is silent, so are its others."""
        found, silent = dict(tried), False
        for alias in [alias for alias, login in tried.items() if login.result["failure"] in AGAIN_FAILURES]:
            first = tried[alias].result
            if silent and first["failure"] in ssh.SILENT:
                continue
            if time.monotonic() > self.end:
                why = f"{first['evidence']}; there was no time to try it once more alone"
                found[alias] = tried[alias]._replace(result={**first, "failure": "not_met", "evidence": why})
                continue
            login = try_login(target, alias, self.wish)[0]
            silent = silent or login.result["failure"] in ssh.SILENT
            if first["failure"] == "slow" and login.result["seconds"] >= first["seconds"]:
                continue  # the better of two says what a login takes
            found[alias] = login._replace(result={**login.result, "first": f"{first['failure']}: {first['evidence']}"})
        return found


def try_tcp(target: Target, port: int, wish: Wish, burst: bool) -> tuple[dict[str, t.Any], dict[str, t.Any] | None]:
    """Connect and hear the greeting, with ``burst`` also what becomes of full-size packets both ways.

    Two bursts need two connections: one that has stalled says no more. The last one says good-bye.
    """
    started, peer = time.monotonic(), wire.Peer(target.address, port, target.name, wish.token)
    try:
        connection, seen = wire.call(peer, wish.limit)
    except wire.Refusal as refusal:
        failure, evidence = refusal.failure, refusal.evidence
        if wish.is_own(target) and failure in ("refused", "timeout", "silent") and not heard(wish, target):
            failure, evidence = "no_listener", f"{evidence}; the listener of this node does not answer it either"
        return _tcp_result(started, failure, evidence, None), None
    if wish.address and seen != wish.address and not _same_interface(seen, wish.address):
        evidence = f"{target.name} port {port} sees {seen}, while the data address here is {wish.address}"
        result = _tcp_result(started, "wrong_interface", evidence, seen)
    else:
        result = _tcp_result(started, "", "", seen)
    with connection:
        if not burst:
            _say_bye(connection, wish)
            return result, None
        limit = min(wish.limit, mtu.BURST_LIMIT_S)
        received = mtu.pull(connection, limit)
    return result, _push_back(peer, wish, received, limit)


def heard(wish: Wish, target: Target) -> bool:
    """Whether the listener of this node is there, asked past every firewall: without it a closed port says nothing."""
    try:
        wire.call_control(wish.token, target.name, wish.limit).close()
    except (OSError, ValueError):
        return False
    return True


def _same_interface(seen: str | None, address: str) -> bool:
    """Whether the peer sees another address of the data interface, such as a temporary one of IPv6 (RFC 8981)."""
    own = mtu.interface_of(seen)[0] if seen else ""
    return bool(own) and own == mtu.interface_of(address)[0]


def _tcp_result(started: float, failure: str, evidence: str, seen: str | None) -> dict[str, t.Any]:
    seconds = round(time.monotonic() - started, 3)
    return {"ok": not failure, "failure": failure, "evidence": evidence, "seconds": seconds, "seen_as": seen}


def _push_back(peer: wire.Peer, wish: Wish, received: int, limit: float) -> dict[str, t.Any] | None:
    """The other direction, on a connection of its own; None when that one does not come about."""
    try:
        connection, _seen = wire.call(peer, wish.limit)
    except wire.Refusal:
        return None
    with connection:
        sent = mtu.push(connection, limit)
        way = mtu.way_of(connection)
        _say_bye(connection, wish)
        if sent < wire.BURST_BYTES:
            wire.hang_up(connection)
    return mtu.refine(mtu.verdict(peer.name, way, received, sent, limit), peer.address, way)


def _say_bye(connection: socket.socket, wish: Wish) -> None:
    try:
        wire.ask(connection, "bye", wish.address or socket.gethostname())
    except OSError:
        pass  # the listener then ends with its time or when it is told to


def turned(targets: t.Sequence[Target], wish: Wish) -> list[Target]:
    """The targets from the one behind the own host on, so that the nodes do not all knock at the same door at once."""
    start = next((number + 1 for number, target in enumerate(targets) if wish.is_own(target)), 0)
    return [*targets[start:], *targets[:start]]


def try_ports(target: Target, wish: Wish) -> dict[str, t.Any]:
    """The ports of one target; bursts through the first port that answers."""
    burst: dict[str, t.Any] | None = None
    tcp = {}
    for port in target.ports:
        tcp[str(port)], found = try_tcp(target, port, wish, burst is None and not wish.is_own(target))
        burst = burst or found
    return {"tcp": tcp, "mtu": burst}


def ports_again(target: Target, found: dict[str, t.Any], wish: Wish, end: float) -> dict[str, t.Any]:
    """The ports of one target after a second try, alone, of what got no answer; one that stays silent ends it."""
    tcp, burst = dict(found["tcp"]), found["mtu"]
    shorter = wish._replace(limit=min(wish.limit, PORT_AGAIN_LIMIT_S))
    for port, first in found["tcp"].items():
        if first["failure"] not in PORT_AGAIN_FAILURES or time.monotonic() > end:
            continue
        result, more = try_tcp(target, int(port), shorter, burst is None and not wish.is_own(target))
        burst = burst or more
        if result["failure"] == first["failure"]:
            break
        tcp[port] = {**result, "first": f"{first['failure']}: {first['evidence']}"}
    return {"tcp": tcp, "mtu": burst}


def probe(targets: t.Sequence[Target], wish: Wish, workers: int) -> dict[str, t.Any]:
    """At most ``workers`` targets at a time: {name: {ssh: {alias: result}, tcp: {port: result}, mtu, session}}.

    Ports come first: they take no time, and the listeners wait for nobody who is held up by a login. All nodes do
    this at once, so that on average each has as many logins under way to it as one node has workers.
    """
    ordered = turned(targets, wish)
    with concurrent.futures.ThreadPoolExecutor(max_workers=PORT_WORKERS) as pool:
        ports = list(pool.map(lambda target: try_ports(target, wish), ordered))
    end = time.monotonic() + PORT_AGAIN_S
    ports = [ports_again(target, found, wish, end) for target, found in zip(ordered, ports)]
    with concurrent.futures.ThreadPoolExecutor(max_workers=at_once(workers)) as pool:
        logins = list(pool.map(lambda target: try_logins(target, wish), ordered))
    again = Again(wish)
    logins = [again.look(target, tried) for target, tried in zip(ordered, logins)]
    failed = [
        target.address
        for target, found, tried in zip(ordered, ports, logins)
        if not all(result["ok"] for result in (*found["tcp"].values(), *(login.result for login in tried.values())))
    ]
    hardware = neighbours(failed)
    return {
        target.name: {
            "ssh": {alias: login.result for alias, login in tried.items()},
            **found,
            "session": next((login.session for login in tried.values() if login.session), None),
            **({"neighbour": hardware[target.address]} if target.address in hardware else {}),
        }
        for target, found, tried in zip(ordered, ports, logins)
    }


def neighbours(addresses: t.Collection[str]) -> dict[str, str]:
    """The hardware addresses at which this node finds these, in its own network; without those that answer for more."""
    if not addresses:
        return {}
    try:
        found = netlink.parse_neighbours(netlink.dump(netlink.RTM_GETNEIGH))
    except OSError:
        return {}
    return {address: found[address] for address in addresses if address in found}


def at_once(workers: int) -> int:
    """Logins at a time: no more than asked for, and no more than the processors here can do in reasonable time."""
    return max(1, min(workers, max(2, len(os.sched_getaffinity(0)))))
