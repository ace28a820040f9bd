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


SYSTEM_LACKS = "/usr/bin/python3 can't make environments (No module named 'venv')"


def test_the_default_interpreter_may_be_missing_too():
    made = plan(software(["3.12"], problem=SYSTEM_LACKS))
    assert (made["stack"]["python"], made["stack"]["python_installs"]) == ("3.12", [])
    assert "Python 3.12: every node has it, and /usr/bin/python3 makes no environments on node1" in made["reasons"]


def test_unlike_system_pythons_are_no_trouble_where_all_have_another():
    made = plan(software(["3.11", "3.13"], "3.13"), software(["3.11"], "3.11"))
    assert (made["stack"]["python"], made["stack"]["python_version"]) == ("3.11", "3.11")
    assert (
        "Python 3.11: every node has it, and their system Pythons are unlike (node1 3.13, node2 3.11)"
        in made["reasons"]
    )


NONE_ALIKE = (software(["3.9"], "3.9"), software(["3.12"], "3.12"), software(["3.12"], problem=SYSTEM_LACKS))


def test_where_no_python_is_on_all_one_is_offered():
    (fault,) = faults(*NONE_ALIKE)
    assert fault == (
        "the nodes have no Python in common that torch has wheels for (Python 3.10 to 3.14): node1 has 3.9; node2 and "
        f"node3 have 3.12. node3: {SYSTEM_LACKS.partition(' (')[0]}. Set trainmesh_python_install: true and Python "
        "3.12 is installed below /opt/trainmesh on node1; or install it there by hand, or set trainmesh_python_env: "
        "conda"
    )


def known(_version, _arch):
    return ""


def unknown(version, arch):
    return f"nobody has Python {version} for {arch}"


def test_it_is_installed_on_request_where_it_lacks_and_nowhere_else():
    made = plan(*NONE_ALIKE, python_install=True, python_problem=known)
    stack = made["stack"]
    assert (stack["python_env"], stack["python"], stack["python_version"]) == ("venv", "3.12", "3.12")
    assert stack["python_installs"] == ["node1"]
    assert "Python 3.12: node1 lacks it, and gets uv's build of it below /opt/trainmesh" in made["reasons"]


def test_one_that_was_asked_for_is_installed_where_it_lacks():
    lacks = software(["3.12"], problem="there is no interpreter python3.11")
    made = plan(software(["3.11"], "3.11"), lacks, python="3.11", python_install=True, python_problem=known)
    assert made["stack"]["python_installs"] == ["node2"]
    (fault,) = faults(lacks, python="/usr/bin/python3.11", python_install=True, python_problem=known)
    assert fault.startswith("node1: there is no interpreter"), "a path is where it is, or it is not"


def test_conda_takes_the_place_of_a_python_that_cannot_be_had():
    wish = {"python_install": True, "python_problem": unknown}
    (fault,) = faults(*NONE_ALIKE, **wish)
    assert fault.startswith("node1: Python 3.12 is to be installed, and nobody has Python 3.12 for x86_64: set ")
    made = plan(*NONE_ALIKE, **wish, conda_installer="/m.sh")
    assert (made["stack"]["python_env"], made["stack"]["python_installs"]) == ("conda", [])
    assert any("every node gets an environment of conda: nobody has Python" in reason for reason in made["reasons"])


def test_a_cluster_that_got_conda_keeps_it():
    conda = software(["3.9"], "3.9", made=("conda", "3.12.4"), conda=True)
    made = plan(conda, *NONE_ALIKE[1:], python_install=True, python_problem=known, conda_installer="/m.sh")
    assert made["stack"]["python_env"] == "conda"


def test_a_python_that_was_installed_is_one_that_the_node_has():
    made = plan(software(["3.9", "3.12"], "3.9"), *NONE_ALIKE[1:])
    assert (made["stack"]["python"], made["stack"]["python_installs"]) == ("3.12", [])


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
    nodes = (software(["3.9", "3.11", "3.12"], "3.9"), software(["3.9", "3.11", "3.12", "3.99"], "3.9"))
    (fault,) = faults(*nodes, python="3.9")
    assert 'found 3.9: set trainmesh_python: "3.11", which every node has' in fault
    assert plan(*nodes)["stack"]["python"] == "3.11", "and where none was asked for it is taken"


WITHOUT = software(conda=False)


def test_conda_needs_an_installer_where_it_is_not_there():
    wish = {"python_env": "conda", "conda_problem": lambda arch: f"there is no /x-{arch}.sh on the controller"}
    (fault,) = faults(software(conda=True), WITHOUT, WITHOUT, **wish)
    assert fault.startswith("node2, node3: conda is not there, and there is no /x-x86_64.sh on the controller: set ")


def test_without_an_installer_it_is_miniforge_and_the_plan_says_whose_terms_count():
    made = plan(WITHOUT, python_env="conda")
    assert any("Miniforge" in reason for reason in made["reasons"])
    made = plan(
        WITHOUT, python_env="conda", conda_installer="https://repo.example.com/Miniconda3-latest-Linux-x86_64.sh"
    )
    assert any("organisations of more than 200 people" in reason for reason in made["reasons"])
    assert not any("conda" in reason for reason in plan(software(conda=True), python_env="conda")["reasons"])


def test_a_lock_of_conda_says_which_python_it_is():
    there, lock = software(conda=True), {"python_env": "conda", "conda_lock": "/x.lock", "conda_lock_python": "3.12"}
    assert plan(there, **lock)["stack"]["python_version"] == "3.12"
    assert plan(there, **lock, python="3.12")["stack"]["python"] == "3.12"
    (fault,) = faults(there, **lock, python="3.11")
    assert fault.startswith("trainmesh_conda_lock has Python 3.12, and trainmesh_python is another")


def test_a_disk_without_room_is_told_before_anything_is_unpacked():
    small = {"disks": {PREFIX: {"existing": "/opt", "free_bytes": 100 << 20}}}
    hosts = [host(1, fabric=small)._replace(stack=WITHOUT), host(2)._replace(stack=WITHOUT)]
    with pytest.raises(cluster.PlanError) as caught:
        cluster.make(hosts, options(python_env="conda"), {})
    assert caught.value.faults == [
        "node1: 100 MiB are free for /opt/trainmesh, and conda needs about 2048 MiB: free some space, or set "
        "trainmesh_prefix to a larger disk"
    ]


@pytest.mark.parametrize("stack", [software(conda=True), software(conda=False, made=("conda", "3.11.9")), {}])
def test_conda_that_is_there_needs_none(stack):
    lost = {"conda_installer": "/x.sh", "conda_problem": lambda _arch: "there is no /x.sh"}
    assert plan(stack, python_env="conda", python="3.11", **lost)["stack"]["python_version"] == "3.11"


def test_a_url_is_fetched_by_the_nodes():
    assert plan(WITHOUT, python_env="conda", conda_installer="https://example.com/m.sh")["stack"]["python"]


@pytest.mark.parametrize(
    ("wish", "base"),
    [
        ({}, {"base_python": "/usr/bin/python3", "base_prefix": PREFIX}),
        (
            {"python_install": True},
            {"base_python": "/usr/bin/python3", "base_prefix": PREFIX, "base_conda": f"{PREFIX}/var/conda"},
        ),
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
    assert "no Python in common" in fault and "node1 has 3.9; node2 has 3.13" in fault
    made = plan(*unlike, installs=False)
    assert (made["order"], made["refusals"]) == (["node1", "node2"], [])
    assert made["warnings"] == [f"what this run leaves out would be refused: {fault}"]
