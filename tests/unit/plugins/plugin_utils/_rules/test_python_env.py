# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding, Untested
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import python_env, versions_equal

OURS = "/opt/trainmesh/env/bin/python"
OWN = "/home/t/venv/bin/python"


def facts(path=OURS, problem=None, torch="2.13.0+cpu"):
    return {
        "python": {"path": path, "version": None if problem else "3.11.2", "problem": problem},
        "packages": {"torch": torch},
    }


def answers(managed, *stacks):
    names = [f"node{number}" for number in range(1, len(stacks) + 1)]
    plan = {"order": names, "nodes": {name: {} for name in names}, "prefix": "/opt/trainmesh", "managed": managed}
    return list(python_env.torch_is_there(Case(plan=plan, stack=dict(zip(names, stacks)))))


def test_with_torch_there_is_nothing_to_say():
    assert answers(True, facts(), facts()) == answers(False, facts(OWN), facts(OWN)) == []
    assert answers(False, {}, {}) == []  # nothing is known


def test_where_some_nodes_have_it_the_comparison_tells():
    assert answers(False, facts(OWN), facts(OWN, torch=None)) == answers(True, facts(), facts(problem="is gone")) == []


def test_nobody_is_accused_when_no_python_was_named():
    found = answers(False, facts(problem="does not exist", torch=None), facts(problem="does not exist", torch=None))
    assert found and all(isinstance(each, Untested) and each.hosts == ("node1", "node2") for each in found)
    assert "ver-torch-import-fails" in {each.rule for each in found}
    assert all("trainmesh_verify_python" in each.why for each in found)


def test_a_python_that_was_named_and_has_no_torch_is_a_fault():
    for problem in (None, "does not run"):
        (found,) = answers(False, facts(OWN, problem, None), facts(OWN, problem, None))
        assert isinstance(found, Finding) and (found.severity, found.hosts) == ("fail", ("node1", "node2"))
        assert OWN in found.cause and "trainmesh_verify_python" in found.remedy


def test_our_own_environment_without_torch_is_brought_by_site():
    (found,) = answers(True, facts(torch=None))
    assert isinstance(found, Finding) and found.remedy.startswith("Run site.yml")


def test_site_is_no_remedy_for_the_environment_of_others():
    plan = {"order": ["node1", "node2"], "nodes": {}, "prefix": "/opt/trainmesh"}
    stack = {"node1": facts(OWN), "node2": facts(OWN, "is gone", None)}
    for managed in (True, False):
        (found,) = versions_equal.missing_environments(Case(plan={**plan, "managed": managed}, stack=stack))
        assert found.rule == "path-differs" and found.hosts == ("node2",)
        assert found.remedy.startswith("Run site.yml") is managed


def test_an_import_that_took_longer_than_our_limit_is_not_tested():
    late = {"ok": None, "error": "importing torch did not end in 40 s", "without_ld_library_path": None}
    (found,) = answers(True, facts(), {**facts(), "torch_import": late})
    assert isinstance(found, Untested) and found.hosts == ("node2",) and "40 s" in found.why
    assert found.rule != python_env.NO_TORCH  # which would keep the jobs from being started
