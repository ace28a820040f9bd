# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code that is not the one that was meant."""

from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules import other_python
from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import answers, rules_of
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import healthy_case

RULES = rules_of(other_python)
CONDA = "/opt/conda/envs/job/bin/python"


def found(case):
    return answers(case, RULES)


def one(case):
    only = found(case)
    assert len(only) == 1, only
    return only[0]


def cluster(managed=False, python=CONDA):
    case = healthy_case(managed=managed)
    for name in case.order:
        case.stack[name]["python"]["path"] = python
        case.stack[name]["package_names"] = "accelerate deepspeed numpy torch"
    return case


def launcher(case, host, name, path, interpreter):
    row = {"name": name, "path": path, "interpreter": interpreter}
    case.stack[host].setdefault("launchers", []).append(row)


def test_a_cluster_that_is_well():
    case = cluster()
    for host in case.order:
        launcher(case, host, "torchrun", "/opt/conda/envs/job/bin/torchrun", "/opt/conda/envs/job/bin/python3.10")
        launcher(case, host, "ninja", "/usr/bin/ninja", None)
    assert found(case) == found(healthy_case()) == []


@pytest.mark.parametrize(
    ("name", "severity", "fix"),
    [
        ("torchrun", "fail", f"{CONDA} -m torch.distributed.run"),
        ("deepspeed", "fail", f"{CONDA} -m deepspeed.launcher.runner"),
        ("accelerate", "fail", f"{CONDA} -m accelerate.commands.launch"),
        ("ninja", "warn", f"{CONDA} -m pip install ninja"),
    ],
)
def test_a_launcher_of_another_python(name, severity, fix):
    case = cluster()
    launcher(case, "node2", name, f"/home/trainer/.local/bin/{name}", "/usr/bin/python3.10")
    only = one(case)
    assert (only.rule, only.severity, only.hosts) == ("env-launcher-other-python", severity, ("node2",))
    assert f"/home/trainer/.local/bin/{name} starts /usr/bin/python3.10" in only.evidence["node2"]
    assert only.remedy.startswith(fix)


def test_bin_and_usr_bin_are_one():
    case = cluster(python="/usr/bin/python3")
    launcher(case, "node2", "torchrun", "/usr/local/bin/torchrun", "/bin/python3.11")
    assert found(case) == []


def test_our_own_scripts_do_not_look_in_path():
    case = cluster(managed=True, python="/opt/trainmesh/env/bin/python")
    launcher(case, "node2", "torchrun", "/home/trainer/.local/bin/torchrun", "/usr/bin/python3")
    assert found(case) == []
    path = "/home/trainer/.local/bin:/opt/trainmesh/env/bin:/usr/bin"
    case.stack["node2"]["login_environment"]["variables"]["PATH"] = path
    assert one(case).severity == "warn"


def test_a_python_that_is_not_there_is_compared_with_nothing():
    case = cluster()
    case.stack["node2"]["python"]["problem"] = "does not exist"
    launcher(case, "node2", "torchrun", "/usr/bin/torchrun", "/usr/bin/python3")
    assert found(case) == []


def test_code_that_its_metadata_does_not_describe():
    case = cluster()
    place = "/opt/conda/envs/job/lib/python3.11/site-packages/accelerate/__init__.py"
    case.stack["node3"]["code_versions"] = [{"name": "accelerate", "version": "0.30.1", "path": place}]
    only = one(case)
    assert (only.rule, only.hosts) == ("ver-code-not-metadata", ("node3",))
    assert only.remedy == f"{CONDA} -m pip install --force-reinstall --no-deps accelerate==1.15.0"


def test_packages_that_some_nodes_lack():
    case = cluster()
    case.stack["node1"]["package_names"] += " tensorboard peft pip"
    case.stack["node3"]["package_names"] += " tensorboard peft"
    only = one(case)
    assert (only.rule, only.severity, only.hosts) == ("ver-package-on-some-nodes", "warn", ("node2",))
    assert only.evidence["node2"] == "peft; tensorboard (other nodes have them)"
    assert only.remedy.startswith(f"{CONDA} -m pip install peft tensorboard")


def test_where_torch_differs_that_is_told_instead():
    case = cluster()
    case.stack["node2"]["package_names"] += " peft"
    case.stack["node2"]["packages"]["torch"] = "2.9.0"
    assert found(case) == []


@pytest.mark.parametrize(
    ("path", "managed", "severity"),
    [
        ("/opt/trainmesh/workspace/torch.py", True, "fail"),
        ("/home/trainer/random.py", True, "warn"),
        ("/home/trainer/deepspeed", False, "warn"),
    ],
)
def test_a_file_that_hides_a_package(path, managed, severity):
    case = cluster(managed)
    case.user["node1"]["shadows"] = [path]
    only = one(case)
    assert (only.rule, only.severity, only.hosts) == ("app-file-shadows-package", severity, ("node1",))
    assert only.remedy.startswith(f"mv {path} ")


ENV = "/opt/conda/envs/train"
HIDDEN = {
    "name": "accelerate",
    "version": "1.15.0",
    "path": f"{ENV}/lib/python3.11/site-packages/accelerate-1.15.0.dist-info",
}


def with_sites(*first, variables=None, copies=(HIDDEN,), kind="conda"):
    case = healthy_case(managed=False)
    facts = case.stack["node2"]
    facts["packages"]["accelerate"] = "0.30.1"
    facts["python"].update(
        path=f"{ENV}/bin/python", prefix=ENV, kind=kind, sites=[*first, f"{ENV}/lib/python3.11/site-packages"]
    )
    facts["other_copies"] = list(copies)
    facts["login_environment"]["variables"].update(variables or {})
    return case


@pytest.mark.parametrize(
    ("site", "variables", "fix"),
    [
        ("/home/trainer/.local/lib/python3.11/site-packages", {}, "PYTHONNOUSERSITE=1 in trainmesh_env"),
        (
            "/apps/torch/lib/python3.11/site-packages",
            {"PYTHONPATH": "/apps/torch/lib/python3.11/site-packages"},
            "unset",
        ),
        ("/apps/from/a/pth", {}, f"{ENV}/bin/python -m site shows"),
    ],
)
def test_packages_that_hide_those_of_the_environment(site, variables, fix):
    found = list(other_python.hidden(with_sites(site, variables=variables)))
    assert [(item.rule, item.hosts) for item in found] == [("env-package-shadowed", ("node2",))]
    assert found[0].evidence["node2"] == f"accelerate 0.30.1 comes before 1.15.0 of {ENV}"
    assert found[0].remedy.startswith(fix)


def test_packages_of_another_python_on_the_search_path():
    site = "/opt/old/lib/python3.9/site-packages"
    case = with_sites(site, variables={"PYTHONPATH": site}, copies=())
    found = list(other_python.hidden(case))
    assert found[0].evidence["node2"] == f"{site} is of another Python" and found[0].remedy.startswith(
        "unset PYTHONPATH"
    )


@pytest.mark.parametrize(
    ("copies", "kind"),
    [
        ([HIDDEN], "system"),  # dist-packages of the distribution behind those of pip
        ([{**HIDDEN, "path": "/usr/lib/python3/dist-packages/accelerate-1.15.0.dist-info"}], "venv"),
        ([{**HIDDEN, "version": "0.30.1"}], "conda"),
        ([{**HIDDEN, "version": "0.30.1+local"}], "conda"),
        ([], "conda"),
    ],
)
def test_copies_that_hide_nothing(copies, kind):
    sites = (
        "/usr/lib/python3/dist-packages",
        "/home/trainer/.local/lib/python3.11/site-packages",
        "/usr/lib/python3.11",
    )
    assert list(other_python.hidden(with_sites(*sites, copies=copies, kind=kind))) == []
