# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probes and their listeners say to each other.

Both sides prove that they know the run's token, which itself is never sent. Whoever connects is greeted with a nonce,
the listener's name and the address that it sees: ``trainmesh NONCE NAME SEEN``. The caller answers
``hello NONCE MAC``, the listener ``welcome MAC``. Then the caller may send requests, one line each:

``pull BYTES SECONDS``: send me that much; ``push BYTES SECONDS``: take what I send, then tell ``got BYTES SECONDS``;
``echo COUNT SIZE``: send back each message; ``turn SECONDS``: answer ``yours`` or ``busy``, one caller at a time;
``bye WHO``: WHO will not come back to this port; ``stop``: end at once (on the control socket only).
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import secrets
import socket
import struct
import time
import typing as t

LONGEST_LINE = 512
BURST_BYTES = 256 * 1024
# What connect(2) comes to. The last two are the kernel's answer to routes of the kinds blackhole and prohibit.
_FAILURES = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "no_route",
    errno.ENETUNREACH: "no_route",
    errno.ETIMEDOUT: "timeout",
    errno.EINVAL: "no_route",
    errno.EACCES: "no_route",
}


class Peer(t.NamedTuple):
    """A listener: where it is, its node's name, and the run's token."""

    address: str
    port: int
    name: str
    token: str


class Refusal(Exception):
    """A connection that did not come about: its kind, and what was seen."""

    def __init__(self, failure: str, evidence: str) -> None:
        super().__init__(evidence)
        self.failure = failure
        self.evidence = evidence


def proof(token: str, *words: str) -> str:
    """What only who knows the token can say of these words."""
    return hmac.new(token.encode(), " ".join(words).encode(), hashlib.sha256).hexdigest()


def admit(connection: socket.socket, token: str, name: str, seen: str, limit: float) -> bool:
    """The listener's side: greet, and let in who knows the token. Raises OSError, ValueError."""
    nonce = secrets.token_hex(16)
    connection.sendall(f"trainmesh {nonce} {name} {seen}\n".encode())
    words = read_line(connection, limit).split(" ")
    if len(words) != 3 or words[0] != "hello":
        return False
    if not hmac.compare_digest(words[2].encode(), proof(token, "caller", nonce, words[1], name, seen).encode()):
        return False
    connection.sendall(f"welcome {proof(token, 'listener', nonce, words[1], name, seen)}\n".encode())
    return True


def introduce(connection: socket.socket, token: str, name: str, limit: float) -> tuple[str, str]:
    """The caller's side: (how the listener sees us, ""), or ("", what was heard). Raises OSError, ValueError."""
    heard = read_line(connection, limit)
    words = heard.split(" ")
    if len(words) != 4 or words[0] != "trainmesh" or words[2] != name:
        return "", heard
    nonce, seen, own = words[1], words[3], secrets.token_hex(16)
    connection.sendall(f"hello {own} {proof(token, 'caller', nonce, own, name, seen)}\n".encode())
    answer = read_line(connection, limit)
    if hmac.compare_digest(answer.encode(), f"welcome {proof(token, 'listener', nonce, own, name, seen)}".encode()):
        return seen, ""
    return "", answer


def control_name(token: str, name: str) -> str:
    """The abstract unix socket of a node's listener: no file, gone with its process."""
    return "\0trainmesh-" + hashlib.sha256(f"control {token} {name}".encode()).hexdigest()[:24]


def read_line(connection: socket.socket, limit: float) -> str:
    """One line without its end, within ``limit`` seconds; empty when the other side has closed.

    Byte by byte, since bulk data may follow. Raises OSError (a time-out included), ValueError when there is no end.
    """
    deadline, heard = time.monotonic() + limit, bytearray()
    while len(heard) < LONGEST_LINE:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise socket.timeout("timed out")
        connection.settimeout(remaining)
        byte = connection.recv(1)
        if byte in (b"", b"\n"):
            return heard.decode("utf-8", "replace").strip()
        heard += byte
    raise ValueError(f"no end of line within {LONGEST_LINE} bytes: {bytes(heard[:60])!r}")


def explain(error: OSError, where: str, limit: float) -> Refusal:
    """The kind and the evidence of a failed connection."""
    if isinstance(error, (TimeoutError, socket.timeout)) and error.errno is None:
        return Refusal("timeout", f"{where}: no answer within {limit:.0f} s (packets dropped)")
    return Refusal(_FAILURES.get(error.errno or 0, "other"), f"{where}: {error.strerror} (errno {error.errno})")


def call(peer: Peer, limit: float) -> tuple[socket.socket, str]:
    """Connect and hear the greeting: the connection, and the address that the listener saw.

    Raises Refusal. The source address is left to the route, since that is what the jobs do too.
    """
    where = f"{peer.address} port {peer.port}"
    try:
        connection = socket.create_connection((peer.address, peer.port), limit)
    except OSError as error:
        raise explain(error, where, limit) from error
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seen, heard = introduce(connection, peer.token, peer.name, limit)
        if seen:
            return connection, seen
        said = repr(heard[:60]) if heard else "it closes the connection"
        refusal = Refusal("stranger", f"{where}: something else answers there: {said}")
    except OSError as error:
        refusal = explain(error, where, limit)
    except ValueError as error:
        refusal = Refusal("stranger", f"{where}: something else answers there: {error}")
    connection.close()
    if refusal.failure == "timeout":  # whoever drops packets does not let a connection come about
        refusal = Refusal("silent", f"{where}: connected, but nothing was said within {limit:.0f} s")
    raise refusal


def call_control(token: str, name: str, limit: float) -> socket.socket:
    """Connect to the listener of this very node, whatever its firewall says. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(limit)
        connection.connect(control_name(token, name))
        if not trusted(connection) or not introduce(connection, token, name, limit)[0]:
            raise OSError(errno.EPROTO, "another program has the listener's control socket")
    except (OSError, ValueError):
        connection.close()
        raise
    return connection


def trusted(control: socket.socket) -> bool:
    """Whether the other end of a unix socket is a process of this user or of root."""
    _pid, uid, _gid = struct.unpack("3i", control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid in (0, os.geteuid())


def ask(connection: socket.socket, *words: t.Any) -> None:
    """Send one request. Raises OSError."""
    connection.sendall(" ".join(str(word) for word in words).encode() + b"\n")


def hang_up(connection: socket.socket) -> None:
    """Close at once and drop what is still to be sent, so that it does not disturb what comes next."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    except OSError:
        pass  # already closed by the other side
    connection.close()
