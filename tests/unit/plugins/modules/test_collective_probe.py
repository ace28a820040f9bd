# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probe is asked, and that nothing runs in check mode or for a wish that can't be met."""

from __future__ import annotations

import re

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._collective.probe import nothing
from ansible_collections.trainmesh.cluster.plugins.modules import collective_probe
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

NODES = [
    {"name": "gpu 1", "ssh_name": "gpu-1", "address": "10.0.0.1", "slots": 2},
    {"name": "b", "address": "10.0.0.2"},
]


@pytest.fixture
def asked(monkeypatch):
    """The wishes that the probe was started with."""
    wishes = []
    monkeypatch.setattr(collective_probe, "probe", lambda wish: wishes.append(wish) or {**nothing(wish), "ok": False})
    return wishes


def test_what_was_not_said_is_derived(asked, capsys):
    environment = {"NCCL_DEBUG": "INFO", "NCCL_IB_TIMEOUT": 22}
    launcher = "/data/mesh/bin/trainmesh-torchrun"
    answer = modules.run(collective_probe, capsys, nodes=NODES, launcher=launcher, environment=environment)
    (wish,) = asked
    assert [node.ssh_name for node in wish.nodes] == ["gpu-1", "b"]
    assert wish.script == "/data/mesh/share/probe_collective.py"
    assert re.match(r"check-\d{8}-\d{6}-collective\Z", wish.run_id)
    assert wish.environment == {"NCCL_DEBUG": "INFO", "NCCL_IB_TIMEOUT": "22"}
    assert (answer["failed"], answer["ok"]) == (False, False), "a sum that failed is a finding, the module did its work"


def test_check_mode_sums_nothing(asked, capsys):
    answer = modules.run(collective_probe, capsys, nodes=NODES, check=True)
    assert (answer["changed"], answer["ok"], answer["via"], asked) == (False, None, "ssh", [])
    assert "nothing was summed" in answer["skip_reason"]


@pytest.mark.parametrize("nodes", [[], [{**NODES[0], "slots": 0}]])
def test_no_node_and_no_slot_are_refused(asked, capsys, nodes):
    answer = modules.run(collective_probe, capsys, nodes=nodes)
    assert answer["failed"] and "at least one" in answer["msg"] and asked == []


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(collective_probe, monkeypatch)
