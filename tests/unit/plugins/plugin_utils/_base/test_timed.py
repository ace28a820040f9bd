# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base import alike
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base import timed

EXPECTED = {f"n{number}": (f"n{number}", f"10.0.0.{number}") for number in range(1, 6)}


def tried(name, address, seconds=0.2, **more):
    ssh = {name: {"ok": True, "failure": "", "evidence": "", "seconds": seconds, "addresses": [address]}}
    return {"ssh": ssh, "tcp": {"29500": {"ok": True, "seconds": 1e-05, "seen_as": "10.0.0.9"}}, "mtu": None, **more}


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"n2": tried("n2", "10.0.0.2", session={"path": "/bin"})},
        {"n2": tried("n2", "10.0.0.2", session={"path": '"seconds": 7', "a": "<seconds>"})},
        {"n2": tried("n2", "10.0.0.7"), "n4": {"ssh": {}, "tcp": {}}, "stranger": tried("n1", "10.0.0.1")},
    ],
)
def test_rows_with_times_are_alike_but_for_these(odd):
    given = {name: tried(*own, seconds=number / 7) for number, (name, own) in enumerate(EXPECTED.items())}
    rest, common = alike.fold_timed({**given, **odd}, EXPECTED)
    assert rest == odd and {*common["seconds"]} == {*given} - {*odd}
    assert {**timed.restored(common, EXPECTED), **rest} == {**given, **odd}


@pytest.mark.parametrize(
    "change",
    [
        {"form": "{"},
        {"form": '{"a": ' + "[" * 100},
        {"form": '{"<seconds>": "<name>"}'},
        {"form": '{"a": NaN1}'},
        {"seconds": {"n1": []}},
        {"seconds": {"n1": [1, 2, 3]}},
        {"seconds": {"n1": ["x", 1]}},
        {"seconds": {"elsewhere": [1, 2]}},
        {"seconds": [1]},
    ],
)
def test_times_that_no_node_of_ours_tells_are_refused(change):
    _rest, common = alike.fold_timed({name: tried(*own) for name, own in EXPECTED.items()}, EXPECTED)
    with pytest.raises(ValueError):
        timed.restored({**common, **change}, EXPECTED)


def test_what_is_the_same_in_all_rows_is_there_once():
    given = {name: tried(*own, session={"path": "/bin"}) for name, own in EXPECTED.items()}
    _rest, common = alike.fold_timed(given, EXPECTED)
    rows = timed.restored(common, EXPECTED)
    assert rows["n1"]["session"] is rows["n2"]["session"] and rows["n1"]["ssh"] is not rows["n2"]["ssh"]
