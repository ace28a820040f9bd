# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module hands each step its options, and its check mode."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import LocalNodesError
from ansible_collections.trainmesh.cluster.plugins.modules import docker_nodes
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented, modules


@pytest.mark.parametrize("check", [False, True])
def test_check_mode_does_not_apply(capsys, monkeypatch, check):
    seen = []
    monkeypatch.setitem(
        docker_nodes.STEPS, "status", lambda params, *, apply: seen.append((params["cluster"], apply)) or {"hosts": []}
    )
    assert modules.run(docker_nodes, capsys, step="status", cluster="mine", check=check)["hosts"] == []
    assert seen == [("mine", not check)]


def test_what_a_step_warns_of_is_no_part_of_the_answer(capsys, monkeypatch):
    warned = []
    monkeypatch.setattr(docker_nodes.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    monkeypatch.setitem(docker_nodes.STEPS, "status", lambda _params, *, apply: {"warnings": ["few inotify instances"]})
    assert "warnings" not in modules.run(docker_nodes, capsys, step="status")
    assert warned == ["few inotify instances"]


def test_a_step_that_fails_says_why(capsys, monkeypatch):
    def fail(_params, *, apply):
        raise LocalNodesError("the disk of the engine is full")

    monkeypatch.setitem(docker_nodes.STEPS, "engine", fail)
    answer = modules.run(docker_nodes, capsys, step="engine")
    assert (answer["failed"], answer["msg"]) == (True, "the disk of the engine is full.")


@pytest.mark.parametrize(("step", "lacks"), [("image", "recipe"), ("nodes", "images"), ("setup", "public_key")])
def test_a_step_without_what_it_needs_is_refused(capsys, step, lacks):
    answer = modules.run(docker_nodes, capsys, step=step)
    assert answer["failed"] and lacks in answer["msg"]


def test_the_options_are_those_of_the_documentation(monkeypatch):
    documented.check(docker_nodes, monkeypatch)
