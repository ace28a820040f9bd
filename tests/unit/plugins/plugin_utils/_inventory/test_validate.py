# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.duplicates import repeats_in_file
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._inventory.validate import check

GOOD = {"node1": {"ansible_host": "10.0.0.11"}, "node2": {"ansible_host": "10.0.0.12", "ansible_port": 2222}}


def faults(hosts):
    return [str(fault) for fault in check(hosts)]


def with_(name, **values):
    return {**GOOD, name: {**GOOD.get(name, {}), **values}}


def everywhere(**values):
    return {name: {**host, **values} for name, host in GOOD.items()}


def test_a_good_inventory_has_no_fault():
    assert faults(GOOD) == []


def test_an_empty_inventory_says_what_was_expected():
    assert "holds no machine" in faults({})[0] and "ansible_host=" in faults({})[0]


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        (with_("node1", trainmesh_slots=0), ["node1", "trainmesh_slots", "found 0"]),
        (with_("node1", trainmesh_slots="eight"), ["node1", "trainmesh_slots", "'eight'"]),
        (with_("node1", trainmesh_slots=True), ["node1", "trainmesh_slots"]),
        (with_("node2", ansible_port=70000), ["node2", "ansible_port", "70000"]),
        (with_("node2", ansible_port="ssh"), ["node2", "ansible_port", "'ssh'"]),
        (with_("node2", trainmesh_ssh_port=0), ["node2", "trainmesh_ssh_port"]),
        (with_("node1", trainmesh_slot=1), ["unknown variable trainmesh_slot", "did you mean trainmesh_slots"]),
        (with_("node1", trainmesh_address="127.0.0.1"), ["trainmesh_address", "other nodes can reach"]),
        (with_("node1", trainmesh_address="node1"), ["trainmesh_address", "IP address"]),
        (with_("node2", ansible_host="10.0.0.11", ansible_port=22), ["node2", "already that of node1"]),
        (with_("node3", ansible_host="10.0.0.13", trainmesh_hostname="NODE1"), ["node3", "host name", "node1"]),
        (with_("node_3", ansible_host="10.0.0.13"), ["node_3", "no host name", "trainmesh_hostname: node-3"]),
        (with_("localhost", ansible_connection="local"), ["localhost", "head: {ansible_connection: local}"]),
        (with_("ip6-loopback", ansible_host="10.0.0.13"), ["ip6-loopback", "every host has"]),
        (with_("node1", trainmesh_hostname="localhost"), ["node1", "localhost is a name that every host has"]),
        (with_("node1", trainmesh_fqdn="localhost.localdomain"), ["node1", "trainmesh_fqdn", "every host has"]),
        (with_("db.localhost", ansible_host="10.0.0.13"), ["db.localhost", "every host has"]),
        (everywhere(trainmesh_head="node9"), ["trainmesh_head", "node1, node2", "node9"]),
        (everywhere(trainmesh_master_port=2222), ["node2", "ansible_port 2222", "rendezvous"]),
        (everywhere(trainmesh_prefix="opt/x"), ["trainmesh_prefix", "absolute path"]),
        (everywhere(trainmesh_prefix="/opt/../etc"), ["trainmesh_prefix"]),
        (everywhere(trainmesh_launchers=["mpirun", "srun"]), ["trainmesh_launchers", "srun"]),
        (everywhere(trainmesh_env={"A B": "x"}), ["trainmesh_env", "'A B'"]),
        (everywhere(trainmesh_env={"A": "x; rm"}), ["trainmesh_env", "without blanks"]),
        (everywhere(trainmesh_python="venv/bin/python"), ["trainmesh_python", "absolute path"]),
        (everywhere(trainmesh_python=3.11), ["trainmesh_python", "in quotes"]),
        (everywhere(trainmesh_python="/opt/py/bin/python3", trainmesh_python_env="conda"), ["conda", "a version"]),
        (everywhere(trainmesh_conda_installer_checksum="0a1b2c"), ["checksum with its algorithm"]),
        (everywhere(trainmesh_torch="latest"), ["trainmesh_torch", "exact version"]),
        (everywhere(trainmesh_sync="/data"), ["trainmesh_sync", "list of paths"]),
        (everywhere(trainmesh_sync=["data"]), ["trainmesh_sync", "entry 1", "absolute path", "'data'"]),
        (everywhere(trainmesh_sync=[{"src": "/a"}]), ["entry 1", "expected dest", "found src"]),
        (everywhere(trainmesh_sync=["/a", {"dest": "/b", "remove": True}]), ["entry 2", "found dest, remove"]),
        (everywhere(trainmesh_sync=[{"dest": "/b", "bwlimit": "fast"}]), ["entry 1", "50M", "found fast"]),
        (with_("node2", trainmesh_prefix="/data"), ["node2", "one value for the whole cluster"]),
    ],
)
def test_each_fault_names_host_and_expectation(hosts, words):
    found = faults(hosts)
    assert len(found) == 1
    assert all(word in found[0] for word in words), found[0]


@pytest.mark.parametrize("python", ["3.11", "python3.11", "/usr/bin/python3.11", "/opt/py/bin/python3"])
def test_an_interpreter_is_a_path_or_a_version(python):
    assert faults(everywhere(trainmesh_python=python)) == []


def test_two_containers_behind_one_address_are_fine_on_unlike_ports():
    hosts = {
        "a": {"ansible_host": "10.0.0.1", "ansible_port": 2201},
        "b": {"ansible_host": "10.0.0.1", "ansible_port": 2202},
    }
    assert faults(hosts) == []


def test_all_faults_come_at_once():
    hosts = {"node1": {"trainmesh_slots": 0, "ansible_port": 0}, "node2": {"trainmesh_address": "x"}}
    assert len(faults(hosts)) == 3


def test_results_and_facts_of_our_own_plays_are_no_unknown_variables():
    assert faults(with_("node1", trainmesh_plan={}, trainmesh_identity={}, trainmesh_facts_gpu={})) == []


def test_a_name_that_is_no_host_name_is_saved_by_trainmesh_hostname():
    assert faults(with_("gpu_3", ansible_host="10.0.0.13", trainmesh_hostname="gpu-3")) == []
    assert faults(with_("localhost", ansible_connection="local", trainmesh_hostname="head")) == []


@pytest.mark.parametrize("names", [("10.0.0.1", "10.0.0.2"), ("192.168.1.2", "10.0.0.1"), ("fd42::1", "fd42::2")])
def test_addresses_are_names_of_an_inventory(names):
    assert faults({name: {} for name in names}) == []


def test_the_origin_of_a_value_is_told():
    found = check(with_("node1", trainmesh_slots=0), origin=lambda value: "hosts.yml:7")
    assert str(found[0]).startswith("node1, hosts.yml:7: ")


def test_ini_lines_that_repeat_a_host_are_found(tmp_path):
    path = tmp_path / "hosts.ini"
    path.write_text(
        "[gpu]\nnode1 ansible_host=10.0.0.1\nnode1 ansible_host=10.0.0.2\n[other]\nnode1\n[gpu:vars]\na=1\na=2\n"
    )
    assert [(item.name, item.line, item.first_line) for item in repeats_in_file(str(path))] == [("node1", 3, 2)]


def test_a_host_with_the_same_variables_in_two_groups_is_legal(tmp_path):
    ini, text = tmp_path / "hosts.ini", "gpu3 ansible_host=127.0.0.1 ansible_connection=local"
    ini.write_text(
        f"[agents]\n{text}\n[gpu_nodes]\n{text} # again\n[more]\ngpu3 ansible_connection=local ansible_host=127.0.0.1\n"
    )
    assert repeats_in_file(str(ini)) == []
    ini.write_text(f"[agents]\n{text}\n[gpu_nodes]\n{text} trainmesh_slots=2\n")
    assert [(item.line, item.first_line) for item in repeats_in_file(str(ini))] == [(4, 2)]


def test_yaml_keys_that_repeat_a_host_are_found(tmp_path):
    path = tmp_path / "hosts.yml"
    path.write_text("all:\n  hosts:\n    node1: {}\n    node1: {a: 1}\n  children:\n    a: {hosts: {node1: {}}}\n")
    assert [(item.name, item.line, item.first_line) for item in repeats_in_file(str(path))] == [("node1", 4, 3)]


@pytest.mark.parametrize("text", ["", "\x00", "all: [", "- a\n- b\n", "a: *b"])
def test_garbage_gives_no_repeats(tmp_path, text):
    path = tmp_path / "hosts.yml"
    path.write_text(text)
    assert repeats_in_file(str(path)) == []


@pytest.mark.parametrize(
    ("values", "bad"),
    [
        ({"ansible_python_interpreter": "/opt/trainmesh/env/bin/python"}, True),
        ({"ansible_python_interpreter": "/usr/../opt/trainmesh/var/conda/bin/python"}, True),
        ({"ansible_python_interpreter": "/data/x/env/bin/python3", "trainmesh_prefix": "/data/x"}, True),
        ({"ansible_python_interpreter": "/data/x2/bin/python3", "trainmesh_prefix": "/data/x"}, False),
        ({"ansible_python_interpreter": "/usr/bin/python3.11"}, False),
        ({"ansible_python_interpreter": "auto_silent"}, False),
        ({}, False),
    ],
)
def test_roots_python_is_not_the_job_users(values, bad):
    found = [str(fault) for fault in check({"a": values})]
    assert [("ansible_python_interpreter" in text, "/usr/bin/python3" in text) for text in found] == [
        (True, True)
    ] * bad


@pytest.mark.parametrize(
    ("short", "value", "bad"),
    [
        ("env", {"HF_TOKEN": "canary"}, "canary"),
        ("index_url", "https://joe:canary@mirror.example/simple", ["canary"]),
        ("conda_installer", "https://joe:canary@mirror.example/m.sh", ["canary"]),
        ("conda_channels", ["https://mirror.example/t/canary/main"], {"canary": 1}),
        ("extra_packages", ["x @ git+https://canary@git.example/x"], {"canary": 1}),
    ],
)
def test_no_fault_prints_what_may_be_secret(short, value, bad):
    name = f"trainmesh_{short}"
    differing = check({"a": {name: value}, "b": {}, "c": {name: None}})
    wrong = check({"a": {name: bad}})
    assert [fault.host for fault in differing] == ["b", "c"] and len(wrong) == 1
    assert all(name in fault.message and "canary" not in fault.message for fault in [*differing, *wrong])
