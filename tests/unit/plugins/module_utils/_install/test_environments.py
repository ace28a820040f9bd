# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._install import environments
from ansible_collections.trainmesh.cluster.plugins.module_utils._install.environments import Target

OLD, NEW = "torch-2.13.0-cu126-py3.11", "torch-2.14.0-cu126-py3.11"


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("2.13.0+cu126", "cu126", "venv", "3.11"), OLD),
        (("2.13.0", "cpu", "conda", "3.12"), "torch-2.13.0-cpu-conda-py3.12"),
        (("2.15.0.dev20260101", "", "venv", "3.11"), "torch-2.15.0.dev20260101-py3.11"),
        (("", "cpu", "venv", "3.11"), ""),
        (("2.13.0", "cpu", "", "3.11"), ""),
        (("2.13.0/../..", "cpu", "venv", "3.11"), ""),
    ],
)
def test_the_name_says_what_is_in_it(parts, name):
    assert environments.name_of(*parts) == name


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (OLD, OLD, True),
        (OLD, NEW, False),
        ("torch-2.13.0-py3.11", OLD, True),
        (OLD, "torch-2.13.0-py3.11", True),
        (OLD, "torch-2.13.0-cpu-py3.11", False),
        ("torch-2.13.0-conda-py3.11", "torch-2.13.0-cpu-conda-py3.11", True),
        ("torch-2.13.0-conda-py3.11", "torch-2.13.0-cpu-py3.11", False),
        ("", OLD, False),
    ],
)
def test_a_torch_that_does_not_tell_its_build_may_be_any(one, other, same):
    assert environments.is_same(one, other) is same


def found(linked="", content=OLD, fixed=False, whole=()):
    return {"linked": linked, "content": content, "fixed": fixed, "whole": list(whole)}


@pytest.mark.parametrize(
    ("node", "wanted", "target"),
    [
        (found(), OLD, Target()),
        (found(), "", Target()),
        (found(), NEW, Target(NEW, NEW, OLD)),
        (found(content=""), NEW, Target()),
        (found(fixed=True), NEW, Target()),
        (found(linked=OLD), OLD, Target()),
        (found(linked=OLD, content=""), OLD, Target()),
        (found(linked=OLD, content=""), NEW, Target(NEW, NEW, OLD)),
        (found(linked=NEW, content=NEW, whole=[OLD, NEW]), OLD, Target(OLD, OLD, NEW, True)),
        (found(content="", whole=[NEW]), NEW, Target(NEW, NEW, "", True)),
    ],
    ids=[
        "as planned",
        "no exact torch",
        "another torch",
        "nothing worth keeping",
        "a mount",
        "linked as planned",
        "linked, and to repair",
        "linked and broken, and another torch",
        "back to the one of before",
        "a switch that was interrupted",
    ],
)
def test_where_the_environment_of_a_node_is_made(node, wanted, target):
    assert environments.targets({"node1": node}, wanted) == {"node1": target}


def test_as_soon_as_one_node_has_a_link_all_get_one():
    nodes = {"old": found(linked=OLD), "new": found(content=""), "directory": found()}
    expected = {"old": Target(), "new": Target(OLD, OLD), "directory": Target("", OLD, OLD)}
    assert environments.targets(nodes, OLD) == expected
    expected = {name: Target(NEW, NEW, before) for name, before in (("old", OLD), ("new", ""), ("directory", OLD))}
    assert environments.targets(nodes, NEW) == expected


def test_where_one_node_cannot_be_switched_none_is():
    nodes = {"mount": found(fixed=True), "directory": found()}
    assert environments.targets(nodes, NEW) == {"mount": Target(), "directory": Target()}


@pytest.mark.parametrize("target", ["/data/env", "environments/mine/env", f"environments/{OLD}", "../other/env"])
def test_a_link_of_others_is_left_alone(tmp_path, target):
    assert not environments.is_fixed(str(tmp_path))
    (tmp_path / "env").symlink_to(target)
    assert environments.is_fixed(str(tmp_path)) and environments.base(str(tmp_path)) == str(tmp_path)


def test_the_base_is_that_of_the_link_or_of_the_name(tmp_path):
    assert environments.base(str(tmp_path)) == str(tmp_path)
    os.symlink(f"environments/{OLD}/env", tmp_path / "env")
    assert environments.base(str(tmp_path)) == f"{tmp_path}/environments/{OLD}"
    assert environments.base(str(tmp_path), NEW) == f"{tmp_path}/environments/{NEW}"
    with pytest.raises(ValueError, match="no name of an environment"):
        environments.base(str(tmp_path), "../../etc")
