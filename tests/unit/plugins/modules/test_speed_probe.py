# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module asks, and that nothing is loaded in check mode."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._speed.probe import Wish, empty
from ansible_collections.trainmesh.cluster.plugins.modules import speed_probe
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules


@pytest.fixture
def asked(monkeypatch):
    wishes = []
    monkeypatch.setattr(speed_probe, "probe", lambda wish: wishes.append(wish) or {**empty(wish), "seconds": 4.2})
    return wishes


def test_the_answer_is_the_speed(asked, capsys):
    answer = modules.run(speed_probe, capsys, device="cpu", python="/data/env/bin/python")
    assert (answer["changed"], answer["speed"]["seconds"]) == (False, 4.2)
    assert asked == [Wish("/data/env/bin/python", "cpu", "fp16", 0.0)]


def test_check_mode_measures_nothing(asked, capsys):
    answer = modules.run(speed_probe, capsys, check=True)
    assert (answer["speed"]["reason"], asked) == ("check mode measures nothing", [])


def test_a_negative_limit_is_refused_before_anything_is_loaded(asked, capsys):
    answer = modules.run(speed_probe, capsys, timeout=-1)
    assert answer["failed"] and "0 or more seconds" in answer["msg"] and asked == []


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(speed_probe, monkeypatch)
