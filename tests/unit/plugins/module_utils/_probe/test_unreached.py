# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node knows of a machine that the controller can't reach."""

from __future__ import annotations

import socket
import time

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import command
from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import unreached


def ip(*states):
    """A stand-in for ip: each call gives the next state, the last one for ever."""
    left = list(states)

    def run(argv, limit):
        assert argv[:5] == ["ip", "-s", "neigh", "show", "to"]
        state = left.pop(0) if len(left) > 1 else left[0]
        used = "" if "/" in state else "used 0/0/0probes 1 "
        out = f"{argv[5]} dev eth0 lladdr 02:00:00:00:00:01 {used}{state}\n" if state else ""
        return command.Outcome(0, out, "", False, False, 0.01)

    return run


def test_a_port_that_answers_and_one_that_does_not():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert unreached.connect("127.0.0.1", port, 2) == "refused"
        server.listen()
        (row,) = unreached.look(unreached.Place("n3", ["127.0.0.1"], port), ip("REACHABLE"))
    assert row == {"address": "127.0.0.1", "port": port, "result": "open", "neighbour": None}


@pytest.mark.parametrize(
    ("states", "answers"),
    [
        (("REACHABLE",), True),
        (("DELAY", "PROBE", "REACHABLE"), True),
        (("INCOMPLETE", "FAILED"), False),
        (("STALE", "FAILED"), False),
        (("PERMANENT",), None),
        (("",), None),
        (("STALE",), None),
        (("used 3/31/9probes 1 REACHABLE", "used 3/46/9probes 1 STALE", "FAILED"), False),
        (("used 3/31/9probes 1 REACHABLE", "DELAY", "used 3/0/9probes 1 REACHABLE"), True),
        (("used 3/31/9probes 1 REACHABLE",), None),
    ],
)
def test_the_neighbour_entry_is_read_when_the_kernel_knows(monkeypatch, states, answers):
    monkeypatch.setattr(unreached, "PAUSE_S", 0.01)
    monkeypatch.setattr(unreached, "OLD_S", 0.2)
    tried = []
    asked = time.monotonic()
    assert unreached.neighbour("10.0.0.3", asked, lambda: tried.append(1), ip(*states), settle=0.1) is answers
    assert bool(tried) is ("used 3/31" in states[0]), "only an old entry needs another attempt"


def test_without_the_tool_nothing_is_claimed():
    def missing(argv, limit):
        return command.Outcome(None, "", "ip: not found", False, True, 0.0)

    assert unreached.neighbour("10.0.0.3", time.monotonic(), lambda: None, missing) is None


def test_nobody_to_look_at_costs_nothing():
    assert unreached.look_at_all([]) == {}
