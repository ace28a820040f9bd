# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import json

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan import cluster, nodes, state
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._plan.nodes import order
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import ssh
from ansible_collections.trainmesh.cluster.tests.unit.samples.clusters import gpu, host, interface, options, public_key


def plan(hosts, memory=None, **wish):
    return cluster.make(hosts, options(**wish), memory or {})


def faults(hosts, **wish):
    with pytest.raises(cluster.PlanError) as caught:
        plan(hosts, **wish)
    return caught.value.faults


def memory_text(hosts, identity="1234", group="all", others=()):
    return state.text(plan(hosts)["model"], identity, group, others)


def remembered(hosts):
    return {node["name"]: node for node in json.loads(memory_text(hosts))["nodes"]}


def test_three_bare_nodes_become_a_cpu_cluster():
    made = plan([host(1), host(2), host(3)])
    assert (made["head"], made["master"]) == ("node1", {"address": "10.0.0.11", "port": 29500})
    assert (made["world_size"], made["precision"], made["stack"]["torch_build"]) == (3, "fp32", "cpu")
    assert made["stack"]["platform"] == "x86_64-manylinux_2_36"


def test_a100_and_v100_get_cu126_and_fp16_and_the_plan_says_why():
    made = plan([host(1, [gpu()] * 8), host(2, [gpu("Tesla V100S-PCIE-32GB", "7.0")] * 2)])
    assert (made["stack"]["torch_build"], made["precision"], made["world_size"]) == ("cu126", "fp16", 10)
    assert any("node2" in reason and "V100S" in reason and "7.0" in reason for reason in made["reasons"])


def test_bf16_only_where_every_gpu_can():
    assert plan([host(1, [gpu()]), host(2, [gpu("H100 80GB HBM3", "9.0")])])["precision"] == "bf16"
    found = faults([host(1, [gpu()]), host(2, [gpu("Tesla T4", "7.5")])], precision="bf16")
    assert "node2" in found[0] and "fp16" in found[0]


@pytest.mark.parametrize("status", ["hung", "library_mismatch", "gpu_lost", "driver_not_loaded"])
def test_broken_gpus_are_refused_by_host_and_cause(status):
    broken = host(2, gpu_facts={"status": status, "problem": "the evidence"})
    found = faults([host(1, [gpu()]), broken])
    assert any(text.startswith("node2: ") and status in text and "the evidence" in text for text in found)


def test_broken_gpus_do_not_matter_to_a_cpu_cluster():
    broken = host(2, gpu_facts={"status": "hung", "problem": "x"})
    assert plan([host(1, [gpu()]), broken], torch_build="cpu")["world_size"] == 2


def test_a_node_without_gpus_among_others_is_refused():
    assert "node2: no GPU found" in faults([host(1, [gpu()]), host(2)])[0]


def test_more_slots_than_gpus_are_refused():
    assert "at most 1" in faults([host(1, [gpu()], {"slots": 2})])[0]


def test_the_interface_is_the_one_that_holds_the_data_address():
    facts = {"interfaces": [interface("docker0", "172.17.0.1"), interface("eno1", "10.0.0.12")]}
    made = plan([host(1, [gpu()]), host(2, [gpu()], fabric=facts)])
    assert made["nodes"]["node2"]["interface"] == "eno1"
    assert any("eno1" in line for line in made["nodes"]["node2"]["nccl_conf"])


def test_an_address_that_no_interface_holds_is_refused():
    assert "no interface holds" in faults([host(1, wish={"address": "203.0.113.7"})])[0]


def test_two_lines_for_one_machine_are_refused():
    twin = host(2, fabric={"interfaces": [interface("eth0", "10.0.0.11")], "routes": {"x": {"source": "10.0.0.11"}}})
    assert "also that of node1" in faults([host(1), twin])[0]


@pytest.mark.parametrize(
    ("low", "reserved", "wanted"),
    [
        (32768, None, 0),
        (1024, None, 29500),
        (1024, "8080,9148-9150", 29500),
        (1024, "29000-30000", 0),
        (20000, "", 29500),
    ],
)
def test_a_master_port_that_the_kernel_may_give_away_is_reserved(low, reserved, wanted):
    tuned = host(1, fabric={"port_range": {"low": low, "high": 65535 if low < 9999 else 60999, "reserved": reserved}})
    found = plan([tuned, host(2)])
    assert [found["nodes"][name]["reserved_port"] for name in ("node1", "node2")] == [wanted, 0]
    assert any("29500 is reserved" in reason for reason in found["reasons"]) is bool(wanted)


def test_the_master_port_must_not_be_that_of_sshd():
    assert "port of its sshd" in faults([host(1, fabric={"sshd": {"ports": [2222]}})], master_port=2222)[0]


def test_peers_use_the_port_that_sshd_really_has():
    assert plan([host(1, fabric={"sshd": {"ports": [2222]}})])["nodes"]["node1"]["ssh_port"] == 2222


def test_unlike_pythons_are_refused_unless_one_is_named():
    old = host(2, fabric={"python": {"path": "/usr/bin/python3", "version": "3.12.1"}})
    assert "node2 3.12" in faults([host(1), old])[0]
    assert plan([host(1), old], python="/usr/bin/python3.11")["stack"]["python_version"] == "3.11"
    assert plan([host(1), old], python_env="conda")["stack"]["python_version"] == "3.11"


def test_a_python_without_wheels_is_refused():
    assert "3.9" in faults([host(1, fabric={"python": {"path": "/usr/bin/python3", "version": "3.9.2"}})])[0]


def test_ranks_stay_when_a_line_is_added_on_top_or_taken_out():
    memory = remembered([host(1), host(2), host(3)])
    assert plan([host(4), host(1), host(2), host(3)], memory)["order"] == ["node1", "node2", "node3", "node4"]
    assert plan([host(1), host(3)], memory)["order"] == ["node1", "node3"]
    assert plan([host(2), host(3)], memory)["order"] == ["node2", "node3"]


def test_the_head_asked_for_leads():
    assert plan([host(1), host(2)], head="node2")["order"] == ["node2", "node1"]


def test_a_removed_node_is_gone_from_every_text():
    made = plan([host(1), host(3)], remembered([host(1), host(2), host(3)]))
    texts = json.dumps({name: made[name] for name in ("ssh", "hosts_entries", "files", "nodes")})
    assert "node2" not in texts and "10.0.0.12" not in texts


def test_an_unreachable_node_keeps_rank_line_and_key():
    made = plan([host(1), host(2, reached=False), host(3)], remembered([host(1), host(2), host(3)]))
    assert made["order"] == ["node1", "node2", "node3"]
    assert any(public_key("KEY2") in line for line in made["ssh"]["authorized_keys"])
    assert "node2 was not reached" in made["warnings"][0]
    assert not made["nodes"]["node2"]["reachable"]


def test_a_node_never_seen_is_left_out_with_a_word():
    made = plan([host(1), host(2, reached=False)])
    assert made["order"] == ["node1"] and "node2" in made["warnings"][0]


def test_a_cluster_that_others_made_keeps_its_own_names():
    own = {"hostname": "alpha", "fqdn": "alpha.lab"}
    hosts = [host(1, fabric=own), host(2, reached=False)]
    made = cluster.make(hosts, options(), {}, strict=False)
    node = made["nodes"]["node1"]
    assert not made["managed"] and made["left_out"] == ["node2"]
    assert (node["hostname"], node["fqdn"], node["names"]) == ("alpha", "alpha.lab", ["alpha"])


@pytest.mark.parametrize(
    ("facts", "wish", "kept"),
    [
        ({"hostname": "3f2a91", "can_set_hostname": False}, {}, True),
        ({"hostname": "3f2a91", "can_set_hostname": False}, {"hostname": "3f2a91"}, False),
        ({"hostname": "node1", "can_set_hostname": False}, {}, False),
        ({"hostname": "3f2a91", "can_set_hostname": True}, {}, False),
        ({"hostname": "3f2a91", "can_set_hostname": None}, {}, False),
    ],
)
def test_the_plan_tells_who_keeps_the_host_name(facts, wish, kept):
    warnings = plan([host(1, fabric=facts, wish=wish), host(2)])["warnings"]
    assert [text.startswith("node1: the host name stays 3f2a91: the kernel refuses node1 (") for text in warnings] == (
        [True] if kept else []
    )
    assert all("trainmesh_hostname: 3f2a91" in text and "--hostname node1" in text for text in warnings)


def test_the_plan_names_the_variables_of_the_jobs_and_holds_no_secret():
    """It is registered, so that a log, a callback or -v shows it."""
    secrets = {
        "env": {"HF_TOKEN": "canary-a", "NCCL_DEBUG": "canary-b"},
        "index_url": "https://joe:canary-c@mirror.example/simple",
        "conda_installer": "https://joe:canary-d@mirror.example/m.sh",
        "conda_channels": ["https://joe:canary-e@mirror.example/conda"],
    }
    for wish in (secrets, {**secrets, "python_env": "conda"}):
        made = plan([host(1), host(2)], **wish)
        assert "canary" not in repr(made) and made["env"] == ["HF_TOKEN", "NCCL_DEBUG"]


def test_nobody_reached_is_one_clear_fault():
    assert "no host could be reached" in faults([host(1, reached=False)])[0]


def test_order_never_moves_old_ranks():
    assert order(["a", "b", "c"], None, ["c", "b"]) == ["c", "b", "a"]


def test_keys_open_only_from_their_own_node():
    made = plan([host(1), host(2)])
    assert made["ssh"]["authorized_keys"][0] == f'restrict,pty,from="10.0.0.11" {public_key("KEY1")} trainmesh node1'
    own = [f'restrict,pty,from="127.0.0.0/8,::1" {public_key("KEY1")} trainmesh node1']
    assert made["nodes"]["node1"]["loopback_key"] == own
    assert not any("127." in line or "::1" in line for line in made["ssh"]["authorized_keys"])


def with_one_home(number):
    directory = {"inode": 7, "device": 40, "machine": f"m{number}", "fs_type": "nfs4", "source": "filer:/home"}
    one = host(number)
    identity = {**one.identity, "public_key": public_key("KEY1"), "ssh_directory": {**directory, "local": False}}
    return one._replace(identity=identity)


def test_one_node_writes_the_files_of_a_home_that_several_have():
    made = plan([host(1), with_one_home(2), with_one_home(3)])
    assert {name: node["ssh_home_of"] for name, node in made["nodes"].items()} == {
        "node1": "",
        "node2": "",
        "node3": "node2",
    }
    line = f'restrict,pty,from="127.0.0.0/8,::1" {public_key("KEY1")} trainmesh node2 node3'
    assert made["nodes"]["node2"]["loopback_key"] == made["nodes"]["node3"]["loopback_key"] == [line]
    named = [text.partition(" ")[0] for text in made["ssh"]["authorized_keys"]]
    assert [text.count(f"10.0.0.1{at}") for at, text in enumerate(named, 1)] == [1, 1, 1]  # from= has every node
    assert any("node2, node3 have one home: node2 writes" in reason for reason in made["reasons"])
    assert (
        "one key for all their certificates" in faults([host(1), with_one_home(2), with_one_home(3)], ssh_trust="ca")[0]
    )


def test_a_remembered_node_without_a_key_has_no_line():
    node = dataclasses.replace(plan([host(1)])["model"].head, public_key="", reachable=False)
    assert ssh.loopback_key(node) == []


def test_host_keys_are_pinned_in_the_form_of_the_port():
    other = host(2, fabric={"sshd": {"ports": [2222]}})
    lines = plan([host(1), other])["ssh"]["known_hosts"]
    assert lines[0].startswith("node1,node1.trainmesh.internal,10.0.0.11 ")
    assert lines[1].startswith("[node2]:2222,[node2.trainmesh.internal]:2222,[10.0.0.12]:2222 ")


def test_what_is_the_same_on_every_node_stands_once():
    made = plan([host(1), host(2)])
    assert [file["content"] for file in made["files"] if file["path"] == "etc/hostfile"] == [
        "node1 slots=1\nnode2 slots=1\n"
    ]
    own = [[file["path"] for file in node["files"]] for node in made["nodes"].values()]
    assert own[0] == own[1] and not {*own[0]} & {file["path"] for file in made["files"]}


def test_the_plan_grows_with_the_nodes_and_no_faster():
    sizes = [len(json.dumps(plan([host(number) for number in range(1, many)]), default=str)) for many in (33, 65)]
    assert sizes[1] < 2.5 * sizes[0]


def test_memory_round_trip(tmp_path):
    path = str(tmp_path / "deep" / "cluster.json")
    assert state.load(path, "all", {"node1": "10.0.0.11"}) == state.Memory({}, "", "", [])
    state.save(path, memory_text([host(1), host(2)]))
    loaded = state.load(path, "all", {"node2": "10.0.0.12", "node1": "10.0.0.11"})
    assert list(loaded.nodes) == ["node1", "node2"]
    assert loaded[1:] == ("1234", "/opt/trainmesh", [], (), ())
    assert state.recall(loaded.nodes["node2"], 1).address == "10.0.0.12"


def run(path, group, numbers, identity=""):
    """What a run remembers, and what it began with."""
    hosts = [host(number) for number in numbers]
    memory = state.load(path, group, {one.name: one.ansible_host for one in hosts})
    made = cluster.make(hosts, options(), memory.nodes)["model"]
    state.save(path, state.text(made, memory.identity or identity, group, memory.others))
    return memory


@pytest.mark.parametrize("groups", [("a", "b"), ("all", "all")])
def test_clusters_that_share_a_state_directory_remember_their_own_ranks(tmp_path, groups):
    path = str(tmp_path / "cluster.json")
    one, two = groups
    run(path, one, [2, 1], "first")
    run(path, two, [4, 3], "second")
    run(path, one, [1, 2])
    again = run(path, two, [3, 4])
    assert (list(again.nodes), again.identity) == (["node4", "node3"], "second")
    again = run(path, one, [1, 2, 5])
    assert (list(again.nodes), again.identity) == (["node2", "node1"], "first")
    assert len(json.loads((tmp_path / "cluster.json").read_text())["others"]) == 1


def test_groups_that_share_a_node_are_two_clusters(tmp_path):
    path = str(tmp_path / "cluster.json")
    run(path, "a", [1, 2], "first")
    assert run(path, "b", [2, 3], "second").identity == ""
    assert run(path, "a", [1, 2]).identity == "first"


def test_a_group_within_a_remembered_one_goes_on_with_its_memory(tmp_path):
    path = str(tmp_path / "cluster.json")
    run(path, "all", [3, 2, 1], "first")
    part = run(path, "part", [1, 2])
    assert (part.identity, list(part.nodes)) == ("first", ["node3", "node2", "node1"])
    assert list(run(path, "all", [1, 2, 3]).nodes) == ["node3", "node2", "node1"]


def test_a_memory_of_before_serves_any_group_that_has_its_nodes(tmp_path):
    path = tmp_path / "cluster.json"
    old = json.loads(memory_text([host(2), host(1)], "old"))
    del old["group"]
    path.write_text(json.dumps(old))
    assert run(str(path), "gpu", [1, 2, 3]).identity == "old"
    assert len(json.loads(path.read_text())["nodes"]) == 3
    assert "others" not in json.loads(path.read_text())


def test_renamed_nodes_are_known_by_their_addresses(tmp_path):
    path = str(tmp_path / "cluster.json")
    run(path, "all", [1, 2], "first")
    assert state.load(path, "all", {"gpu1": "10.0.0.11"}).identity == "first"
    assert state.load(path, "all", {"gpu9": "10.0.0.19"}).identity == ""


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"format": 99, "nodes": []}', '{"format": 1}', '{"format": 1, "nodes": [3]}'),
        *('{"format": 1, "nodes": [], "others": [3]}', '{"format": 1, "nodes": [], "others": 3}'),
    ],
)
def test_a_damaged_memory_is_one_clear_error(tmp_path, text):
    path = tmp_path / "cluster.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="restore it, or remove it"):
        state.load(str(path), "all", {})
    with pytest.raises(ValueError, match="damaged"):
        state.recall({"name": "x", "colour": 1}, 0)


@pytest.mark.parametrize(
    ("starts", "most"),
    [(["10:30:100"], 5), (["100:30:200"], 6), ([None, "2:30:4"], 1), ([], 5), (["10:30:100", "6"], 3)],
)
def test_logins_at_once_stay_below_what_the_strictest_sshd_takes(starts, most):
    hosts = [host(number, wish={})._replace(sshd={"maxstartups": text}) for number, text in enumerate(starts, 1)]
    assert nodes.logins_at_once(hosts) == most


@pytest.mark.parametrize(
    ("row", "node", "wanted"),
    [
        ({"address": "192.0.2.3", "port": 22}, {}, (["192.0.2.3"], 22)),
        (
            {"address": "192.0.2.3", "port": 22},
            {"address": "10.0.0.3", "ssh_port": 22},
            (["10.0.0.3", "192.0.2.3"], 22),
        ),
        ({"address": "192.0.2.1", "port": 2203}, {"address": "10.0.0.3", "ssh_port": 22}, (["10.0.0.3"], 22)),
        ({"address": "127.0.0.1", "port": 2203}, {}, None),
        ({"address": "node3.example", "port": 22}, {}, None),
        ({"address": None, "port": None}, {"address": "10.0.0.3", "ssh_port": 2222}, (["10.0.0.3"], 2222)),
        ({"address": "192.0.2.3", "port": 22, "ok": True}, {}, None),
    ],
)
def test_where_the_nodes_may_look_for_a_host_that_the_controller_could_not_reach(row, node, wanted):
    found = nodes.unreached({"node3": {"ok": False, **row}}, {"node3": node} if node else {})
    assert found == ([{"name": "node3", "addresses": wanted[0], "port": wanted[1]}] if wanted else [])


def test_a_node_has_the_memory_of_its_smallest_gpu_and_what_its_container_may_use():
    cards = [gpu(memory_mib=40960), gpu(memory_mib=24564), gpu(memory_mib=None)]
    limited = {"memory_bytes": 1 << 40, "cgroup_limits": {"memory_bytes": 1 << 36, "pids": None, "cpus": None}}
    node = nodes.build_node(host(1, gpus=cards, fabric=limited), 0, "trainmesh.internal", use_gpus=True)
    assert (node.gpu_memory_mib, node.memory_bytes) == (24564, 1 << 36)
    free = {"memory_bytes": 1 << 40, "cgroup_limits": {"memory_bytes": None, "pids": None, "cpus": None}}
    node = nodes.build_node(host(1, fabric=free), 0, "trainmesh.internal", use_gpus=True)
    assert (node.gpu_memory_mib, node.memory_bytes) == (None, 1 << 40)


def test_each_environment_has_its_own_packages_and_else_what_all_jobs_have():
    wish = [{"name": "vision", "torch": "2.12.0", "torch_companions": ["torchvision"]}, {"name": "nlp"}]
    made = plan([host(1)], deepspeed="0.19.8", extra_packages=["wandb==0.21"], environments=wish)
    main, (vision, nlp) = made["stack"]["requirements"], made["stack"]["environments"]
    assert [vision["name"], nlp["name"], nlp["torch_build"]] == ["vision", "nlp", made["stack"]["torch_build"]]
    assert "torch==2.12.0" in vision["requirements"][0] and "deepspeed==0.19.8" in vision["requirements"]
    assert any(line.startswith("torchvision==") for line in vision["requirements"])
    assert nlp["requirements"] == [line for line in main if line != "wandb==0.21"]
    assert plan([host(1)])["stack"]["environments"] == []


def test_an_environment_that_can_not_be_had_is_refused_by_its_name():
    found = faults([host(1)], environments=[{"name": "old", "torch": "1.0.0", "torch_companions": ["torchvision"]}])
    assert [fault for fault in found if fault.startswith("trainmesh_environments: old: ")]
