# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short-lived listeners that greet the peers of a probe and serve its measurements."""

from __future__ import annotations

import collections
import errno
import os
import selectors
import socket
import sys
import threading
import time
import typing as t

from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import left_listeners
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import protocol as wire

# Strangers have a few places of their own, so that they can't take those of the nodes.
MAX_CONNECTIONS, MAX_STRANGERS = 512, 32
MAX_PULL_BYTES = 64 * 1024 * 1024
# No request is served for longer, whatever the caller asks for; a silent caller is left sooner.
MAX_SERVE_S, IDLE_S, DRAIN_S, TICK_S = 30.0, 10.0, 2.0, 0.2
FREE_S = 1.0


class Wish(t.NamedTuple):
    """Where to listen, as whom, with what token, how many peers will call on each port, and for how many seconds.

    ``peers`` are the addresses from which they call; none means that no address is known for a stranger's.
    A port closes when all its callers have said good-bye, ``link_port`` when link_probe has had its turns here: one
    with each of the other nodes, and one on each of them that this node asks its own listener for.
    """

    address: str
    ports: t.Sequence[int]
    name: str
    token: str
    callers: int
    seconds: float
    link_port: int = 0
    peers: t.Collection[str] = ()


class Turns:
    """First come, first served: one holder at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: collections.deque[object] = collections.deque()

    def take(self, seconds: float) -> object | None:
        """Wait at most ``seconds``; a ticket to give back, None when others were longer."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            if self._changed.wait_for(lambda: self._queue[0] is ticket, seconds):
                return ticket
            self._queue.remove(ticket)
            return None

    def give_back(self, ticket: object) -> None:
        """Let the next one have it."""
        with self._changed:
            self._queue.remove(ticket)
            self._changed.notify_all()


class Server:
    """Serves until every port is done with, somebody says stop, or the time is over."""

    def __init__(self, wish: Wish, listeners: t.Mapping[int, socket.socket], control: socket.socket) -> None:
        self._wish, self._listeners, self._control = wish, dict(listeners), control
        self._deadline = time.monotonic() + wish.seconds
        self._gone: dict[int, set[str]] = {port: set() for port in listeners}
        self._turns, self._turns_over = Turns(), collections.deque[object]()
        self._nodes = threading.Semaphore(MAX_CONNECTIONS)
        self._strangers = threading.Semaphore(MAX_STRANGERS)
        self._threads: list[threading.Thread] = []
        self._stop, self._closed = threading.Event(), threading.Event()

    def run(self) -> None:
        """Accept callers, each served by a thread of its own; returns when the ports are free again."""
        with selectors.DefaultSelector() as selector:
            for port, listener in [(0, self._control), *self._listeners.items()]:
                selector.register(listener, selectors.EVENT_READ, port)
            while self._listeners and not self._stop.is_set() and time.monotonic() < self._deadline:
                for key, _events in selector.select(TICK_S):
                    self._accept(t.cast(socket.socket, key.fileobj), key.data)
                for port in [port for port in self._listeners if self._done(port)]:
                    selector.unregister(self._listeners[port])
                    self._listeners.pop(port).close()
        for listener in (self._control, *self._listeners.values()):
            listener.close()
        self._closed.set()
        last = time.monotonic() + (1.0 if self._stop.is_set() else IDLE_S)
        for thread in self._threads:
            thread.join(max(0.0, last - time.monotonic()))

    def _done(self, port: int) -> bool:
        if port == self._wish.link_port:
            return self._wish.callers > 1 and len(self._turns_over) >= 2 * (self._wish.callers - 1)
        return len(self._gone[port]) >= self._wish.callers

    def _accept(self, listener: socket.socket, port: int) -> None:
        try:
            connection, peer = listener.accept()
        except OSError:
            return  # gone again before it was accepted
        seen = peer[0] if port else "control"
        planned = not port or not self._wish.peers or seen in self._wish.peers
        places = self._nodes if planned else self._strangers
        if not (port or wire.trusted(connection)) or not places.acquire(blocking=False):
            connection.close()
            return
        thread = threading.Thread(target=self._serve, args=(connection, seen, port, places), daemon=True)
        self._threads = [*(other for other in self._threads if other.is_alive()), thread]
        thread.start()

    def _serve(self, connection: socket.socket, seen: str, port: int, places: threading.Semaphore) -> None:
        """Let in who knows the token, then answer one request after the other; a turn ends with its connection."""
        tickets: list[object] = []
        try:
            with connection:
                connection.settimeout(IDLE_S)
                if port:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                known = wire.admit(connection, self._wish.token, self._wish.name, seen, IDLE_S)
                while known and self._answer(connection, wire.read_line(connection, IDLE_S).split(" "), port, tickets):
                    pass
        except (OSError, ValueError, LookupError):
            pass  # whoever calls sees it at the other end, and says so
        finally:
            for ticket in tickets:
                self._turns.give_back(ticket)
            self._turns_over.extend(tickets)
            places.release()

    def _answer(self, connection: socket.socket, words: list[str], port: int, tickets: list[object]) -> bool:
        """Serve one request; whether another may follow. Raises OSError, or LookupError and ValueError on a bad one."""
        if words[0] == "bye" and port:
            self._gone[port].add(words[1])
        elif words[0] == "stop" and not port:
            self._stop.set()
            self._closed.wait(IDLE_S)
            connection.sendall(b"stopped\n")
        elif words[0] == "turn":
            ticket = self._turns.take(min(float(words[1]), self._wish.seconds))
            (tickets if ticket else self._turns_over).append(ticket or object())
            connection.sendall(b"yours\n" if ticket else b"busy\n")
        else:
            return _SERVICES[words[0]](connection, int(words[1]), float(words[2]))
        return True


def _pull(connection: socket.socket, size: int, seconds: float) -> bool:
    connection.settimeout(min(seconds, MAX_SERVE_S))
    connection.sendall(bytes(min(size, MAX_PULL_BYTES)))
    return True


def _push(connection: socket.socket, size: int, seconds: float) -> bool:
    """Count what comes, from the request on: the time of a stalled beginning belongs to it.

    When the time is over first, what is still under way is thrown away until the caller hangs up.
    """
    started, taken, buffer = time.monotonic(), 0, bytearray(256 * 1024)
    limit, elapsed = min(seconds, MAX_SERVE_S), 0.0
    while taken < size and elapsed < limit:
        connection.settimeout(max(0.001, limit - elapsed))
        try:
            count = connection.recv_into(buffer, min(len(buffer), size - taken))
        except socket.timeout:
            count = -1
        elapsed = time.monotonic() - started
        if count <= 0:
            break
        taken += count
    connection.settimeout(IDLE_S)
    connection.sendall(f"got {taken} {max(elapsed, 1e-6):.6f}\n".encode())
    last = time.monotonic() + DRAIN_S
    while taken < size and time.monotonic() < last and connection.recv_into(buffer):
        pass
    return taken >= size


def _echo(connection: socket.socket, count: int, size: float) -> bool:
    connection.settimeout(IDLE_S)
    whole = min(int(size), 65536)
    for _number in range(min(count, 10000)):
        left = whole
        while left > 0:
            data = connection.recv(left)
            if not data:
                raise OSError("closed in the midst of a message")
            left -= len(data)
        connection.sendall(bytes(whole))
    return True


_SERVICES: dict[str, t.Callable[[socket.socket, int, float], bool]] = {"pull": _pull, "push": _push, "echo": _echo}


def _bind(wish: Wish) -> tuple[dict[int, socket.socket], dict[int, tuple[int, str]]]:
    """The listening sockets, and the ports that could not be had with errno and text."""
    listeners, problems = {}, {}
    for port in wish.ports:
        listener = socket.socket(socket.AF_INET6 if ":" in wish.address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((wish.address, port))
            listener.listen(256)
            listener.setblocking(False)
            listeners[port] = listener
        except OSError as error:
            listener.close()
            problems[port] = (error.errno or 0, error.strerror or str(error))
    return listeners, problems


def start(wish: Wish) -> dict[int, tuple[int, str]]:
    """Start the listeners; returns the ports that could not be had, each with errno and text.

    A listener with the same name and token that a broken run left behind is ended first, and then one with
    another token that holds a port. Raises OSError when that can't be done or no process can be started.
    """
    stop(wish.token, wish.name)
    listeners, problems = _bind(wish)
    taken = [port for port, (number, _text) in problems.items() if number == errno.EADDRINUSE]
    if taken:
        left_listeners.end(taken)
    deadline = time.monotonic() + FREE_S  # the kernel frees a port a moment after its process is gone
    while taken and time.monotonic() < deadline:
        for listener in listeners.values():
            listener.close()
        listeners, problems = _bind(wish)
        taken = [port for port, (number, _text) in problems.items() if number == errno.EADDRINUSE]
        time.sleep(0.05 if taken else 0)
    if not listeners:
        return problems
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.bind(wire.control_name(wish.token, wish.name))
        control.listen(16)
        control.setblocking(False)
        _detach(lambda: Server(wish, listeners, control).run(), {sock.fileno() for sock in listeners.values()}, control)
    for listener in listeners.values():
        listener.close()
    return problems


def stop(token: str, name: str, limit: float = 15.0) -> bool:
    """End the listener of this node and wait until its ports are free; False when there is none. Raises OSError."""
    try:
        with wire.call_control(token, name, limit) as control:
            wire.ask(control, "stop")
            return wire.read_line(control, limit) == "stopped"
    except (ConnectionRefusedError, FileNotFoundError, ConnectionResetError):
        return False  # it has ended by itself


def _detach(serve: t.Callable[[], None], keep: set[int], control: socket.socket) -> None:
    """Run ``serve`` in a process that outlives the module, with the open files ``keep`` and none of the others.

    A fork without exec: the code is in memory already, while Ansible removes its file when the module returns.
    Raises OSError.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            _close_all_but(keep | {control.fileno()})
            serve()
    finally:
        os._exit(0)


def _close_all_but(keep: set[int]) -> None:
    """Ansible and ssh wait for whoever holds their pipes; the standard streams become /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one that listed the folder
