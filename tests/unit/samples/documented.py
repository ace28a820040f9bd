# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Help for the module tests: the options that a module documents, and those that it takes."""

from __future__ import annotations

import importlib
import types
import typing as t

import pytest
import yaml
from ansible.module_utils import basic

OURS = "trainmesh.cluster."


def options(module: types.ModuleType) -> dict[str, dict[str, t.Any]]:
    """Every documented option of a module, those of the collection's fragments included."""
    documentation = yaml.safe_load(module.DOCUMENTATION)
    found: dict[str, dict[str, t.Any]] = dict(documentation.get("options") or {})
    for name in documentation.get("extends_documentation_fragment", ()):
        file, _dot, block = name.removeprefix(OURS).partition(".")
        fragment = importlib.import_module(f"ansible_collections.{OURS}plugins.doc_fragments.{file}").ModuleDocFragment
        found.update(yaml.safe_load(getattr(fragment, (block or "documentation").upper()))["options"])
    return found


def specification(module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, t.Any]]:
    """The argument specification that the module hands to Ansible."""
    seen: dict[str, t.Any] = {}

    class Stop(Exception):
        pass

    def catch(_self: basic.AnsibleModule, argument_spec: dict[str, t.Any], **_options: t.Any) -> None:
        seen.update(argument_spec)
        raise Stop

    monkeypatch.setattr(basic.AnsibleModule, "__init__", catch)
    with pytest.raises(Stop):
        module.main()
    return seen


def check(module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documentation and the specification name the same options with the same types, defaults and choices."""
    fields = ("type", "elements", "choices", "default")
    documented, taken = options(module), specification(module, monkeypatch)
    assert {name: {field: one.get(field) for field in fields} for name, one in documented.items()} == {
        name: {field: one.get(field) for field in fields} for name, one in taken.items()
    }
