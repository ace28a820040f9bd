# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._user.facts import KINDS
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Finding
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.variables import FILE_KINDS, VARIABLES, read
from ansible_collections.trainmesh.cluster.tests.unit.samples import reports


def test_defaults_fill_in():
    assert read({}, "cluster")["master_port"] == 29500
    derived = dict.fromkeys(["address", "slots", "interface", "ssh_port", "hostname", "fqdn"])
    expected = {**derived, "state": "present", "host_key_fingerprints": [], "driver": None, "reboot": "never"}
    assert expected.items() <= read({}, "host").items()


def test_values_are_read_by_their_prefix():
    assert read({"trainmesh_slots": "4", "slots": 8}, "host")["slots"] == 4


def test_a_bad_value_raises():
    with pytest.raises(ValueError, match="whole number"):
        read({"trainmesh_slots": 0}, "host")


@pytest.mark.parametrize(
    "name", [name for name, variable in VARIABLES.items() if variable.default not in (None, "", [])]
)
def test_each_default_is_a_value_it_accepts(name):
    variable = VARIABLES[name]
    assert variable.read(variable.default) == variable.default


def test_each_variable_with_choices_has_more_than_one():
    refusals = {}
    for name, variable in VARIABLES.items():
        try:
            variable.read("no-such-value")
        except (ValueError, TypeError) as error:
            refusals[name] = str(error)
    choices = {name: text for name, text in refusals.items() if text.startswith("expected one of ")}
    assert "firewall" in choices and all(", " in text for text in choices.values()), choices


def test_a_value_that_the_sample_report_shows_is_one_that_an_inventory_may_have():
    shown = [answer.remedy for answer in reports.answers() if isinstance(answer, Finding)]
    settings = re.findall(r"`trainmesh_(\w+): ([^`]+)`", " ".join(shown))
    assert settings
    for name, value in settings:
        assert VARIABLES[name].read(value) == value


@pytest.mark.parametrize(
    ("value", "expected"), [("auto", "auto"), (True, "true"), ("True", "true"), ("no", "false"), (False, "false")]
)
def test_a_choice_of_yes_no_and_auto_takes_every_spelling_of_yes_and_no(value, expected):
    assert read({"trainmesh_verify_speed": value}, "cluster")["verify_speed"] == expected


@pytest.mark.parametrize("value", ["Auto", "fast", 7, None, []])
def test_a_choice_of_yes_no_and_auto_refuses_the_rest(value):
    with pytest.raises(ValueError, match="expected auto, true or false"):
        VARIABLES["verify_speed"].read(value)


def test_fingerprints_are_taken_as_ssh_keygen_prints_them():
    print_ = f"SHA256:{'aB3+/' * 8}xyz"
    wish = [print_, f"256 {print_} root@gpu1 (ED25519)", f"ssh-ed25519 {print_}="]
    assert read({"trainmesh_host_key_fingerprints": wish}, "host")["host_key_fingerprints"] == [print_] * 3
    for wrong in ([print_[:-1]], [f"{print_}x"], ["MD5:00:11"], [""], print_, [f"{print_} {print_}"]):
        with pytest.raises(ValueError, match="expected a list"):
            read({"trainmesh_host_key_fingerprints": wrong}, "host")


def test_files_of_the_user_have_a_kind_and_a_place():
    wish = [{"kind": "hostfile", "path": "~/hostfile"}]
    assert read({"trainmesh_files": wish}, "cluster")["files"] == wish
    launcher = [{"kind": "launch_script", "path": "/run.sh", "cluster": True}]
    assert read({"trainmesh_files": launcher}, "cluster")["files"] == launcher
    for wrong, message in (
        ([{"kind": "hosts", "path": "/x"}], "entry 1: expected one of hostfile"),
        ([{"kind": "hostfile"}], "entry 1: expected the keys kind and path"),
        ([{"kind": "hostfile", "path": "/x", "cluster": True}], "entry 1: cluster is for a launch_script"),
        ([{"kind": "hostfile", "path": "hostfile"}], "absolute path"),
        ("/x", "expected a list"),
    ):
        with pytest.raises(ValueError, match=message):
            read({"trainmesh_files": wrong}, "cluster")


def test_every_kind_of_file_is_one_that_the_nodes_can_read():
    assert set(FILE_KINDS) == set(KINDS)


def test_paths_are_absolute():
    assert read({"trainmesh_paths": ["/data/model"]}, "cluster")["paths"] == ["/data/model"]
    with pytest.raises(ValueError, match="absolute path"):
        read({"trainmesh_paths": ["data"]}, "cluster")


def test_wishes_on_rules_are_checked_with_the_inventory():
    with pytest.raises(ValueError, match="unknown rule"):
        read({"trainmesh_rules": {"no-such-rule": "off"}}, "cluster")
    with pytest.raises(ValueError, match="expected a list of rules"):
        read({"trainmesh_extra_rules": {}}, "cluster")
    with pytest.raises(ValueError, match="unknown threshold"):
        read({"trainmesh_thresholds": {"no_such": 1}}, "cluster")
    assert read({"trainmesh_thresholds": {"link_share_of_best": "0.2"}}, "cluster")["thresholds"] == {
        "link_share_of_best": 0.2
    }


def test_only_the_topologies_that_there_are_can_be_asked_for():
    assert read({}, "cluster")["ssh_topology"] == "mesh"
    assert read({"trainmesh_ssh_topology": "head"}, "cluster")["ssh_topology"] == "head"
    for wrong in ("star", "Head", True, ["head"]):
        with pytest.raises(ValueError, match="expected one of mesh, head"):
            read({"trainmesh_ssh_topology": wrong}, "cluster")


def test_a_login_does_not_go_into_package_sources():
    read = VARIABLES["driver_repository"].read
    assert read("http://mirror.lan/cuda") == "http://mirror.lan/cuda"
    with pytest.raises(ValueError, match="readable by everybody"):
        read("https://me:secret@mirror.lan/cuda")


def test_environments_are_read_as_the_variables_of_the_same_names():
    wish = [{"name": "vision", "torch": "2.12.0", "extra_packages": ["timm==1.0.9"]}, {"name": "old-2", "torch": None}]
    found = read({"trainmesh_environments": wish}, "cluster")["environments"]
    assert found == [{"name": "vision", "torch": "2.12.0", "extra_packages": ["timm==1.0.9"]}, {"name": "old-2"}]
    assert read({}, "cluster")["environments"] == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("vision", "expected a list of environments"),
        ({"vision": {}}, "expected a list of environments"),
        (["vision"], "expected a name"),
        ([{"torch": "2.12.0"}], "expected a name"),
        ([{"name": "../x"}], "expected a name"),
        ([{"name": "torch-2.12.0"}], "begins with torch-"),
        ([{"name": "a"}, {"name": "a"}], "a is there twice"),
        ([{"name": "a", "python": "3.12", "torch": "2.12.0"}], "a: expected no python, but torch, deepspeed"),
        ([{"name": "a", "torch": "latest"}], "a: expected an exact version"),
        ([{"name": "a", "extra_packages": ["--index-url x"]}], "a: expected requirements"),
    ],
)
def test_environments_that_can_not_be_read_are_told(value, message):
    with pytest.raises(ValueError, match=message):
        read({"trainmesh_environments": value}, "cluster")
