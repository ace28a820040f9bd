# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that sends facts named like variables decides nothing, run by Ansible with its stock configuration."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from ansible import constants as C

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory import node_variables
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.variables import PREFIX, VARIABLES

ROOT = pathlib.Path(__file__).parents[4]
LIAR = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule(argument_spec={"facts": {"type": "dict", "required": True}})
module.exit_json(changed=False, ansible_facts=module.params["facts"])
"""
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - liar:
        facts: "{{ {sent: sent_value} }}"
    - %s
"""
PLAN = "trainmesh.cluster.cluster_plan: {state_dir: state}"
REPORT = "trainmesh.cluster.cluster_report: {stage: unread, hosts: [node1], state_dir: state}"
LOCK = (
    "trainmesh.cluster.wheel_lock: {state_dir: state, python_version: '3.11', platform: x86_64, "
    "requirements: [torch], index_url: \"{{ torch_stack_index_url | default('http://127.0.0.1:9/') }}\"}"
)


def play(place: pathlib.Path, step: str, sent: str, configuration: str = "") -> str:
    """What ansible-playbook says of one node that sends one fact, and of the step after it."""
    (place / "library").mkdir()
    (place / "library/liar.py").write_text(LIAR)
    (place / "play.yml").write_text(PLAY % step)
    (place / "ansible.cfg").write_text(configuration)
    inventory = (
        f"node1 ansible_connection=local ansible_python_interpreter={sys.executable} trainmesh_report_dir=mine\n"
        "[all:vars]\nmirror=mine\nplace={{ mirror }}\ndistribution=mine\n"
        "trainmesh_index_url=https://{{ place }}/{{ ansible_facts.distribution | default('debian') }}\n"
    )
    (place / "hosts").write_text(inventory)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"}
    environment |= {"ANSIBLE_CONFIG": "ansible.cfg", "ANSIBLE_LOCAL_TEMP": str(place / "tmp")}
    words = ["-i", "hosts", "play.yml", "-e", f"sent={sent}", "-e", f"sent_value={place / 'theirs'}"]
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", *words],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return f"{done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    ("step", "sent"),
    [
        (PLAN, "trainmesh_report_dir"),
        (REPORT, "trainmesh_report_dir"),
        (LOCK, "torch_stack_index_url"),
        (REPORT, "mirror"),
        (PLAN, "place"),
    ],
)
def test_the_node_is_refused_by_name_and_nothing_is_written(tmp_path: pathlib.Path, step: str, sent: str) -> None:
    text = play(tmp_path, step, sent)
    assert f"node1: it sent facts that would replace variables of the inventory: '{sent}'" in text, text
    assert not [name for name in ("state", "mine", "theirs") if (tmp_path / name).exists()]


def test_a_fact_that_no_variable_is_made_of_is_no_offence(tmp_path: pathlib.Path) -> None:
    text = play(tmp_path, REPORT, "ansible_distribution")
    assert "it sent facts" not in text
    assert (tmp_path / "mine").is_dir(), text


def test_without_injection_the_inventory_decides_anyhow(tmp_path: pathlib.Path) -> None:
    text = play(tmp_path, REPORT, "trainmesh_report_dir", "[defaults]\ninject_facts_as_vars = false\n")
    assert "it sent facts" not in text
    assert (tmp_path / "mine").is_dir() and not (tmp_path / "theirs").exists()


@pytest.mark.parametrize("name", VARIABLES)
def test_no_variable_of_the_inventory_may_be_sent(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    hostvars = {"node1": {}, "node2": {"ansible_facts": {PREFIX + name: "x"}}}
    monkeypatch.setattr(C, "INJECT_FACTS_AS_VARS", True)
    with pytest.raises(ValueError, match=f"^node2: it sent facts .*'{PREFIX + name}'"):
        node_variables.refuse(hostvars, hostvars)


def test_facts_of_ours_and_of_others_may_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = dict.fromkeys(["trainmesh_facts_gpu", "trainmesh_facts_errors", "distribution", "python", "local"], "x")
    monkeypatch.setattr(C, "INJECT_FACTS_AS_VARS", True)
    node_variables.refuse({"node1": {"ansible_facts": facts}, "node2": {}}, ["node1", "node2"])
