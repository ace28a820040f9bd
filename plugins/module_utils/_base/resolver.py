# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of names, within a limit of time.

A resolver that does not answer holds getaddrinfo for many seconds and cannot be cancelled. So each
name is looked up in a thread of its own that nobody waits for beyond the limit; such a thread sleeps
in poll(), which the end of the process interrupts.
"""

from __future__ import annotations

import functools
import socket
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.line_check import is_loopback
from ansible_collections.trainmesh.cluster.plugins.module_utils._base.threads import Job, in_threads


def addresses_of(name: str, family: int = 0) -> list[str]:
    """The addresses of a name in the order of the resolver, each once. Raises OSError or UnicodeError."""
    found = socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)
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
    jobs: dict[str, Job] = {f"n{name}": functools.partial(addresses_of, name) for name in names if name}
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
