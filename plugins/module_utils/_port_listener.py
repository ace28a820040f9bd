# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: short-lived listeners that greet the peers of a port probe."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import typing as t

# Runs on its own after the module has returned, with the standard library alone. It ends when every
# peer has called or its time is over, so that the ports are free for the jobs that follow.
_PROGRAM = r"""
import json, selectors, socket, sys, time
wish = json.loads(sys.argv[1])
greeting = ("trainmesh %s %s\n" % (wish["token"], wish["name"])).encode()
selector, problems = selectors.DefaultSelector(), {}
for port in wish["ports"]:
    try:
        family = socket.AF_INET6 if ":" in wish["address"] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((wish["address"], port))
        listener.listen(256)
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, port)
    except OSError as error:
        problems[str(port)] = [error.errno, error.strerror]
sys.stdout.write(json.dumps(problems) + "\n")
sys.stdout.flush()
sys.stdout.close()
left, deadline = wish["callers"] * (len(wish["ports"]) - len(problems)), time.monotonic() + wish["seconds"]
while left > 0 and time.monotonic() < deadline:
    for key, _events in selector.select(1):
        try:
            connection, _peer = key.fileobj.accept()
            connection.settimeout(2)
            connection.sendall(greeting)
            connection.close()
            left -= 1
        except OSError:
            pass
"""


class Wish(t.NamedTuple):
    """Where to listen, who greets with what token, how many peers will call on each port, and for how long."""

    address: str
    ports: t.Sequence[int]
    name: str
    token: str
    callers: int
    seconds: float


def start(wish: Wish, limit: float = 10.0) -> dict[int, tuple[int, str]]:
    """Start the listeners; returns the ports that could not be had, each with errno and text.

    Raises OSError when the listener can't be started or does not report within ``limit`` seconds.
    """
    process = subprocess.Popen(  # pylint: disable=ansible-bad-function # must outlive the module
        [sys.executable, "-c", _PROGRAM, json.dumps(wish._asdict())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    pipe = process.stdout
    ready = pipe is not None and select.select([pipe], [], [], limit)[0]
    line = os.read(pipe.fileno(), 65536) if pipe is not None and ready else b""
    if not line.strip():
        process.kill()
        raise OSError(f"the listener did not start within {limit:.0f} s")
    return {int(port): (problem[0], problem[1]) for port, problem in json.loads(line).items()}


__all__ = ("Wish", "start")
