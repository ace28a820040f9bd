# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured, and what is refused before anything is; test_mesh_probe.py measures for real."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._probe import link
from ansible_collections.trainmesh.cluster.plugins.modules import link_probe
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

TARGETS = [{"name": "a", "address": "127.0.0.1"}, {"name": "b", "address": "127.0.0.2"}]
ASKED = {"name": "a", "port": 29500, "token": "secret"}


@pytest.fixture
def probed(monkeypatch):
    calls = []
    monkeypatch.setattr(link, "probe", lambda targets, wish: calls.append((targets, wish)) or {"b": {"mbps": 1.0}})
    return calls


@pytest.mark.parametrize("check", [False, True])
def test_the_row_the_streams_and_how_busy_the_node_was(probed, capsys, check):
    answer = modules.run(link_probe, capsys, targets=TARGETS, check=check, **ASKED)
    assert (answer["changed"], answer["row"], answer["streams"]) == (False, {"b": {"mbps": 1.0}}, 1)
    assert answer["load"]
    (targets, wish) = probed[0]
    assert ([target.name for target in targets], wish.port) == (["a", "b"], 29500)
    assert modules.run(link_probe, capsys, targets=TARGETS, streams=6, **ASKED)["streams"] == 6


@pytest.mark.parametrize(
    ("targets", "word"),
    [
        ([*TARGETS, {"name": "c"}], "needs a name and an address"),
        ([{"name": "", "address": "127.0.0.1"}], "needs a name and an address"),
        (TARGETS[1:], "must contain this node, a"),
    ],
)
def test_targets_that_do_not_tell_who_is_who_are_refused(probed, capsys, targets, word):
    answer = modules.run(link_probe, capsys, targets=targets, **ASKED)
    assert answer["failed"] and word in answer["msg"] and probed == []


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(link_probe, monkeypatch)
