# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups for module_defaults: a module that doesn't know the option of its group would fail."""

from __future__ import annotations

import importlib
import pathlib

import yaml

ROOT = pathlib.Path(__file__).parents[4]
OURS = "ansible_collections.trainmesh.cluster.plugins"
OPTIONS = {"backup": "backup", "facts": "timeout", "installation": "prefix", "job_user": "user", "probes": "timeout"}


def options_of(module: str) -> set[str]:
    """The options of a module, those of its documentation fragments included."""
    read = yaml.safe_load(importlib.import_module(f"{OURS}.modules.{module}").DOCUMENTATION)
    options = set(read.get("options") or {})
    for name in read.get("extends_documentation_fragment", []):
        file, _dot, part = name.removeprefix("trainmesh.cluster.").partition(".")
        fragment = importlib.import_module(f"{OURS}.doc_fragments.{file}").ModuleDocFragment
        options |= set(yaml.safe_load(getattr(fragment, (part or "documentation").upper())).get("options") or {})
    return options


def test_a_group_is_all_modules_that_know_its_option() -> None:
    modules = {path.stem: options_of(path.stem) for path in (ROOT / "plugins/modules").glob("*.py")}
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    suffixes = {"facts": "_facts", "probes": "_probe"}
    assert groups == {
        group: sorted(
            name for name, options in modules.items() if option in options and name.endswith(suffixes.get(group, ""))
        )
        for group, option in OPTIONS.items()
    }
