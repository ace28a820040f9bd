# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stock Ansible makes a variable of each fact, and a fact wins over the inventory's variable of that name."""

from __future__ import annotations

import importlib
import pathlib

import pytest
import yaml

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import variables

PREFIX = "trainmesh_facts_"
MODULES = sorted(path.stem for path in (pathlib.Path(__file__).parents[4] / "plugins/modules").glob("*.py"))


def returned_facts(name: str) -> set[str]:
    module = importlib.import_module(f"ansible_collections.trainmesh.cluster.plugins.modules.{name}")
    returned = yaml.safe_load(getattr(module, "RETURN", "")) or {}
    return set(returned.get("ansible_facts", {}).get("contains", {}))


@pytest.mark.parametrize("name", MODULES)
def test_every_fact_is_in_the_namespace_of_facts(name: str) -> None:
    assert all(fact.startswith(PREFIX) for fact in returned_facts(name))


def test_some_modules_do_return_facts() -> None:
    assert {
        f"{PREFIX}{part}" for part in ("gpu", "fabric", "stack", "user", "identity", "present", "errors")
    } == set().union(*map(returned_facts, MODULES))


def test_no_inventory_variable_is_in_the_namespace_of_facts() -> None:
    assert not [name for name in variables.VARIABLES if f"{variables.PREFIX}{name}".startswith(PREFIX)]
