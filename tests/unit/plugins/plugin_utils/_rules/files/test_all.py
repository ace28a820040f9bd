# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import itertools

import hypothesis
import pytest
from hypothesis import strategies as st

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Untested
from ansible_collections.trainmesh.cluster.tests.unit.samples.checks import ODD, paths
from ansible_collections.trainmesh.cluster.tests.unit.samples.healthy import put
from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import (
    BOTH,
    DS,
    GOOD_HOSTFILE,
    GOOD_JSON,
    GOOD_SCRIPT,
    GOOD_YAML,
    HOSTS,
    OURS,
    STANDARD,
    case,
    findings,
    ids,
    script,
    yaml,
)


def test_files_in_order_give_nothing():
    assert (
        ids(case(HOSTS, ("launch_script", GOOD_SCRIPT), ("accelerate", GOOD_YAML), ("deepspeed_json", GOOD_JSON))) == {}
    )


@pytest.mark.parametrize("empty", [{}, {"user": {}}, {"gpu": {}, "fabric": {}, "stack": {}}])
def test_without_facts_nothing_is_said_and_nothing_breaks(empty):
    plan = {"order": ["node1", "node2"], "nodes": {"node1": {}, "node2": {}}}
    assert findings(Case(plan=plan, **empty)) == []
    assert findings(Case(plan={"order": [], "nodes": {}})) == []


@pytest.mark.parametrize(
    ("text", "rule_id", "severity"),
    [
        ("node1 slots=8\nnode2 8\n", "hostfile-bad-line", "fail"),
        ("# nothing\n", "hostfile-bad-line", "fail"),
        ("node1 slots=8\nnode2 slots=8\nnode1 slots=8\n", "hostfile-duplicate", "fail"),
        ("node1 slots=8\nnode2 slots=8\n10.0.0.2 slots=8\n", "hostfile-duplicate", "fail"),
        ("node1 slots=8\nroot@10.0.0.2 slots=8\n", "hostfile-user-at-ip", "warn"),
        ("node1 slots=0\nnode2 slots=8\n", "hostfile-zero-slots", "fail"),
        ("\ufeffnode1 slots=8\nnode2 slots=8\n", "hostfile-bom-or-range", "fail"),
        ("node[1-2] slots=8\n", "hostfile-bom-or-range", "fail"),
    ],
)
def test_hostfiles(text, rule_id, severity):
    assert ids(case(("hostfile", text))) == {(rule_id, severity): BOTH}
    assert ids(case(("hostfile", text, "node2"))) == {(rule_id, severity): ("node2",)}


def test_slots_against_gpus_blame_the_node_that_is_meant():
    assert ids(case(HOSTS, gpus=(8, 4))) == {("hostfile-slots-exceed-gpus", "fail"): ("node2",)}
    few = case(("hostfile", "node1 slots=8\nnode2 slots=4\n"))
    assert ids(few) == {("gpus-unused-by-slots", "warn"): ("node2",), ("ds-unequal-slots-rank", "warn"): BOTH}
    assert ids(case(HOSTS, gpus=(0, 0))) == {}
    lost = case(HOSTS, gpus=(8, 4))
    lost.gpu["node2"]["status"] = "gpu_lost"
    assert ids(lost) == {}


@pytest.mark.parametrize(
    ("line", "rule_id", "severity", "more"),
    [
        ("deepspeed --num_gpus=8 main.py", "hostfile-silent-local", "info", {}),
        ("deepspeed --num_nodes 2 main.py", "hostfile-silent-local", "fail", {}),
        (DS + "--include node1@node2:0 t.py", "ds-include-no-slots", "fail", {"deepspeed": "0.16.4"}),
        (DS + "--include node1@node2:0 t.py", "ds-include-no-slots", "fail", {"deepspeed": None}),
        (DS + "--include node1:0,8 t.py", "ds-include-bad-slot", "fail", {}),
        (DS + "--num_gpus 4 t.py", "ds-num-gpus-overrides", "warn", {}),
        ("CUDA_VISIBLE_DEVICES=0,1 " + DS + "t.py", "ds-cuda-visible-devices", "warn", {}),
        ("deepspeed --hostfile /job/hosts t.py", "ds-master-addr-guessed", "warn", {}),
        (DS + "--launcher slurm --include node1:0@node2:0 t.py", "ds-slurm-include", "fail", {}),
        (DS + "--ssh_port 22 t.py", "pdsh-ssh-args-lost", "fail", {"deepspeed": "0.13.0"}),
        (DS + "--ssh_port 2222 t.py", "ssh-port-mismatch", "fail", {}),
        (DS + "t.py --name run-%h", "pdsh-brackets-expanded", "warn", {}),
        ("cat x | " + DS + "t.py", "pdsh-stdin-hang", "warn", {}),
        (DS + "--master_port $(shuf -n 1 -i 10000-65535) t.py", "master-port-random", "warn", {}),
        (DS + "--master_port $((RANDOM+10000)) t.py", "master-port-random", "warn", {}),
        (DS + "--master_port 40000 t.py", "master-port-random", "warn", {}),
        (DS + "--master_port 23 t.py", "acc-port-is-ssh-port", "fail", {}),
        (DS + "--master_port 22 t.py", "acc-port-is-ssh-port", "fail", {}),
        (DS.replace("10.0.0.1", "0") + "t.py", "master-addr-malformed", "fail", {}),
        (DS.replace("10.0.0.1", "127.0.0.1") + "t.py", "master-addr-malformed", "fail", {}),
        (DS.replace("10.0.0.1", "10.0.0") + "t.py", "master-addr-malformed", "fail", {}),
        (DS + "t.py --world_size 12", "app-world-size-hardcoded", "fail", {}),
        (DS + "t.py \\\n  #--fp16 \\\n  --lr 1", "shell-comment-after-backslash", "fail", {}),
        ("accelerate launch --config_file /a.yaml --same_network false /t.py", "acc-same-network-cli", "fail", {}),
        ("accelerate launch --config_file a.yaml ../src/train_bash.py --fp16", "acc-relative-paths", "warn", {}),
    ],
)
def test_scripts(line, rule_id, severity, more):
    line = line.replace(" t.py", " /t.py").replace(" main.py", " /main.py")
    files = [script(line), HOSTS]
    if rule_id == "hostfile-silent-local":
        files = files[:1]
    assert ids(case(*files, **more)) == {(rule_id, severity): BOTH}
    only = [(*file, "node1") for file in files]
    assert ids(case(*only, **more)) == {(rule_id, severity): ("node1",)}


@pytest.mark.parametrize(
    ("line", "more"),
    [
        (DS + "--include node1@node2:0 /t.py", {"deepspeed": "0.20.0"}),
        (DS + "--include node1:7@node2:0,1 /t.py", {}),
        (DS + "--num_gpus 8 /t.py", {}),
        (DS + "--ssh_port 22 /t.py", {"deepspeed": "0.14.2"}),
        (DS + "/t.py --name run-%%h", {}),
        (DS + "/t.py --world_size 16", {}),
        (DS + "/t.py --world_size $WORLD_SIZE", {}),
        (DS + "--master_port 29500 /t.py", {}),
        ("deepspeed --num_nodes 1 /t.py", {}),
        ("torchrun --nnodes 2 --node_rank $R --master_addr $MASTER --master_port ${MASTER_PORT:-29500} /t.py", {}),
        ("torchrun --master_addr localhost --master_port $RANDOM /t.py", {}),
        ("deepspeed --include localhost:0,1 --master_port 29500 /t.py", {}),
    ],
)
def test_scripts_in_order(line, more):
    assert ids(case(script(line), HOSTS, **more)) == {}


def test_one_address_is_the_right_guess():
    single = case(script("deepspeed --hostfile /job/hosts /t.py"), HOSTS)
    single.fabric["node1"]["interfaces"][0]["addresses"].pop()
    assert ids(single) == {}


def test_a_hostfile_that_is_not_there():
    gone = case(script(DS + "/t.py"), user={"node1": {"asked": {"/job/hosts": {"exists": False}}}})
    assert ids(gone)[("hostfile-silent-local", "fail")] == ("node1",)


def test_one_host_alone_is_started_here():
    alone = case(script(DS + "/t.py"), ("hostfile", "node2 slots=8\n"))
    assert ids(alone) == {("ds-force-multi-missing", "warn"): ("node1",)}


def test_a_trimmed_hostfile_and_a_filter():
    trimmed = case(script(DS + "--exclude node2:6 /t.py"), ("hostfile", "node1 slots=8\nnode2 slots=4\n"))
    assert ids(trimmed)[("ds-subset-hostfile", "fail")] == BOTH


def test_containers_without_sshd():
    bare = case(script(DS + "/t.py"), HOSTS)
    bare.fabric["node2"].update(sshd={"ports": [], "config_ports": None}, container="docker")
    assert ids(bare) == {("ds-no-ssh-env", "fail"): ("node2",)}


def test_a_script_that_was_named_as_the_clusters_launcher_needs_a_hostfile():
    named = case(script("deepspeed --num_gpus=8 /t.py"))
    named.user["node1"]["files"][0]["cluster"] = True
    assert ids(named) == {
        ("hostfile-silent-local", "fail"): ("node1",),
        ("hostfile-silent-local", "info"): ("node2",),
    }


@pytest.mark.parametrize(
    ("changes", "rule_id", "severity", "more"),
    [
        ({"main_process_port": "22"}, "acc-port-is-ssh-port", "fail", {}),
        ({"main_process_ip": "root@10.0.0.1"}, "hostfile-user-at-ip", "warn", {}),
        ({"main_process_ip": "''"}, "master-addr-malformed", "fail", {}),
        ({"num_processes": "15"}, "acc-num-processes-floor", "fail", {}),
        ({"num_processes": "8"}, "acc-num-processes-floor", "warn", {}),
        ({"num_processes": "32"}, "acc-num-processes-floor", "fail", {}),
        ({"deepspeed_hostfile": None}, "hostfile-silent-local", "fail", {}),
        ({"mixed_precision": "bf16"}, "acc-dsjson-conflict", "fail", {}),
        ({"dynamo_config": "{dynamo_backend: INDUCTOR}"}, "acc-dynamo-multinode", "warn", {}),
        ({"ipex_config": "{}"}, "acc-unknown-key", "fail", {}),
        ({"parallelism_config": "{}"}, "acc-unknown-key", "fail", {"accelerate": "1.9.0"}),
        ({"nonsense": "1"}, "acc-unknown-key", "fail", {"accelerate": None}),
        ({}, "acc-main-ip-ignored", "warn", {"accelerate": "0.28.0"}),
        ({"main_process_port": "50000"}, "master-port-random", "warn", {}),
    ],
)
def test_accelerate_files(changes, rule_id, severity, more):
    assert ids(case(yaml(**changes), **more)) == {(rule_id, severity): BOTH}


def test_accelerate_with_relative_paths_and_a_stage_that_saves_nothing():
    text = GOOD_YAML.replace("/job/ds.json", "./deepspeed.json").replace("/job/hosts", "./hostfile")
    assert ids(case(("accelerate", text))) == {("acc-relative-paths", "warn"): BOTH}
    empty = GOOD_YAML.replace("deepspeed_config_file: /job/ds.json", "zero_stage: 3")
    assert ids(case(("accelerate", empty))) == {("ckpt-zero3-empty", "warn"): BOTH}


def test_three_processes_on_two_machines_of_which_one_has_another_precision():
    """Two nodes by hand: num_processes 3, bf16 here and no there, as `accelerate env` showed them."""
    text = STANDARD.replace(
        "  deepspeed_config_file: /job/ds.json\n", "  zero_stage: 3\n  zero3_save_16bit_model: true\n"
    )
    text = text.replace("num_processes: 16", "num_processes: 3") + "mixed_precision: '{precision}'\n"
    texts = [
        ("accelerate", text.format(rank=rank, precision=precision), name)
        for rank, precision, name in ((0, "bf16", "node1"), (1, "no", "node2"))
    ]
    assert ids(case(*texts, gpus=(2, 1))) == {
        ("acc-mixed-precision-differs", "fail"): ("node2",),
        ("acc-num-processes-floor", "fail"): BOTH,
    }
    flat = [
        {
            "num_machines": "2",
            "num_processes": "4",
            "mixed_precision": precision,
            "machine_rank": str(rank),
            "distributed_type": "DEEPSPEED",
            "deepspeed_config.deepspeed_multinode_launcher": "standard",
        }
        for rank, precision in enumerate(("bf16", "no"))
    ]
    user = {
        name: {"accelerate_default": [{"path": "/c/default_config.yaml", "values": values}]}
        for name, values in zip(BOTH, flat, strict=True)
    }
    found = ids(case(script("accelerate launch /test.py"), gpus=(2, 2), user=user))
    assert found == {
        ("acc-default-config-leak", "warn"): BOTH,
        ("acc-mixed-precision-differs", "fail"): ("node2",),
    }
    named = case(script("accelerate launch --config_file /a.yaml /test.py"), gpus=(2, 2), user=user)
    assert ids(named) == {("acc-default-config-leak", "info"): BOTH}


def test_files_that_differ_between_nodes():
    texts = [("accelerate", STANDARD.format(rank=rank), name) for rank, name in enumerate(BOTH)]
    assert ids(case(*texts)) == {}
    other = [texts[0], ("accelerate", texts[1][1].replace("29500", "29600"), "node2")]
    assert ids(case(*other)) == {("acc-config-differs", "fail"): ("node2",)}
    twice = [texts[0], ("accelerate", texts[0][1], "node2")]
    assert ids(case(*twice)) == {("acc-machine-rank-duplicate", "fail"): ("node2",)}
    beyond = [texts[0], ("accelerate", STANDARD.format(rank=2), "node2")]
    assert ids(case(*beyond)) == {("acc-machine-rank-duplicate", "fail"): ("node2",)}


def test_unequal_nodes():
    text = yaml(num_processes="8")
    assert ids(case(text, gpus=(8, 4))) == {("acc-unequal-nodes", "warn"): BOTH}
    chosen = GOOD_YAML.replace("  zero3_init", "  deepspeed_inclusion_filter: node1:0,1@node2:0,1\n  zero3_init")
    assert ids(case(("accelerate", chosen), gpus=(8, 4))) == {}


def test_cpus():
    without = dict.fromkeys(
        ("deepspeed_config", "deepspeed_config_file", "deepspeed_hostfile", "deepspeed_multinode_launcher")
    )
    text = yaml(distributed_type="MULTI_CPU", zero3_init_flag=None, num_processes="2", **without)
    single = case((*text, "node1"), gpus=(0, 0))
    assert ids(single) == {("acc-cpu-silent-single", "fail"): ("node1",)}
    gpu = ("accelerate", text[1].replace("MULTI_CPU", "MULTI_GPU").replace("use_cpu: false", "use_cpu: true"), "node1")
    launch = "accelerate launch --config_file /job/a.yaml /t.py"
    assert ids(case(gpu, script(launch), gpus=(0, 0))) == {("acc-cpu-silent-single", "fail"): ("node1",)}
    assert ids(case(gpu, script("export ACCELERATE_USE_CPU=true", launch), gpus=(0, 0))) == {}
    assert ids(case(gpu, gpus=(0, 0))) == {}


@pytest.mark.parametrize(
    ("changes", "rule_id", "severity"),
    [
        ({"fp16": {"enabled": True}}, "prec-both-enabled", "fail"),
        ({"train_batch_size": 24}, "ds-batch-mismatch", "fail"),
        ({"train_batch_size": 16, "gradient_accumulation_steps": 2}, "ds-batch-mismatch", "fail"),
        ({"zero_optimization": {"stage": 3}}, "ckpt-zero3-empty", "warn"),
    ],
)
def test_deepspeed_json(changes, rule_id, severity):
    assert ids(case(("deepspeed_json", {**GOOD_JSON, **changes}, "node1"))) == {(rule_id, severity): ("node1",)}


def test_deepspeed_json_in_order():
    for changes in (
        {"train_batch_size": 16},
        {"train_batch_size": 64, "gradient_accumulation_steps": 4},
        {"fp16": {"enabled": "auto"}},
    ):
        assert ids(case(("deepspeed_json", {**GOOD_JSON, **changes}))) == {}


def test_auto_needs_somebody_who_resolves_it():
    data = ("deepspeed_json", {**GOOD_JSON, "train_batch_size": "auto"})
    raw = script(DS + "/t.py --deepspeed --deepspeed_config /job/ds.json")
    assert ids(case(data, raw, HOSTS)) == {("ds-auto-unresolved", "fail"): BOTH}
    assert ids(case(data, script(DS + "/t.py --deepspeed /job/ds.json"), HOSTS)) == {}


def test_bf16_blames_the_nodes_with_old_gpus():
    old = case(("deepspeed_json", GOOD_JSON, "node1"))
    old.gpu["node2"]["gpus"][0].update(name="V100S-PCIE-32GB", compute_capability="7.0")
    assert ids(old) == {("prec-bf16-unsupported", "fail"): ("node2",)}
    argument = case(script(DS + "/t.py --bf16"), HOSTS, capability="7.0")
    assert ids(argument) == {("prec-bf16-unsupported", "fail"): BOTH}
    assert ids(case(("deepspeed_json", GOOD_JSON), capability=None)) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\n\nB=2\n", {("ds-env-file-unparsable", "fail"), ("ds-env-file-stale", "info")}),
        ("# A=1\n", {("ds-env-file-unparsable", "fail")}),
        ("NCCL_DEBUG=INFO\n", {("ds-env-file-stale", "warn")}),
        ("ACCELERATE_MIXED_PRECISION=bf16\nHOSTNAME=node9\n", {("acc-env-file-stale", "warn")}),
        ("HF_TOKEN=<hidden>\nHOSTNAME=a\n", {("acc-env-file-stale", "warn"), ("acc-env-file-secrets", "warn")}),
        ("", set()),
    ],
)
def test_environment_files(text, expected):
    user = {"node2": {"deepspeed_env": [{"path": "~/.deepspeed_env", "text": text}]}}
    found = ids(case(user=user))
    assert set(found) == expected
    assert all(hosts == ("node2",) for hosts in found.values())


def test_a_handed_in_environment_file_may_steer():
    assert ids(case(("deepspeed_env", "NCCL_DEBUG=INFO\nHF_HOME=/hf\n"))) == {}


def test_ssh_ports():
    def way(port):
        return {"node1": {"ssh_client": {"targets": {"node2": {"hostname": "10.0.0.2", "port": port}}}}}

    assert ids(case(user=way(33))) == {("ssh-port-mismatch", "fail"): ("node1",)}
    assert ids(case(user=way(22))) == {}
    tried = {"node1": {"node2": {"ssh": {"node2": {"ok": True}}}}}
    assert ids(case(user=way(33), mesh=tried)) == {}
    config = "Host cloud2\n    HostName 10.0.0.2\n    User root\n    Port 33\n"
    assert ids(case(("ssh_config", config, "node2"))) == {("ssh-port-mismatch", "fail"): ("node2",)}
    assert ids(case(("ssh_config", config.replace("33", "22")))) == {}


def row(digest="sha256:1", exists=True, **more):
    return {"exists": exists, "kind": "file", "digest": digest if exists else None, "readable": exists or None, **more}


def asked(path, *rows):
    return {name: {"asked": {path: found}} for name, found in zip(("node1", "node2", "node3"), rows, strict=False)}


def test_paths_that_every_node_needs():
    def of(*rows, path="/job/train.py", texts=(), **more):
        return ids(case(*texts, nodes=3, gpus=(8, 8, 8), user=asked(path, *rows), **more))

    assert of(row(), row(), row()) == {}
    assert of(row(), row(exists=False), row()) == {("path-differs", "fail"): ("node2",)}
    assert of(row(), row(readable=False, digest=None), row()) == {("path-differs", "fail"): ("node2",)}
    assert of(row(), row(), row("sha256:2")) == {("code-out-of-sync", "fail"): ("node3",)}
    assert of(row("sha256:2"), row(), row()) == {("code-out-of-sync", "fail"): ("node1",)}
    absent = row(exists=False)
    assert of(row(kind="dir"), absent, absent) == {("model-only-on-launch-node", "fail"): ("node2", "node3")}
    named = [script(DS + "/t.py --model_name_or_path /m.bin"), ("hostfile", GOOD_HOSTFILE + "node3 slots=8\n")]
    assert of(row(), absent, absent, path="/m.bin", texts=named) == {
        ("model-only-on-launch-node", "fail"): ("node2", "node3")
    }
    assert of(row(exists=None), row(), row()) == {}
    closed = row(exists=None, denied=True)
    assert of(closed, row(), row()) == {("path-differs", "fail"): ("node1",)}
    launch_only = {"files": [{"kind": "launch_script", "path": "/job/train.py"}]}
    assert of(row(), absent, row("sha256:2"), plan=launch_only) == {}


def test_a_handed_in_file_that_nobody_has():
    def file(**more):
        return {"files": [{"kind": "hostfile", "path": "/h", "exists": False, "text": None, "error": None, **more}]}

    assert ids(case(user={"node1": file(), "node2": file()})) == {("path-differs", "fail"): BOTH}
    assert ids(case(user={"node1": file(), "node2": file(exists=True, text=GOOD_HOSTFILE)})) == {}
    closed = findings(case(user={"node1": file(exists=True, error="Permission denied")}))
    assert closed[0].evidence == {"node1": "/h: Permission denied"}


def test_every_rank_opens_its_own_copy_of_deepspeeds_file():
    other = {**GOOD_JSON, "steps_per_print": 10}
    apart = case(("deepspeed_json", GOOD_JSON, "node1"), ("deepspeed_json", other, "node2"))
    assert ids(apart) == {("code-out-of-sync", "fail"): ("node2",)}
    gone = {"files": [{"kind": "deepspeed_json", "path": "/job/ds.json", "exists": False, "text": None, "error": None}]}
    absent = case(("deepspeed_json", GOOD_JSON, "node1"), user={"node2": gone})
    assert ids(absent) == {("path-differs", "fail"): ("node2",)}


def test_the_configuration_of_a_note_on_two_clouds():
    """pdsh on two rented machines: port 22 for the rendezvous, relative paths, compilation, an ssh port of its own."""
    text = (
        GOOD_YAML.replace("29500", "22").replace("/job/ds.json", "./deepspeed.json").replace("/job/hosts", "./hostfile")
    )
    text += "dynamo_config:\n  dynamo_backend: INDUCTOR\n"
    config = "Host cloud2\n    HostName 10.0.0.2     \n    User root\n    Port 33\n"
    hosts = "   node1 slots=8\n   node2 slots=8\n"
    found = ids(case(("accelerate", text, "node1"), ("ssh_config", config, "node1"), ("hostfile", hosts, "node1")))
    assert found == {
        ("acc-port-is-ssh-port", "fail"): ("node1",),
        ("acc-relative-paths", "warn"): ("node1",),
        ("acc-dynamo-multinode", "warn"): ("node1",),
        ("ssh-port-mismatch", "fail"): ("node1",),
    }
    start = script(
        "LR=5e-6",
        "MASTER_PORT=$(shuf -n 1 -i 10000-65535)",
        "deepspeed --num_gpus=8 --master_port $MASTER_PORT main.py \\",
        "    --deepspeed deepspeed.json \\",
        "    --bf16",
        "    #--fp16",
    )
    assert ids(case((*start, "node1"))) == {
        ("hostfile-silent-local", "info"): ("node1",),
        ("master-port-random", "warn"): ("node1",),
        ("acc-relative-paths", "warn"): ("node1",),
    }


def test_the_command_of_a_note_on_containers():
    """Two containers with a hostfile, the number of ranks written into the script's arguments."""
    start = script(
        "export NCCL_IB_DISABLE=1; export NCCL_P2P_DISABLE=1; NCCL_DEBUG=INFO",
        "deepspeed --hostfile=/job/hosts /job/pretrain.py --deepspeed --deepspeed_config /job/ds.json \\",
        "    --world_size 16 --batch_size 16",
    )
    hosts = ("hostfile", "node1 slots=4\nnode2 slots=4\n", "node1")
    assert ids(case((*start, "node1"), hosts, gpus=(4, 4))) == {
        ("app-world-size-hardcoded", "fail"): ("node1",),
        ("ds-master-addr-guessed", "warn"): ("node1",),
    }


def test_what_cannot_be_compared_is_said():
    blind = row(digest=None, error="more than 10000 files: not compared")
    of = case(user=asked("/data", row(), blind))
    answers = [answer for one in OURS for answer in one.judge(of)]
    assert answers == [Untested("code-out-of-sync", ("node2",), "/data: more than 10000 files: not compared")]


def test_files_of_ours_that_differ():
    files = {"etc/hostfile": "sha256:1", "etc/node.env": "sha256:2", "etc/accelerate/multi_gpu.yaml": "sha256:3"}
    own = {name: {"managed": {"exists": True, "files": dict(files)}} for name in ("node1", "node2", "node3")}

    def of(change, **plan):
        facts = copy.deepcopy(own)
        facts["node3"]["managed"]["files"].update(change)
        return ids(case(nodes=3, gpus=(8, 8, 8), user=facts, plan=plan))

    assert of({}) == {}
    assert of({"etc/node.env": "sha256:9", "etc/accelerate/multi_gpu.yaml": "sha256:8"}) == {}
    assert of({"etc/hostfile": "sha256:9"}) == {("managed-file-changed", "warn"): ("node3",)}
    assert of({"share/new.py": "sha256:9"}) == {("managed-file-changed", "warn"): ("node3",)}
    assert of({"etc/hostfile": "sha256:9"}, managed=False) == {}


WHOLE = case(
    HOSTS,
    script(DS + "--include node1:0@node2:0 /t.py --model m", "export NCCL_NET=IB MASTER_PORT=29500"),
    yaml(),
    ("deepspeed_json", GOOD_JSON),
    ("deepspeed_env", "A=1\n"),
    ("ssh_config", "Host node2\n  Port 22\n"),
    user={
        "node1": {
            **asked("m", row())["node1"],
            "accelerate_default": [{"path": "c", "values": {"num_machines": "2"}}],
            "deepspeed_env": [{"path": "~/.deepspeed_env", "text": "A=1\n"}],
            "managed": {"exists": True, "files": {"etc/hostfile": "sha256:1"}},
            "ssh_client": {"targets": {"node2": {"port": 22}}},
        }
    },
)


@hypothesis.settings(max_examples=80, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(data=st.data())
def test_odd_facts_do_no_harm(data):
    broken = copy.deepcopy(WHOLE)
    area = getattr(broken, data.draw(st.sampled_from(("user", "user", "user", "gpu", "fabric", "stack"))))
    # names of files have slashes of their own, which are no steps of the path
    ways = [one for one in paths(area) if "/" in one and "etc/" not in one]
    path = data.draw(st.sampled_from(ways))
    put(area, path, data.draw(ODD))
    findings(broken)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    st.sampled_from(("hostfile", "launch_script", "deepspeed_env", "ssh_config", "accelerate", "deepspeed_json")),
    st.text(alphabet="ab1 \n\\#'\"$(){}[]=:,@-.&|;<>/", max_size=60),
)
def test_odd_texts_do_no_harm(kind, text):
    findings(case((kind, text), script(DS + "/t.py --deepspeed_config /job/ds.json")))
    findings(case((kind, "deepspeed " + text)))


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.sampled_from(("accelerate", "deepspeed_json")), st.data())
def test_odd_values_do_no_harm(kind, data):
    whole = {**yaml_data(), **GOOD_JSON}
    whole[data.draw(st.sampled_from(sorted(whole)))] = data.draw(ODD)
    findings(case((kind, whole), script("accelerate launch /t.py")))


def yaml_data():
    return {
        "num_machines": 2,
        "num_processes": 16,
        "main_process_ip": "10.0.0.1",
        "main_process_port": 29500,
        "distributed_type": "DEEPSPEED",
        "deepspeed_config": {"zero_stage": 3},
        "dynamo_config": {},
        "machine_rank": 0,
    }


def test_ids_are_registered():
    names = list(itertools.chain.from_iterable(one.ids for one in OURS))
    assert len(set(names)) > 60
    assert all(one.needs and one.needs[0] == "user" for one in OURS)


def test_texts_name_the_place_and_the_way_out():
    (one,) = findings(case(("hostfile", "node1 slots=8\nnode2 8\n", "node1"), plan={"managed": False}))
    assert one.evidence == {"node1": "/job/hosts line 2: 'node2 8'"}
    assert "name slots=N" in one.remedy


def test_ports_that_ssh_is_told_matter_where_somebody_logs_in():
    way = {"ssh_client": {"targets": {"node1": {"hostname": "10.0.0.1", "port": 33}}}}
    config = ("ssh_config", "Host cloud1\n    HostName 10.0.0.1\n    Port 33\n", "node2")
    for seen in (case(user={"node2": way}), case(config)):
        assert ids(seen) == {("ssh-port-mismatch", "fail"): ("node2",)}
        seen.plan["nodes"]["node2"]["logs_in"] = False
        assert ids(seen) == {}
