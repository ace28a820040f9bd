# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Behaviour of the rendered launch configuration."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster, Node
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render import env
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render.env import nccl_conf
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._render.node_files import (
    describe,
    node_files,
    shared_files,
)


def make_node(rank, slots=1, **values):
    name = f"node{rank + 1}"
    base = {"name": name, "rank": rank, "address": f"10.0.0.{rank + 11}", "ssh_port": 22, "slots": slots}
    return Node(**{**base, "interface": f"eth{rank}", "hostname": name, "fqdn": f"{name}.cluster", **values})


def make_cluster(*slots, gpus=False, **values):
    cards = {"gpus": ("NVIDIA A10",)} if gpus else {}
    nodes = tuple(make_node(rank, count, **cards) for rank, count in enumerate(slots or (1, 1, 1)))
    base = {"user": "trainer", "prefix": "/opt/trainmesh", "master_port": 29500, "precision": "fp32"}
    return Cluster(nodes=nodes, **{**base, **values})


def files_of(cluster, rank=0):
    return {file["path"]: file for file in [*shared_files(cluster), *node_files(cluster, cluster.nodes[rank])]}


def both(cluster):
    return shared_files(cluster), node_files(cluster, cluster.head)


def text(cluster, path, rank=0):
    return files_of(cluster, rank)[path]["content"]


def test_hostfile_has_one_bare_line_per_node_in_rank_order():
    assert text(make_cluster(8, 2), "etc/hostfile") == "node1 slots=8\nnode2 slots=2\n"
    assert text(make_cluster(8, 2), "etc/hosts") == "node1\nnode2\n"


def test_only_the_rank_and_the_own_names_differ_between_nodes_with_equal_slots():
    cluster = make_cluster(2, 2)
    first, second = files_of(cluster, 0), files_of(cluster, 1)
    differing = {path for path in first if first[path] != second[path]}
    assert differing == {file["path"] for file in node_files(cluster, cluster.head)}
    assert len(differing) == 5
    standard = [yaml.safe_load(files["etc/accelerate/deepspeed_standard.yaml"]["content"]) for files in (first, second)]
    assert [item.pop("machine_rank") for item in standard] == [0, 1]
    assert standard[0] == standard[1]


def test_the_pdsh_file_is_the_launch_nodes_on_every_node():
    parsed = yaml.safe_load(text(make_cluster(2, 2), "etc/accelerate/deepspeed_pdsh.yaml", rank=1))
    assert parsed["machine_rank"] == 0
    assert parsed["num_processes"] == 4
    assert parsed["main_process_ip"] == "10.0.0.11"
    assert parsed["same_network"] is True
    assert "mixed_precision" not in parsed
    assert parsed["deepspeed_config"] == {
        "deepspeed_config_file": "/opt/trainmesh/etc/deepspeed/auto/zero2.json",
        "zero3_init_flag": False,
        "deepspeed_hostfile": "/opt/trainmesh/etc/hostfile",
        "deepspeed_multinode_launcher": "pdsh",
    }


def test_unequal_slots_are_spelled_out_and_totalled_for_each_node():
    cluster = make_cluster(4, 2)
    pdsh = yaml.safe_load(text(cluster, "etc/accelerate/deepspeed_pdsh.yaml"))
    assert pdsh["deepspeed_config"]["deepspeed_inclusion_filter"] == "node1:0,1,2,3@node2:0,1"
    per_node = [
        yaml.safe_load(text(cluster, "etc/accelerate/deepspeed_standard.yaml", rank))["num_processes"]
        for rank in (0, 1)
    ]
    assert [total // 2 for total in per_node] == [4, 2]


def test_the_cpu_file_goes_through_torchrun():
    parsed = yaml.safe_load(text(make_cluster(), "etc/accelerate/cpu.yaml"))
    assert (parsed["distributed_type"], parsed["use_cpu"], parsed["mixed_precision"]) == ("MULTI_GPU", True, "no")


@pytest.mark.parametrize(
    ("precision", "fp16", "bf16"), [("fp32", False, False), ("fp16", True, False), ("bf16", False, True)]
)
def test_deepspeed_files_have_at_most_one_precision(precision, fp16, bf16):
    cluster = make_cluster(1, 1, gpus=True, precision=precision)
    for path, file in files_of(cluster).items():
        if path.startswith("etc/deepspeed/"):
            parsed = json.loads(file["content"])
            assert (parsed["fp16"]["enabled"], parsed["bf16"]["enabled"]) == (fp16, bf16)
            assert ("loss_scale" in parsed["fp16"]) == fp16


def test_files_for_raw_deepspeed_have_nothing_left_open():
    raw = [file["content"] for path, file in files_of(make_cluster()).items() if path.startswith("etc/deepspeed/zero")]
    assert len(raw) == 6
    assert not any("auto" in content for content in raw)
    assert all(json.loads(content)["train_micro_batch_size_per_gpu"] == 1 for content in raw)


def test_stage_three_gathers_the_weights_and_every_file_saves_on_its_own_node():
    parsed = json.loads(text(make_cluster(), "etc/deepspeed/zero3_offload.json"))
    assert parsed["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert parsed["zero_optimization"]["offload_param"] == {"device": "cpu", "pin_memory": False}
    assert parsed["checkpoint"] == {"use_node_local_storage": True}


def test_nccl_gets_the_exact_interface_on_gpu_nodes_only():
    gpus, cpus = make_cluster(1, 1, gpus=True), make_cluster()
    assert nccl_conf(gpus, gpus.nodes[1]) == ["NCCL_SOCKET_IFNAME==eth1"]
    assert nccl_conf(cpus, cpus.nodes[1]) == []


def test_cpu_clusters_tell_deepspeed_and_use_one_thread():
    assert "DS_ACCELERATOR=cpu\nOMP_NUM_THREADS=1\n" in text(make_cluster(), "etc/deepspeed_env")
    assert "DS_ACCELERATOR" not in text(make_cluster(1, gpus=True), "etc/deepspeed_env")


def test_environment_files_mean_the_same_to_sh_and_to_a_simple_reader(tmp_path):
    content = text(make_cluster(), "etc/cluster.env") + text(make_cluster(), "etc/node.env", rank=1)
    (tmp_path / "env").write_text(content)
    script = 'set -a; . ./env; env -0 | grep -zE "^(TRAINMESH|GLOO|TP)_"'
    output = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    sourced = dict(item.split("=", 1) for item in output.stdout.decode().split("\0") if item)
    read = dict(line.split("=", 1) for line in content.splitlines())
    assert sourced == read
    assert read["GLOO_SOCKET_IFNAME"] == "eth1"
    assert read["TRAINMESH_SSH_PORTS"] == "22"


def test_every_line_of_deepspeeds_file_is_key_and_value():
    assert all("=" in line and " " not in line for line in text(make_cluster(), "etc/deepspeed_env").splitlines())


def test_a_value_that_sh_would_read_otherwise_is_refused():
    with pytest.raises(ValueError, match="plain characters"):
        env.cluster_env(make_cluster(prefix="/opt/my mesh"))


def test_the_description_numbers_global_ranks_over_the_nodes():
    assert [node["ranks"] for node in describe(make_cluster(2, 1, 3))["nodes"]] == [[0, 1], [2], [3, 4, 5]]


def test_the_description_tells_memory_in_units_that_a_new_kernel_does_not_change():
    nodes = (make_node(0, memory_bytes=(126 << 30) + 5, gpu_memory_mib=24564), make_node(1))
    rows = describe(Cluster(nodes, "trainer", "/opt/trainmesh", 29500, "bf16"))["nodes"]
    assert [(row["memory_gib"], row["gpu_memory_mib"]) for row in rows] == [(126, 24564), (None, None)]


def test_paths_are_unique_and_sorted():
    shared, own = ([file["path"] for file in files] for files in both(make_cluster(2, 2)))
    assert shared == sorted(set(shared)) and own == sorted(set(own)) and not {*shared} & {*own}
