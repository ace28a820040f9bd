# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection of an ssh login, direct or through a proxy, within a bound."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import failures as words
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.failures import Stop
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight.ssh_config import Client

REFUSED, SILENT, NO_ROUTE = range(3)
# What ssh -W and nc say when the far side can't be had, and what it means.
PROXY_WORDS = (
    ("connection refused", words.refused),
    ("no route to host", words.no_route),
    ("network is unreachable", words.no_route),
    ("timed out", words.timeout),
    ("could not resolve", words.name),
    ("name or service not known", words.name),
)


class Clock:
    """The time that one host has, in seconds; ``stage`` is where it is spent just now."""

    def __init__(self, limit: float) -> None:
        self.limit, self.started, self.stage = limit, time.monotonic(), "client"

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def over(self) -> bool:
        """Whether the time of the host is spent."""
        return self.spent >= self.limit

    @property
    def left(self) -> float:
        """Seconds until the limit, never less than a blink: 0 would mean no limit to a socket."""
        return max(0.05, self.limit - self.spent)


@contextlib.contextmanager
def connection(client: Client, clock: Clock) -> t.Iterator[tuple[socket.socket, t.Callable[[], str]]]:
    """A socket to the host's sshd and a function that tells what a proxy said meanwhile; raises Stop."""
    if client.proxy:
        with _through(client.proxy) as (near, said):
            yield near, said
        return
    near = direct(client, clock)
    try:
        yield near, lambda: ""
    finally:
        near.close()


def direct(client: Client, clock: Clock) -> socket.socket:
    """Connect to the first address that takes it, as ssh does; raises Stop with what each address said."""
    clock.stage = "name"
    try:
        found = socket.getaddrinfo(client.hostname, client.port, client.family, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise words.name(client, str(error.args[-1] if error.args else error)) from None
    clock.stage = "tcp"
    seen: list[tuple[int, str]] = []
    for number, (family, kind, protocol, _name, address) in enumerate(found):
        share = clock.left / (len(found) - number)
        near = socket.socket(family, kind, protocol)
        near.settimeout(share)
        try:
            near.connect(address)
            return near
        except OSError as error:
            near.close()
            seen.append(_meaning(error, str(address[0]), share))
    sort = min(sort for sort, _text in seen)
    say = (words.refused, words.timeout, words.no_route)[sort]
    raise say(client, "; ".join(text for _sort, text in seen))


def _meaning(error: OSError, address: str, share: float) -> tuple[int, str]:
    """What an errno of connect says of the host, and the words for the report."""
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return SILENT, f"{address}: no answer within {share:.0f} s"
    name = errno.errorcode.get(error.errno or 0, "")
    sort = REFUSED if error.errno == errno.ECONNREFUSED else NO_ROUTE
    return sort, f"{address}: {error.strerror or error} ({name})"


@contextlib.contextmanager
def _through(command: str) -> t.Iterator[tuple[socket.socket, t.Callable[[], str]]]:
    """A proxy command on one end of a socket pair, as OpenSSH starts it; its end is seen at once, as an end of file."""
    near, far = socket.socketpair()
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}"],
        stdin=far.fileno(),
        stdout=far.fileno(),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    far.close()

    def said() -> str:
        """The last words of a proxy that has ended; one that still runs has said nothing final."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        if process.stderr is None:
            return ""
        os.set_blocking(process.stderr.fileno(), False)
        text = process.stderr.read(4096) or b""
        return " ".join(text.decode(errors="replace").split())[-200:]

    try:
        yield near, said
    finally:
        near.close()
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def silent(client: Client, error: str, proxy_said: str) -> Stop:
    """No ssh server answered; the proxy may give the reason."""
    # A server or jump host with many simultaneous connections rejects some (MaxStartups).
    crowded = not proxy_said or any(word in proxy_said.lower() for word in ("reset by", "closed by"))
    if not client.proxy:
        stop = words.banner(client, error)
        stop.again = True
        return stop
    for text, say in PROXY_WORDS:
        if text in proxy_said.lower():
            return say(client, f"the proxy says: {proxy_said}")
    stop = words.banner(client, f"the proxy says: {proxy_said or 'nothing'}; {error}")
    stop.cause = f"no ssh server of {client.hostname} answered through the jump host (ProxyJump or ProxyCommand)"
    stop.again = crowded
    stop.remedy = f"ssh {words.login(client)} by hand, with the same arguments; first log in to the jump host"
    return stop
