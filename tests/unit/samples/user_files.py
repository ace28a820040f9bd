# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two nodes with eight GPUs each, and files of users on them."""

from __future__ import annotations

import json

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis import engine
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import Case, Finding

OURS = [one for one in engine.load() if "._rules.files." in one.judge.__module__]
GOOD_HOSTFILE = "node1 slots=8\nnode2 slots=8\n"
GOOD_SCRIPT = (
    "#!/bin/bash\nexport NCCL_DEBUG=WARN\n"
    "deepspeed --hostfile /job/hosts --master_addr 10.0.0.1 --master_port 29500 \\\n"
    "    /job/train.py --deepspeed /job/ds.json --bf16\n"
)
# after what `accelerate config` writes for two machines with pdsh
GOOD_YAML = """\
compute_environment: LOCAL_MACHINE
deepspeed_config:
  deepspeed_config_file: /job/ds.json
  deepspeed_hostfile: /job/hosts
  deepspeed_multinode_launcher: pdsh
  zero3_init_flag: true
distributed_type: DEEPSPEED
downcast_bf16: 'no'
machine_rank: 0
main_process_ip: 10.0.0.1
main_process_port: 29500
main_training_function: main
num_machines: 2
num_processes: 16
rdzv_backend: static
same_network: true
tpu_env: []
tpu_use_cluster: false
tpu_use_sudo: false
use_cpu: false
"""
STANDARD = GOOD_YAML.replace("pdsh", "standard").replace("machine_rank: 0", "machine_rank: {rank}")
GOOD_JSON = {
    "train_micro_batch_size_per_gpu": 1,
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True},
}
HCA = [{"name": "mlx5_0", "ports": [{"port": 1, "state": "ACTIVE"}]}]


PATHS = {
    "hostfile": "/job/hosts",
    "launch_script": "/job/run.sh",
    "accelerate": "/job/a.yaml",
    "deepspeed_json": "/job/ds.json",
}


def case(*texts, gpus=(8, 8), capability="9.0", rdma=(), nodes=2, accelerate="1.14.0", deepspeed="0.19.8", **more):
    """Two nodes with eight GPUs each; ``texts`` are (kind, text) for both, or (kind, text, node)."""
    names = [f"node{number}" for number in range(1, nodes + 1)]
    user = {name: {"files": [], "ssh_client": {"problem": None, "targets": {}}} for name in names}
    for kind, text, *only in texts:
        path = {"hostfile": "/job/hosts", "launch_script": "/job/run.sh", "accelerate": "/job/a.yaml"}.get(
            kind, f"/job/{kind}"
        )
        path = "/job/ds.json" if kind == "deepspeed_json" else path
        for name in only or names:
            text = text if isinstance(text, str) else json.dumps(text)
            user[name]["files"].append({"kind": kind, "path": path, "exists": True, "text": text, "error": None})
    gpu = {
        name: {
            "status": "ok" if count else "none",
            "gpus": [{"name": "H100", "compute_capability": capability} for _number in range(count)],
            "mig_devices": [],
        }
        for name, count in zip(names, gpus, strict=False)
    }
    fabric = {
        name: {
            "rdma": {"devices": HCA if name in rdma else [], "libibverbs": True},
            "sshd": {"ports": [22], "config_ports": [22]},
            "port_range": {"low": 32768, "high": 60999},
            "unprivileged_port_start": 1024,
            "interfaces": [
                {
                    "name": "eth0",
                    "addresses": [
                        {"address": "10.0.0.1", "scope": "global"},
                        {"address": "1.1.1.1", "scope": "global"},
                    ],
                }
            ],
        }
        for name in names
    }
    stack = {name: {"packages": {"accelerate": accelerate, "deepspeed": deepspeed}} for name in names}
    plan = {
        "order": names,
        "nodes": {
            name: {"name": name, "address": f"10.0.0.{number}", "ssh_port": 22, "slots": 8}
            for number, name in enumerate(names, 1)
        },
        "master": {"address": "10.0.0.1", "port": 29500},
        "world_size": 16,
        "user": "trainer",
        "managed": True,
        "files": [],
    }
    for name, facts in (more.pop("user", None) or {}).items():
        user[name].update(facts)
    plan.update(more.pop("plan", {}))
    return Case(plan=plan, user=user, gpu=gpu, fabric=fabric, stack=stack, **more)


def findings(of):
    found = engine.merged((answer for one in OURS for answer in one.judge(of)), of.order)
    return [answer for answer in found if isinstance(answer, Finding)]


def ids(of):
    """{(id, severity): hosts} of all that these rules say."""
    return {(one.rule, one.severity): one.hosts for one in findings(of)}


def script(*lines):
    return ("launch_script", "\n".join(("#!/bin/bash", *lines, "")))


def yaml(text=GOOD_YAML, **changes):
    """The configuration with lines changed; None takes a line out."""
    rows = text.splitlines()
    for name, value in changes.items():
        rows = [row for row in rows if not row.strip().startswith(f"{name}:")]
        rows += [f"{name}: {value}"] if value is not None else []
    return ("accelerate", "\n".join(rows) + "\n")


HOSTS = ("hostfile", GOOD_HOSTFILE)
DS = "deepspeed --hostfile /job/hosts --master_addr 10.0.0.1 "
BOTH = ("node1", "node2")
