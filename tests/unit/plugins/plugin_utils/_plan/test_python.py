# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What environments are made with: the plan refuses what the roles would stop at, and names nobody else."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import python as plan_python
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import host, options

PREFIX = "/opt/trainmesh"


def software(pythons=(), version=None, problem=None, conda=None, made=None):
    """Stack facts: what is there to make an environment with, and the environment (kind, version) that there is."""
    interpreter = {"path": "/x/python" if version else None, "version": version, "problem": problem}
    kind, python = made or (None, None)
    return {
        "base": {"interpreter": interpreter, "pythons": dict.fromkeys(pythons, "/x"), "conda": conda},
        "python": {
            "path": f"{PREFIX}/env/bin/python",
            "kind": kind,
            "version": python,
            "problem": None if made else f"{PREFIX}/env/bin/python does not exist",
        },
    }


def plan(*stacks, strict=True, **wish):
    hosts = [host(number)._replace(stack=stack) for number, stack in enumerate(stacks, 1)]
    return cluster.make(hosts, options(**wish), {}, strict)


def faults(*stacks, **wish):
    with pytest.raises(cluster.PlanError) as caught:
        plan(*stacks, **wish)
    return caught.value.faults


LACKS = "there is no interpreter /usr/bin/python3.11"


def test_a_node_without_the_interpreter_is_named_with_what_it_has_and_what_to_set():
    there, lacks = software(["3.11", "3.13"], "3.11"), software(["3.12", "3.13"], problem=LACKS)
    (fault,) = faults(there, lacks, lacks, python="/usr/bin/python3.11")
    assert fault.startswith(f"node2, node3: {LACKS} (node2 and node3 have 3.12, 3.13): install it there, or ")
    assert 'set trainmesh_python: "3.13", which every node has' in fault and "trainmesh_python_env: conda" in fault


def test_the_default_interpreter_may_be_missing_too():
    (fault,) = faults(software(["3.12"], problem="there is no interpreter /usr/bin/python3"))
    assert 'node1 has 3.12): install it there, or set trainmesh_python: "3.12"' in fault


def test_a_verification_says_it_and_goes_on():
    made = plan(software([], problem=LACKS), strict=False, python="/usr/bin/python3.11")
    assert made["refusals"][0]["hosts"] == ["node1"] and "no other Python" in made["refusals"][0]["text"]


@pytest.mark.parametrize(
    "stack",
    [
        software([], problem=LACKS, made=("venv", "3.11.2")),  # it is there, and was made with another one
        software(["3.11"], "3.11"),
        {**software([], problem=LACKS), "python": {"path": "/theirs/bin/python", "version": "3.11.2", "kind": "venv"}},
        software([]),  # no answer in time
        {},
        {"base": None},
    ],
)
def test_nobody_is_refused_who_needs_no_interpreter_or_of_whom_nothing_is_known(stack):
    made = plan(stack, python="/usr/bin/python3.11")
    assert (made["stack"]["python"], made["stack"]["python_version"]) == ("/usr/bin/python3.11", "3.11")


@pytest.mark.parametrize("made", [("conda", "3.11.2"), ("venv", "3.12.1")])
def test_an_environment_of_another_kind_or_version_does_not_help(made):
    assert LACKS in faults(software([], problem=LACKS, made=made), python="/usr/bin/python3.11")[0]


def test_the_version_is_what_the_interpreter_says_not_what_its_path_does():
    here = software([], "3.12")
    assert plan(here, here, python="/opt/python/bin/python3")["stack"]["python_version"] == "3.12"
    assert plan(here, here, python="/usr/bin/python3.11")["stack"]["python_version"] == "3.12"
    (fault,) = faults(software([], "3.11"), software([], "3.12"), python="/opt/python/bin/python3")
    assert "unlike Pythons at /opt/python/bin/python3 (node1 3.11, node2 3.12)" in fault


def test_a_version_that_another_interpreter_hides_behind():
    (fault,) = faults(software([], "3.12"), python="3.11")
    assert fault.startswith("node1: /x/python is Python 3.12 (")


def test_the_advice_is_only_what_torch_has_wheels_for():
    (fault,) = faults(software(["3.9", "3.11", "3.12"], "3.9"), software(["3.9", "3.11", "3.12", "3.99"], "3.9"))
    assert 'found 3.9: set trainmesh_python: "3.11", which every node has' in fault


WITHOUT = software(conda=False)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"conda_installer": ""}, "names no installer"),
        (
            {"conda_installer": "/x.sh", "conda_installer_problem": "trainmesh_conda_installer: there is no /x.sh on"},
            "/x",
        ),
    ],
)
def test_conda_needs_an_installer_where_it_is_not_there(wish, words):
    (fault,) = faults(software(conda=True), WITHOUT, WITHOUT, python_env="conda", **wish)
    assert fault.startswith("node2, node3: conda is not there, and ") and words in fault
    assert "set it to the URL" in fault


@pytest.mark.parametrize("stack", [software(conda=True), software(conda=False, made=("conda", "3.11.9")), {}])
def test_conda_that_is_there_needs_none(stack):
    lost = {"conda_installer": "/x.sh", "conda_installer_problem": "there is no /x.sh"}
    assert plan(stack, python_env="conda", python="3.11", **lost)["stack"]["python_version"] == "3.11"


def test_a_url_is_fetched_by_the_nodes():
    assert plan(WITHOUT, python_env="conda", conda_installer="https://example.com/m.sh")["stack"]["python"]


@pytest.mark.parametrize(
    ("wish", "base"),
    [
        ({}, {"base_python": "/usr/bin/python3", "base_prefix": PREFIX}),
        ({"python": "3.12"}, {"base_python": "3.12", "base_prefix": PREFIX}),
        ({"python_env": "conda", "prefix": "/data"}, {"base_conda": "/data/var/conda", "base_prefix": "/data"}),
        ({"verify_python": "/theirs/bin/python"}, {}),
    ],
)
def test_the_nodes_are_asked_for_what_will_be_used(wish, base):
    assert plan_python.base(options(**wish)) == base


def test_unlike_pythons_do_not_keep_a_run_from_what_needs_none():
    """As with --tags hosts,ssh_mesh,firewall: names, logins and firewalls are the same on every distribution."""
    unlike = [software({"3.9"}, "3.9"), software({"3.13"}, "3.13")]
    [fault] = faults(*unlike)
    assert "unlike system Pythons (node1 3.9, node2 3.13)" in fault, "and neither is told what torch has no wheels for"
    made = plan(*unlike, installs=False)
    assert (made["order"], made["refusals"]) == (["node1", "node2"], [])
    assert made["warnings"] == [f"what this run leaves out would be refused: {fault}"]
