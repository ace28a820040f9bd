# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that make embedded nodes."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes import steps
from ansible_collections.trainmesh.cluster.plugins.module_utils._local_nodes.docker import LocalNodesError


def test_a_missing_ssh_keygen_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "ensure_engine", lambda *_given, **_options: pytest.fail("made an engine"))
    monkeypatch.setattr(steps, "find_tool", lambda name: None if name == "ssh-keygen" else f"/bin/{name}")
    with pytest.raises(LocalNodesError, match="install openssh-client"):
        steps.STEPS["engine"]({}, apply=True)
