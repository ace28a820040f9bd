# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories as people write them, read by Ansible itself: accepted, with the right values; no host is contacted."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.trainmesh.cluster.plugins.action.inventory_check import ActionModule
from ansible_collections.trainmesh.cluster.plugins.module_utils._user import ssh
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster as plan_cluster
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import state
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._preflight import controller
from ansible_collections.trainmesh.cluster.tests.unit.samples import clusters

ROOT = pathlib.Path(__file__).parents[4]
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - trainmesh.cluster.inventory_check:
        group: "{{ group | default('all') }}"
        teardown: "{{ teardown | default(false) }}"
        read_only: "{{ read_only | default(false) }}"
        may_rotate: "{{ may_rotate | default(false) }}"
      register: found
    - ansible.builtin.debug:
        msg: "FOUND {{ found | to_json }} FOUND"
"""


class Answer(t.NamedTuple):
    """How ansible-playbook ended, and what the action returned."""

    rc: int
    text: str
    result: dict[str, t.Any]


@pytest.fixture
def check(tmp_path):
    """Runs the action from a directory of its own, with a stock configuration; paths are below ``tmp_path``."""

    def run(*sources: str, arguments: t.Sequence[str] = ()) -> Answer:
        (tmp_path / "check.yml").write_text(PLAY)
        (tmp_path / "ansible.cfg").touch()
        words = [word for source in sources for word in ("-i", source)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "check.yml", *words, *arguments],
            cwd=tmp_path,
            env={**environment, "ANSIBLE_CONFIG": "ansible.cfg", "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        text = f"{done.stdout}{done.stderr}"
        printed = next((line for line in text.splitlines() if "FOUND {" in line), '"msg": "FOUND {} FOUND"')
        message = json.loads(f"{{{printed.strip().rstrip(',')}}}")["msg"]
        return Answer(done.returncode, text, json.loads(message.removeprefix("FOUND").removesuffix("FOUND")))

    return run


def write(place: pathlib.Path, text: str, mode: int = 0o644) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(mode)


def accepted(answer: Answer) -> dict[str, t.Any]:
    assert answer.rc == 0, answer.text
    return answer.result


def test_the_command_line_alone_names_recorded_devices(check, tmp_path):
    named = "__trainmesh_devices_root"
    write(tmp_path / "hosts.yml", f"all: {{hosts: {{gpu1: {{ansible_host: 192.0.2.1, {named}: /recorded}}}}}}")
    assert "devices_root" not in accepted(check("hosts.yml"))["node_facts"]
    found = accepted(check("hosts.yml", arguments=["-e", f"{named}=/recorded"]))
    assert found["node_facts"]["devices_root"] == "/recorded"


def encrypted(tmp_path, *words: str) -> str:
    """A value or a file, encrypted as people do it."""
    write(tmp_path / "password", "open sesame\n")
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "vault", *words, "--vault-password-file", "password"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def vaulted(tmp_path, value: str, indent: int) -> str:
    """An encrypted value for a YAML inventory: a block of lines after its key."""
    first, *rest = encrypted(tmp_path, "encrypt_string", value).rstrip().splitlines()
    return "\n".join([first, *(" " * indent + line.strip() for line in rest)])


def test_encrypted_values_and_files(check, tmp_path):
    write(
        tmp_path / "hosts.yml",
        f"""
all:
  hosts:
    gpu1:
      ansible_host: 192.0.2.1
      trainmesh_slots: {vaulted(tmp_path, "4", 8)}
      trainmesh_address: {vaulted(tmp_path, "10.0.0.1", 8)}
    gpu2:
      ansible_host: {vaulted(tmp_path, "192.0.2.2", 8)}
  vars:
    trainmesh_prefix: {vaulted(tmp_path, "/data/mesh", 6)}
""",
    )
    write(tmp_path / "group_vars/all/vault.yml", "trainmesh_master_port: 29600\ntrainmesh_env: {HF_TOKEN: hf_abc}\n")
    encrypted(tmp_path, "encrypt", "group_vars/all/vault.yml")
    found = accepted(check("hosts.yml", arguments=["--vault-password-file", "password"]))
    assert found["hosts"] == ["gpu1", "gpu2"]
    assert found["node_facts"]["peers"] == ["10.0.0.1", "192.0.2.2"]
    assert found["node_facts"]["python"] == "/data/mesh/env/bin/python"
    assert 29600 in found["node_facts"]["ports"]


def test_what_is_encrypted_is_not_printed(check, tmp_path):
    write(
        tmp_path / "hosts.yml",
        f"""
all:
  hosts:
    gpu1: {{ansible_host: 192.0.2.1}}
    gpu2:
      ansible_host: 192.0.2.2
      trainmesh_prefix: /other
  vars:
    trainmesh_prefix: {vaulted(tmp_path, "/path-of-mine", 6)}
    trainmesh_env:
      TOKEN: {vaulted(tmp_path, "secret of mine", 8)}
""",
    )
    write(tmp_path / "group_vars/all/vault.yml", "trainmesh_torch: 'whole file of mine'\n")
    encrypted(tmp_path, "encrypt", "group_vars/all/vault.yml")
    answer = check("hosts.yml", arguments=["--vault-password-file", "password"])
    assert answer.rc != 0 and "3 fault(s)" in answer.text
    assert "trainmesh_env: TOKEN: expected" in answer.text and "trainmesh_torch: expected" in answer.text
    assert "of mine" not in answer.text and "/path-of-mine" not in answer.text


def test_several_sources_with_variables_beside_each(check, tmp_path):
    write(tmp_path / "a/hosts", "[gpu]\ngpu1\n")
    write(tmp_path / "a/host_vars/gpu1.yml", "ansible_host: 192.0.2.1\n")
    write(tmp_path / "a/group_vars/all", "trainmesh_prefix: /data/mesh\n")
    write(tmp_path / "b/10-more.yml", "gpu: {hosts: {gpu2: {trainmesh_slots: 2}}}\n")
    write(tmp_path / "b/20-more.ini", "[gpu]\ngpu3\ngpu1 trainmesh_slots=8\n")
    write(tmp_path / "b/10-more.yml.bak", "gpu: {hosts: {gpu2: {}, gpu2: {trainmesh_slots: 3}}}\n")
    write(tmp_path / "b/host_vars/gpu2/net.yml", "ansible_host: 192.0.2.2\n")
    write(tmp_path / "b/host_vars/gpu3.yaml", "trainmesh_address: 10.0.0.3\n")
    found = accepted(check("a/hosts", "b", "192.0.2.9,"))
    assert found["hosts"] == ["192.0.2.9", "gpu1", "gpu2", "gpu3"]
    assert found["node_facts"]["peers"] == ["192.0.2.9", "192.0.2.1", "192.0.2.2", "10.0.0.3"]
    assert found["node_facts"]["paths"][0] == "/data/mesh"
    assert found["state_dir"] == str(tmp_path / "a/.trainmesh")


def test_a_dynamic_inventory(check, tmp_path):
    hosts = {"gpu1": {"ansible_host": "192.0.2.1", "trainmesh_slots": 8}, "gpu2": {"ansible_host": "192.0.2.2"}}
    data = {
        "gpu": {"hosts": list(hosts), "vars": {"trainmesh_prefix": "/data/mesh"}},
        "_meta": {"hostvars": hosts},
    }
    write(tmp_path / "inventory.py", f"#!/bin/sh\ncat <<'END'\n{json.dumps(data)}\nEND\n", 0o755)
    found = accepted(check("inventory.py"))
    assert (found["hosts"], found["node_facts"]["peers"]) == (["gpu1", "gpu2"], ["192.0.2.1", "192.0.2.2"])
    assert (found["node_facts"]["paths"][0], found["state_dir"]) == ("/data/mesh", str(tmp_path / ".trainmesh"))


def test_the_nodes_are_expected_as_the_last_run_left_them(check, tmp_path):
    made = plan_cluster.make([clusters.host(1), clusters.host(2)], clusters.options(), {})
    state.save(str(tmp_path / "kept/cluster.json"), state.text(made["model"], "0123abcd", "all", []))
    write(
        tmp_path / "hosts", "node1 ansible_host=192.0.2.1\nnode2 ansible_host=192.0.2.2\nnode3 ansible_host=192.0.2.3\n"
    )
    first = accepted(check("hosts"))
    assert first["node_facts"]["addresses"] == first["node_facts"]["peers"]
    assert first["authorized_keys"] == [] and "keys" not in first["node_facts"]
    found = accepted(check("hosts", arguments=["-e", f"trainmesh_state_dir={tmp_path}/kept"]))
    assert found["node_facts"]["addresses"] == ["10.0.0.11", "10.0.0.12", "192.0.2.3"]
    assert found["authorized_keys"] == made["ssh"]["authorized_keys"]
    assert found["node_facts"]["keys"] == ssh.expected(made["ssh"]["authorized_keys"])
    write(tmp_path / "kept/cluster.json", "damaged")
    damaged = accepted(check("hosts", arguments=["-e", f"trainmesh_state_dir={tmp_path}/kept"]))
    assert damaged["node_facts"] == first["node_facts"] and damaged["authorized_keys"] == []


RANGES = {
    "hosts": "[gpu]\ngpu[1:4].lab trainmesh_slots=8\nrack[a:b]-gpu[01:02]\n",
    "hosts.yml": "gpu: {hosts: {'gpu[1:4].lab': {trainmesh_slots: 8}, 'rack[a:b]-gpu[01:02]': {}}}\n",
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges_are_the_hosts_that_they_stand_for(check, tmp_path, name):
    write(tmp_path / name, RANGES[name])
    found = accepted(check(name))
    racks = ["racka-gpu01", "racka-gpu02", "rackb-gpu01", "rackb-gpu02"]
    assert found["hosts"] == [*(f"gpu{number}.lab" for number in range(1, 5)), *racks]


def test_only_the_hosts_of_the_group_and_its_children(check, tmp_path):
    write(
        tmp_path / "hosts",
        """
[storage]
nas_1 ansible_host=192.0.2.99 trainmesh_nonsense=1

[rack1]
gpu1 ansible_host=192.0.2.1
[rack2]
gpu2 ansible_host=192.0.2.2
[gpu:children]
rack1
rack2
[gpu:vars]
trainmesh_prefix=/data/mesh
trainmesh_master_port=29600
trainmesh_launchers=['torchrun', 'mpirun']
""",
    )
    found = accepted(check("hosts", arguments=["-e", "group=gpu"]))
    assert (found["hosts"], found["node_facts"]["paths"][0]) == (["gpu1", "gpu2"], "/data/mesh")
    assert 29600 in found["node_facts"]["ports"]


def test_the_controller_may_be_a_node(check, tmp_path):
    write(
        tmp_path / "hosts.yml",
        "all: {hosts: {head: {ansible_connection: local}, gpu2: {ansible_host: 192.0.2.2}}}\n",
    )
    found = accepted(check("hosts.yml"))
    assert (found["hosts"], found["node_facts"]["names"]) == (["head", "gpu2"], ["head", "gpu2"])


EQUAL = {
    "hosts": "[a]\ngpu3 ansible_host=192.0.2.3 ansible_user=a\n[b]\ngpu3 ansible_user=a ansible_host=192.0.2.3\n",
    "hosts.yml": """
agents: {hosts: {gpu3: {ansible_host: 192.0.2.3}}}
gpu: {hosts: {gpu3: {ansible_host: 192.0.2.3}}}
""",
    # YAML without an extension, which Ansible reads as such
    "nodes": """
agents:
  hosts:
    gpu3: {ansible_host: 192.0.2.3}
    gpu4:
      ansible_ssh_common_args: ControlPath=none -q
    gpu5:
      ansible_ssh_common_args: ControlPath=/tmp/other
""",
}


@pytest.mark.parametrize("name", EQUAL)
def test_a_host_in_two_groups(check, tmp_path, name):
    write(tmp_path / name, EQUAL[name])
    assert accepted(check(name))["hosts"][0] == "gpu3"


def test_a_host_that_stands_twice_in_yaml_without_an_extension(check, tmp_path):
    write(tmp_path / "nodes", "all:\n  hosts:\n    gpu1: {}\n    gpu1: {trainmesh_slots: 2}\n")
    answer = check("nodes")
    assert answer.rc != 0 and "gpu1" in answer.text and "already stands in line 3" in answer.text


@pytest.mark.parametrize(
    ("variables", "connections", "expected"),
    [
        ({}, {"a": "ssh"}, (True, True)),
        ({}, {"a": "local", "b": "community.docker.docker"}, (True, False)),
        ({}, {"a": "local", "b": "ansible.builtin.ssh"}, (True, True)),
        ({"trainmesh_read_only": "true"}, {"a": None}, (False, True)),
        ({"ansible_run_tags": ["hosts", "ssh_mesh"]}, {"a": None}, (False, True)),
        ({"ansible_run_tags": ["torch_stack"]}, {"a": None}, (True, True)),
        ({"ansible_run_tags": ["tagged"]}, {"a": None}, (True, True)),
        ({"ansible_run_tags": ["untagged"]}, {"a": None}, (False, True)),
        ({"ansible_skip_tags": ["torch_stack"]}, {"a": None}, (False, True)),
        ({"ansible_skip_tags": ["tagged"]}, {"a": None}, (False, True)),
        ({"ansible_skip_tags": ["verify"]}, {"a": None}, (True, True)),
    ],
)
def test_the_controller_is_asked_for_what_the_run_uses(monkeypatch, variables, connections, expected):
    asked = []
    monkeypatch.setattr(controller, "missing", lambda *needs: asked.append(needs) or ["uv is missing"])
    hostvars = {name: {"ansible_connection": kind} if kind else {} for name, kind in connections.items()}
    assert ActionModule._controller({"hostvars": hostvars, **variables}, list(hostvars)) == ["uv is missing"]
    assert asked == [expected]


LEAVING = """
all:
  hosts:
    node1: {ansible_host: 10.0.0.1}
    node2: {ansible_host: 10.0.0.2, trainmesh_state: absent}
    node3: {ansible_host: 10.0.0.3}
"""


def test_a_node_that_leaves_is_none_of_the_others(check, tmp_path):
    write(tmp_path / "hosts.yml", LEAVING)
    found = accepted(check("hosts.yml"))
    assert (found["hosts"], found["leaving"]) == (["node1", "node3"], ["node2"])
    assert found["node_facts"]["peers"] == ["10.0.0.1", "10.0.0.3"] and found["become"]["node2"] is False


@pytest.mark.parametrize(
    ("given", "makes", "rotates", "looks"),
    [
        (("trainmesh_rotate_keys=true",), True, False, True),
        (("trainmesh_rotate_keys=true", "may_rotate=true"), True, True, True),
        (("may_rotate=true",), True, False, True),
        (("read_only=true",), False, False, False),
    ],
)
def test_what_a_run_does_with_keys_is_said_once_for_all_nodes(check, tmp_path, given, makes, rotates, looks):
    write(tmp_path / "hosts.yml", "all: {hosts: {node1: , node2: }}")
    found = accepted(check("hosts.yml", arguments=[word for each in given for word in ("-e", each)]))
    told = found["node_facts"]
    assert (told["create_key"], told["rotate_key"], bool(found["present"])) == (makes, rotates, looks)


def test_a_whole_cluster_leaves_by_its_own_playbook(check, tmp_path):
    write(tmp_path / "hosts.yml", "all: {vars: {trainmesh_state: absent}, hosts: {node1: , node2: }}")
    assert "teardown.yml takes a whole cluster apart" in check("hosts.yml").text


def test_a_head_that_leaves_is_refused(check, tmp_path):
    write(tmp_path / "hosts.yml", LEAVING + "  vars: {trainmesh_head: node2}\n")
    assert "trainmesh_head" in check("hosts.yml").text


def test_a_state_that_is_none_is_refused(check, tmp_path):
    write(tmp_path / "hosts.yml", LEAVING.replace("absent", "gone"))
    answer = check("hosts.yml")
    assert answer.rc and "trainmesh_state" in answer.text and "gone" in answer.text


def test_a_teardown_is_looked_at_or_confirmed(check, tmp_path):
    write(tmp_path / "hosts.yml", LEAVING)
    answer = check("hosts.yml", arguments=["-e", "teardown=true"])
    assert answer.rc and "node1, node2, node3" in answer.text and "trainmesh_teardown=true" in answer.text
    for words in (["--check"], ["-e", "trainmesh_teardown=true"]):
        found = accepted(check("hosts.yml", arguments=["-e", "teardown=true", *words]))
        assert (found["hosts"], found["leaving"]) == ([], ["node1", "node2", "node3"])


ENABLED = "[inventory]\nenable_plugins = trainmesh.cluster.hostfile, host_list, script, auto, yaml, ini, toml\n"


@pytest.mark.parametrize("text", ["gpu1 slots=8\ngpu2 slots=8\n", "gpu1\nbob@gpu2:4\n"])
def test_a_hostfile_that_another_plugin_read_is_told_once(check, tmp_path, text):
    write(tmp_path / "cluster.hostfile", text)
    answer = check("cluster.hostfile")
    assert answer.rc and "The inventory has 1 fault(s); no machine" in answer.text
    assert f"{tmp_path}/cluster.hostfile: this is a hostfile" in answer.text
    assert "ANSIBLE_INVENTORY_ENABLED=trainmesh.cluster.hostfile,host_list,script,auto,yaml,ini,toml" in answer.text
    (tmp_path / "ansible.cfg").write_text(ENABLED)
    assert accepted(check("cluster.hostfile"))["hosts"] == ["gpu1", "gpu2"]


@pytest.mark.parametrize("settings", ["", ENABLED])
def test_a_hostfile_of_names_only_needs_no_plugin(check, tmp_path, settings):
    write(tmp_path / "cluster.hostfile", "gpu1\n# gpu9\ngpu2\n")
    (tmp_path / "ansible.cfg").write_text(settings)
    assert accepted(check("cluster.hostfile"))["hosts"] == ["gpu1", "gpu2"]


@pytest.mark.parametrize("line", ["gpu2 slots=eight", "gpu2 8"])  # the ini plugin takes one, and refuses the other
@pytest.mark.parametrize("settings", ["", ENABLED])
def test_a_bad_line_of_a_hostfile_is_the_one_fault(check, tmp_path, settings, line):
    write(tmp_path / "cluster.hostfile", f"gpu1 slots=8\n{line}\n")
    (tmp_path / "ansible.cfg").write_text(settings)
    answer = check("cluster.hostfile")
    assert answer.rc and "The inventory has 1 fault(s)" in answer.text
    assert f"1. {tmp_path}/cluster.hostfile:2: " in answer.text and "expected" in answer.text


def test_slots_of_a_hostfile_in_an_ini_inventory_are_told(check, tmp_path):
    write(tmp_path / "hosts", "[trainers]\ngpu1 slots=8\ngpu2 slots=8 trainmesh_slots=4\n")
    answer = check("hosts")
    assert accepted(answer)["hosts"] and "gpu1: slots is not read, trainmesh_slots is" in answer.text
    write(tmp_path / "hosts", "[trainers]\ngpu1 slots='{{ nowhere }}'\ngpu2 slots=bay-7\n")
    answer = check("hosts")
    assert accepted(answer)["hosts"] and "slots is not read" not in answer.text


def test_a_hostfile_that_ansible_leaves_out_is_nobodys(check, tmp_path):
    write(tmp_path / "nodes/hosts.yml", "all: {hosts: {gpu1: , gpu2: }}\n")
    write(tmp_path / "nodes/job.hostfile", "gpu1 slots=8\n")
    assert check("nodes").rc
    (tmp_path / "ansible.cfg").write_text("[inventory]\nignore_patterns = hostfile\n")
    assert accepted(check("nodes"))["hosts"] == ["gpu1", "gpu2"]
