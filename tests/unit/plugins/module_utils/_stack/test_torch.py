# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages as their files describe them."""

from __future__ import annotations

import pathlib

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.procfs import Tree
from ansible_collections.trainmesh.cluster.plugins.module_utils._stack import torch


def test_code_that_says_another_version_than_its_metadata(tmp_path: pathlib.Path) -> None:
    for name, text in {
        "accelerate/__init__.py": '# Copyright\n__version__ = "0.30.1"\n',
        "torch/version.py": "__version__ = '2.13.0+cu126'\n",
        "transformers/__init__.py": "x = 1\n",
        "numpy/version.py": 'version = "2.4.6"\n',
    }.items():
        path = tmp_path / "s" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    versions = {"accelerate": "1.15.0", "torch": "2.13.0", "transformers": "5.0", "numpy": "2.4.6", "triton": None}
    found = torch.code_versions(Tree(str(tmp_path)), ["/s"], versions)
    assert found == [{"name": "accelerate", "version": "0.30.1", "path": "/s/accelerate/__init__.py"}]
