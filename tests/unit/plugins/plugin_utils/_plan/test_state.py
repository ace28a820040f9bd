# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import state


def test_a_save_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "cluster.json"
    state.save(str(path), "old\n")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        state.save(str(path), "new\n")
    assert [name.name for name in tmp_path.iterdir()] == ["cluster.json"] and path.read_text() == "old\n"


def test_the_state_file_is_for_its_owner_only(tmp_path):
    path = tmp_path / "state" / "cluster.json"
    state.save(str(path), "new\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
