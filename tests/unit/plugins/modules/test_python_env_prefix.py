# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pwd

import pytest

from ansible_collections.trainmesh.cluster.plugins.modules import python_env


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_the_prefix_may_be_read_whatever_the_umask(tmp_path, umask):
    me = pwd.getpwuid(os.geteuid()).pw_name
    prefix = tmp_path / "opt" / "deep" / "trainmesh"
    params = {"prefix": str(prefix), "user": me, "kind": "conda", "python": "", "python_version": "3.11"}
    before = os.umask(umask)
    try:
        python_env.prepare(params, False)
    finally:
        os.umask(before)
    made = [tmp_path / "opt", tmp_path / "opt" / "deep", *(path for path in [prefix, *prefix.rglob("*")])]
    assert {path.stat().st_mode & 0o555 for path in made if path.is_dir()} == {0o555}
    assert {path.stat().st_mode & 0o444 for path in made if path.is_file()} == {0o444}
