# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a listener is refused, and its end where there is none; test_mesh_probe.py listens for real."""

from __future__ import annotations

import secrets

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import listener
from ansible_collections.trainmesh.cluster.plugins.modules import port_listener
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

TOKEN = secrets.token_hex(8)
START = {"address": "127.0.0.1", "ports": [29500], "callers": 1}


@pytest.fixture
def started(monkeypatch):
    wishes = []
    monkeypatch.setattr(listener, "start", lambda wish: wishes.append(wish) or {29500: (98, "in use by python[71]")})
    return wishes


def test_ports_that_are_taken_are_told_by_number(started, capsys):
    answer = modules.run(port_listener, capsys, name="a", token=TOKEN, **START)
    assert (answer["changed"], answer["problems"]) == (False, {"29500": [98, "in use by python[71]"]})
    assert (started[0].name, started[0].ports) == ("a", [29500])


@pytest.mark.parametrize("wrong", [{"name": "a b"}, {"token": "a b"}])
def test_blanks_would_be_two_words_to_a_caller(started, capsys, wrong):
    answer = modules.run(port_listener, capsys, **{"name": "a", "token": TOKEN, **START, **wrong})
    assert answer["failed"] and "blanks" in answer["msg"] and started == []


@pytest.mark.parametrize("lacks", sorted(START))
def test_a_listener_needs_an_address_ports_and_callers(started, capsys, lacks):
    given = {name: value for name, value in START.items() if name != lacks}
    answer = modules.run(port_listener, capsys, name="a", token=TOKEN, **given)
    assert answer["failed"] and lacks in answer["msg"] and started == []


def test_where_no_listener_is_none_is_stopped(capsys):
    answer = modules.run(port_listener, capsys, state="stopped", name="a", token=TOKEN)
    assert (answer["changed"], answer["stopped"]) == (False, False)


def test_a_listener_that_can_not_be_made_says_why(capsys, monkeypatch):
    def fail(_wish):
        raise OSError("no more processes")

    monkeypatch.setattr(listener, "start", fail)
    answer = modules.run(port_listener, capsys, name="a", token=TOKEN, **START)
    assert answer["failed"] and "the ports of a" in answer["msg"] and "no more processes" in answer["msg"]


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(port_listener, monkeypatch)
