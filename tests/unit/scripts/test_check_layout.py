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
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[3]


def load(name: str) -> types.ModuleType:
    """A script as a module: scripts/ is not a package."""
    path = ROOT / "scripts" / f"{name}.py"
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


def test_files_without_a_header_have_the_same_owner_and_licence() -> None:
    """REUSE.toml speaks for them."""
    (rest,) = tomllib.loads((ROOT / "REUSE.toml").read_text())["annotations"]
    assert rest["path"] == "**"
    assert layout.HEADER[0] == f"# Copyright: (c) {rest['SPDX-FileCopyrightText']}"
    name = "SPDX-License-Identifier"
    assert layout.HEADER[2] == f"# {name}: {rest[name]}"
    assert (ROOT / "LICENSES" / f"{rest[name]}.txt").samefile(ROOT / "LICENSE")


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("import json", True),
        ("from collections.abc import Mapping", True),
        ("from ansible.module_utils.basic import AnsibleModule", True),
        (f"from {layout.OURS}.plugins.module_utils._base.command import run", True),
        ("import yaml", False),
        (f"from {layout.OURS}.plugins.plugin_utils._base.model import Node", False),
        ("from ansible.errors import AnsibleError", False),
    ],
)
def test_code_for_the_nodes_imports_only_what_a_node_has(line: str, good: bool) -> None:
    assert (list(layout.import_faults(ast.parse(line), *layout.MODULES)) == []) is good


def test_the_command_on_the_nodes_imports_only_itself_and_the_standard_library() -> None:
    path = layout.COMMAND / "run.py"
    assert list(layout.python_faults(path, "import json\nfrom trainmesh.words import encode\n")) == []
    (fault,) = layout.python_faults(path, f"from {layout.OURS}.plugins.module_utils._base.command import run\n")
    assert fault.startswith("line 1: imports")


@pytest.mark.parametrize(
    ("path", "line", "good"),
    [
        ("plugins/plugin_utils/_plan/cluster.py", "", True),
        ("plugins/plugin_utils/_cluster.py", "", False),
        ("plugins/plugin_utils/plan/cluster.py", "", False),
        ("plugins/modules/gpu_facts.py", "", True),
        ("plugins/plugin_utils/_plan/cluster.py", "plugin_utils._base.model import Node", True),
        ("plugins/plugin_utils/_plan/cluster.py", "plugin_utils._plan import nodes", True),
        ("plugins/plugin_utils/_plan/cluster.py", "module_utils._base.secrets import masked", True),
        ("plugins/plugin_utils/_plan/cluster.py", "plugin_utils._report import data", False),
        ("plugins/module_utils/_gpu/facts.py", "module_utils._fabric import facts", False),
        ("plugins/module_utils/_fabric/facts.py", "module_utils._gpu.machine import Machine", True),
    ],
)
def test_shared_code_lies_in_folders_that_lean_one_way(path: str, line: str, good: bool) -> None:
    text = f"from {layout.OURS}.plugins.{line}\n" if line else ""
    assert (not list(layout.python_faults(pathlib.Path(path), text))) is good


def test_every_module_and_action_has_a_test_file_of_its_name(tmp_path: pathlib.Path) -> None:
    for name in ("modules/a", "modules/b", "action/b", "doc_fragments/c"):
        (tmp_path / "plugins" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plugins" / f"{name}.py").touch()
    for name in ("modules/test_a", "modules/test_more", "action/test_b"):
        (tmp_path / "tests/unit/plugins" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests/unit/plugins" / f"{name}.py").touch()
    (tmp_path / "tests/unit/plugins/gone").mkdir()
    assert list(layout.mirror_faults(tmp_path)) == [
        "tests/unit/plugins/gone: there is no plugins/gone that it could test",
        "plugins/modules/b.py: has no tests/unit/plugins/modules/test_b.py",
    ]
