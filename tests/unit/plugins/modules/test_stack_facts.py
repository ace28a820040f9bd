# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module stack_facts itself: its options, its result, its documentation."""

from __future__ import annotations

import ast
import json
import pathlib
import sys
import typing as t

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.trainmesh.cluster.plugins.modules import stack_facts
from ansible_collections.trainmesh.cluster.tests.unit.samples import documented


def run(arguments: dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> dict[str, t.Any]:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        stack_facts.main()
    found: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("check", [False, True])
def test_it_only_reads_and_works_the_same_in_check_mode(check: bool, capsys: pytest.CaptureFixture[str]) -> None:
    result = run({"python": sys.executable, "_ansible_check_mode": check}, capsys)
    assert result["changed"] is False
    assert result["ansible_facts"]["trainmesh_facts_stack"]["python"]["path"] == sys.executable


def test_every_fact_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    result = run({"python": sys.executable}, capsys)
    documented = yaml.safe_load(stack_facts.RETURN)["ansible_facts"]["contains"]["trainmesh_facts_stack"]["contains"]
    assert set(documented) == set(result["ansible_facts"]["trainmesh_facts_stack"])
    for name, entry in documented.items():
        sample, value = entry["sample"], result["ansible_facts"]["trainmesh_facts_stack"][name]
        if isinstance(value, dict) and name != "packages":
            assert set(sample) == set(value), name


def test_a_limit_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    result = run({"timeout": 0}, capsys)
    assert result["failed"]
    assert "timeout" in result["msg"]


def test_the_options_are_those_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    documented.check(stack_facts, monkeypatch)


@pytest.mark.parametrize("user", ["no-such-user-here", "root"])
def test_a_user_that_cannot_be_is_refused(
    user: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    result = run({"user": user}, capsys)
    assert result["failed"]
    assert user in result["msg"]


def test_the_facts_carry_no_installer_of_packages_to_the_nodes() -> None:
    """Ansible sends all that a module imports; an installer in there costs every node of every run."""
    plugins = pathlib.Path(stack_facts.__file__).parents[1]
    found, queue = set[str](), [pathlib.Path(stack_facts.__file__)]
    for path in queue:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and ".plugins.module_utils." in (node.module or ""):
                inside = (node.module or "").partition(".plugins.")[2].split(".")
                names = ["/".join(inside), *("/".join([*inside, alias.name]) for alias in node.names)]
                files = {plugins / f"{name}.py" for name in names} - set(queue)
                queue += sorted(each for each in files if each.is_file())
                found |= {name.split("/")[1] for name in names}
    assert {"_stack", "_base"} <= found
    assert not found & {"_packages", "_software", "_apply"}
