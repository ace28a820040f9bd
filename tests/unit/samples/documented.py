# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Help for the module tests: the options that a module documents, and those that it takes."""

from __future__ import annotations

import ast
import importlib
import inspect
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
    _agree(options(module), specification(module, monkeypatch))
    check_examples(module)


def check_action(module: types.ModuleType, action: types.ModuleType) -> None:
    """The same for a module that is documentation alone: its action plugin takes the options on the controller.

    Where the action has no specification, its documentation names those that its code asks for.
    """
    if hasattr(action, "ARGUMENTS"):
        _agree(options(module), action.ARGUMENTS)
    else:
        assert set(options(module)) == set(_asked_for(action))
    check_examples(module)


def check_examples(module: types.ModuleType) -> None:
    """Every example gives options that exist, and those that are required."""
    name = module.__name__.rpartition(".")[2]
    known = options(module)
    required = {option for option, one in known.items() if one.get("required")}
    given = [task[OURS + name] or {} for task in yaml.safe_load(module.EXAMPLES) if OURS + name in task]
    assert given, "no example uses the module"
    assert all(required <= set(one) <= set(known) for one in given), (name, given)


def _agree(documented: t.Mapping[str, t.Any], taken: t.Mapping[str, t.Any]) -> None:
    fields = ("type", "elements", "choices", "default", "required")
    assert {name: {field: one.get(field) or None for field in fields} for name, one in documented.items()} == {
        name: {field: one.get(field) or None for field in fields} for name, one in taken.items()
    }


def _asked_for(action: types.ModuleType) -> t.Iterator[str]:
    """The options that the code of an action asks for: ``args["x"]`` and ``args.get("x")``."""
    for node in ast.walk(ast.parse(inspect.getsource(action))):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("args"):
            yield ast.literal_eval(node.slice)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("args.get"):
            yield ast.literal_eval(node.args[0])
