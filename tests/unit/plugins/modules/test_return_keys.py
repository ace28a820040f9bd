# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In a template C(facts.keys) is the method of the dictionary; ansible-core 2.21 refuses such return keys."""

from __future__ import annotations

import importlib
import pathlib
import typing as t

import pytest
import yaml

MODULES = sorted(path.stem for path in (pathlib.Path(__file__).parents[4] / "plugins/modules").glob("*.py"))
METHODS = {name for name in dir(dict) if not name.startswith("_")}


def keys_of(contents: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    for name, entry in contents.items():
        yield name
        yield from keys_of(entry.get("contains") or {})


@pytest.mark.parametrize("name", MODULES)
def test_no_return_key_is_a_method_of_dictionaries(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.trainmesh.cluster.plugins.modules.{name}")
    assert not METHODS & set(keys_of(yaml.safe_load(getattr(module, "RETURN", "")) or {}))
