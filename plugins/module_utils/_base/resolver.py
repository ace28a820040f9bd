# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of a node and of its peers, resolved within a bound.

A resolver that does not answer holds getaddrinfo for many seconds and cannot be cancelled. So each
name is looked up in a thread of its own that nobody waits for beyond the limit; such a thread sleeps
in poll(), which the end of the process interrupts.
"""

from __future__ import annotations

import functools
import queue
import socket
import threading
import time
import typing as t

WORKERS = 64
Lookup = t.Callable[[], t.Any]


def in_threads(jobs: t.Mapping[str, Lookup], limit: float) -> dict[str, t.Any]:
    """Run all jobs at once for at most ``limit`` seconds; those that are late are missing from the result.

    An exception of a job is its result.
    """
    waiting: queue.SimpleQueue[tuple[str, Lookup]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, t.Any]] = queue.SimpleQueue()
    for item in jobs.items():
        waiting.put(item)

    def work() -> None:
        while True:
            try:
                name, job = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((name, job()))
            except Exception as error:  # a thread has nobody to raise to: the caller judges it
                done.put((name, error))

    for _count in range(min(WORKERS, len(jobs))):
        threading.Thread(target=work, daemon=True).start()
    results: dict[str, t.Any] = {}
    deadline = time.monotonic() + limit
    while len(results) < len(jobs):
        try:
            name, value = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        results[name] = value
    return results


def addresses_of(name: str) -> list[str]:
    """The addresses of a name in the order of the resolver, each once. Raises OSError or UnicodeError."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(address_text(item[4]) for item in found))


def address_text(name: tuple[t.Any, ...]) -> str:
    """The address of a socket name; an IPv6 link-local one with the interface that it is good for (fe80::1%eth0)."""
    scope = f"%{socket.if_indextoname(name[3])}" if len(name) == 4 and name[3] else ""
    return str(name[0]).split("%", 1)[0] + scope


def resolve(names: t.Iterable[str], limit: float) -> tuple[dict[str, dict[str, t.Any]], str | None]:
    """Resolve every name, and the own fully qualified name, as an ordinary program on the node would.

    Returns ({name: {addresses, loopback, error}}, fqdn or None). ``loopback`` is True when any of
    the addresses is one, which is what breaks a rendezvous (127.0.1.1 for the own name).
    """
    jobs: dict[str, Lookup] = {f"n{name}": functools.partial(addresses_of, name) for name in names if name}
    results = in_threads({"fqdn": socket.getfqdn, **jobs}, limit)
    answers: dict[str, dict[str, t.Any]] = {}
    for key in jobs:
        value = results.get(key)
        found = value if isinstance(value, list) else []
        error = None
        if key not in results:
            error = f"no answer within {limit:g} seconds"
        elif isinstance(value, Exception):
            error = getattr(value, "strerror", None) or str(value) or type(value).__name__
        answers[key[1:]] = {"addresses": found, "loopback": any(map(is_loopback, found)), "error": error}
    fqdn = results.get("fqdn")
    return answers, fqdn if isinstance(fqdn, str) and fqdn else None


def is_loopback(address: str) -> bool:
    """True for 127.0.0.0/8 and ::1, also when mapped."""
    return address.startswith(("127.", "::ffff:127.")) or address == "::1"


def parse_hosts(text: str) -> list[dict[str, t.Any]]:
    """The entries of a hosts file: ``line`` (from 1), ``address``, ``names``. Format: hosts(5)."""
    entries = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split("#", 1)[0].split()
        if len(fields) >= 2:
            entries.append({"line": number, "address": fields[0], "names": fields[1:]})
    return entries


def own_entries(entries: t.Iterable[dict[str, t.Any]], own: t.Collection[str]) -> list[dict[str, t.Any]]:
    """The entries that name this node (one of ``own``, any case) or a 127.0.0.0/8 address."""
    wanted = {name.lower() for name in own if name}
    return [
        entry
        for entry in entries
        if entry["address"].startswith("127.") or wanted.intersection(name.lower() for name in entry["names"])
    ]
