# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import alike

EXPECTED = {f"n{number}": (f"n{number}", f"10.0.0.{number}") for number in range(1, 6)}


def resolved(*addresses, error=None):
    return {"addresses": list(addresses), "loopback": False, "error": error}


def rows(**odd):
    return {**{name: resolved(own[1]) for name, own in EXPECTED.items()}, **odd}


def whole(given):
    """What fold() leaves, put together again."""
    odd, common = alike.fold(given, EXPECTED)
    rest = alike.restored(common["form"], EXPECTED) if common else {}
    return {**{name: row for name, row in rest.items() if name not in common["without"]}, **odd}


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"n3": resolved("10.0.0.9")},
        {"n3": resolved(error="Name or service not known")},
        {"n3": resolved("10.0.0.3", "10.1.0.3")},
        {"n1": resolved("n1")},
        {"n2": resolved("<name>")},
        {"n2": resolved("<address>", 'a "10.0.0.2" in quotes', "\\")},
        {"stranger": resolved("10.0.0.1")},
        {"n4": resolved(*map(str, range(500)))},
    ],
)
def test_what_is_odd_is_spelled_out_and_nothing_is_lost(odd):
    assert whole(rows(**odd)) == rows(**odd)
    assert alike.fold(rows(**odd), EXPECTED)[0] == odd


def test_what_has_no_row_gets_none():
    given = rows()
    del given["n2"], given["n5"]
    assert whole(given) == given and alike.fold(given, EXPECTED)[0] == {}
    assert alike.fold({}, EXPECTED) == ({}, None)


def test_rows_that_name_the_nodes_themselves_are_alike_too():
    given = {name: {"hostname": name, "port": 22} for name in EXPECTED}
    assert whole(given) == given and alike.fold(given, EXPECTED)[0] == {}


def test_a_peer_that_is_an_address_leads_to_itself():
    peers = alike.by_peer(["192.0.2.1", "n2.example.org", "2001:db8::1"], ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    found = {"192.0.2.1": "192.0.2.1", "n2.example.org": "10.0.0.2", "2001:db8::1": "2001:db8::1"}
    assert peers == {peer: (peer, address) for peer, address in found.items()}


@pytest.mark.parametrize("form", ["{", "", "[" * 600, json.dumps("x" * 3000)])
def test_a_form_that_no_node_of_ours_makes_is_refused(form):
    with pytest.raises(ValueError):
        alike.restored(form, EXPECTED)
