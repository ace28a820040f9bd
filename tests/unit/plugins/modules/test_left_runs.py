# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check runs that were left are ended, and told; in check mode they are told."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._jobs import left_runs as jobs_left_runs
from ansible_collections.trainmesh.cluster.plugins.modules import left_runs
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules

RUN = "check-20260102-030405-torchrun"


@pytest.fixture
def ended(monkeypatch):
    """What was ended; a process of it does not go."""
    calls = []
    monkeypatch.setattr(jobs_left_runs, "living", lambda: {RUN: [71, 72]})
    monkeypatch.setattr(jobs_left_runs, "end", lambda prefix, limit: calls.append((prefix, limit)) or ([RUN], [72]))
    return calls


def test_what_does_not_go_is_named(ended, capsys, monkeypatch):
    warned = []
    monkeypatch.setattr(left_runs.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    answer = modules.run(left_runs, capsys, prefix="/data/mesh", timeout=5)
    assert (answer["changed"], answer["runs"], answer["left"], ended) == (True, [RUN], [72], [("/data/mesh", 5)])
    assert len(warned) == 1 and RUN in warned[0] and "[72]" in warned[0]


def test_check_mode_ends_nothing(ended, capsys):
    answer = modules.run(left_runs, capsys, check=True)
    assert (answer["changed"], answer["runs"], answer["left"], ended) == (True, [RUN], [], [])
    assert answer["diff"] == {"before": f"{RUN}\n", "after": ""}


def test_a_node_without_a_run_has_no_change(capsys, monkeypatch):
    monkeypatch.setattr(jobs_left_runs, "end", lambda _prefix, _limit: ([], []))
    assert modules.run(left_runs, capsys)["changed"] is False


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(left_runs, monkeypatch)
