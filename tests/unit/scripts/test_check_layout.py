# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of scripts/check_layout.py: which faults of layout it names."""

from __future__ import annotations

import ast
import importlib.util
import pathlib
import types

import pytest


def load(name: str) -> types.ModuleType:
    """A script as a module: scripts/ is not a package."""
    path = pathlib.Path(__file__).resolve().parents[3] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


layout = load("check_layout")


@pytest.mark.parametrize("start", [[], ["#!/usr/bin/env bash"]])
def test_the_header_may_follow_a_shebang_only(start: list[str]) -> None:
    assert layout.header_fault([*start, *layout.HEADER, "more"]) is None
    assert layout.header_fault([*start, "", *layout.HEADER]) is not None
    assert layout.header_fault(start) is not None


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("import json", True),
        ("from collections.abc import Mapping", True),
        ("from ansible.module_utils.basic import AnsibleModule", True),
        (f"from {layout.OURS}.plugins.module_utils._bounded import run", True),
        ("import yaml", False),
        (f"from {layout.OURS}.plugins.plugin_utils._model import Node", False),
        ("from ansible.errors import AnsibleError", False),
    ],
)
def test_code_for_the_nodes_imports_only_what_a_node_has(line: str, good: bool) -> None:
    assert list(layout.import_faults(ast.parse(line))) is not good


def test_shared_code_is_private_by_name() -> None:
    assert list(layout.python_faults(pathlib.Path("plugins/plugin_utils/model.py"), ""))
    assert not list(layout.python_faults(pathlib.Path("plugins/plugin_utils/_model.py"), ""))
    assert not list(layout.python_faults(pathlib.Path("plugins/modules/gpu_facts.py"), ""))
