# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the controller's half of a module, and see what it hands to the node."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible.plugins.action import ActionBase

PLAN: dict[str, t.Any] = {
    "nodes": {
        f"node{number}": {
            "name": f"node{number}",
            "hostname": f"host{number}",
            "address": f"10.0.0.{number}",
            "addresses": [f"10.0.0.{number}", f"192.168.0.{number}"],
            "names": [f"host{number}", f"host{number}.internal"],
            "slots": 8,
            "interface": "eth0",
            "logs_in": number == 1,
        }
        for number in (1, 2, 3)
    },
    "master": {"address": "10.0.0.1", "port": 29500},
    "probe_ports": [29500, 61999],
    "probe_token": "5f3a",
    "unreached": [{"name": "node4", "addresses": ["10.0.0.4"], "port": 22}],
    "logins_at_once": 5,
}
LIVE = ("node1", "node2")


def run(
    monkeypatch: pytest.MonkeyPatch, action_class: t.Any, answer: dict[str, t.Any], **more: t.Any
) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """(the result, the arguments that the module got) on node2, which answers so.

    ``more`` are arguments of the task, and ``variables`` beside those of a run in which node3 was lost.
    """
    variables = more.pop("variables", {"trainmesh_plan": PLAN})
    action, seen = action_class.__new__(action_class), {}
    action._task = types.SimpleNamespace(args=more)

    def execute(module_args: dict[str, t.Any], **_rest: t.Any) -> dict[str, t.Any]:
        seen.update(module_args)
        return dict(answer)

    monkeypatch.setattr(ActionBase, "run", lambda *_args, **_words: {})
    monkeypatch.setattr(action, "_execute_module", execute)
    known = {"inventory_hostname": "node2", "ansible_play_hosts": list(LIVE)}
    return action.run(task_vars={**known, **variables}), seen
