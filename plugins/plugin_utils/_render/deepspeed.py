# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DeepSpeed's JSON files, one for each ZeRO stage and offload.

Two flavours: one that a script can hand to ``deepspeed.initialize`` as it is, and one for Accelerate
and the Hugging Face Trainer, where the batch is V(auto) because they know it. Keys as in DeepSpeed
0.19.8 ``runtime/config.py`` and ``runtime/zero/config.py``.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Cluster

CPU = {"device": "cpu", "pin_memory": True}
ZERO: t.Mapping[str, t.Mapping[str, t.Any]] = {
    "zero0": {"stage": 0},
    "zero1": {"stage": 1},
    "zero2": {"stage": 2},
    "zero3": {"stage": 3},
    "zero2_offload": {"stage": 2, "offload_optimizer": CPU},
    "zero3_offload": {"stage": 3, "offload_optimizer": CPU, "offload_param": CPU},
}
RAW_BATCH = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
AUTO_BATCH = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
}


def deepspeed_files(cluster: Cluster) -> dict[str, str]:
    """All files: path relative to ``etc/deepspeed`` to content."""
    files = {}
    for name, zero in ZERO.items():
        files[f"{name}.json"] = _text({**RAW_BATCH, **_body(cluster, zero)})
        files[f"auto/{name}.json"] = _text({**AUTO_BATCH, **_body(cluster, zero)})
    return files


def _body(cluster: Cluster, zero: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What both flavours share."""
    return {
        **_precision(cluster.precision),
        "zero_optimization": _zero(cluster, zero),
        # any optimizer of the user's is fine, as is one on the CPU without a compiled Adam
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        # the nodes' disks are their own: every node writes the shards of its ranks
        "checkpoint": {"use_node_local_storage": True},
        "steps_per_print": 100,
    }


def _precision(precision: str) -> dict[str, t.Any]:
    """Exactly one of fp16 and bf16, or neither; fp16 with dynamic loss scaling."""
    fp16: dict[str, t.Any] = {"enabled": precision == "fp16"}
    if precision == "fp16":
        fp16.update(loss_scale=0, initial_scale_power=16, loss_scale_window=1000, hysteresis=2, min_loss_scale=1)
    return {"fp16": fp16, "bf16": {"enabled": precision == "bf16"}}


def _zero(cluster: Cluster, zero: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The ``zero_optimization`` block. Without GPUs there is nothing to pin host memory for."""
    block: dict[str, t.Any] = {
        key: {**value, "pin_memory": cluster.gpus} if isinstance(value, dict) else value for key, value in zero.items()
    }
    if zero["stage"] >= 1:
        block["overlap_comm"] = cluster.gpus
    if zero["stage"] == 3:
        # else a saved model has empty tensors
        block["stage3_gather_16bit_weights_on_model_save"] = True
    return block


def _text(value: t.Mapping[str, t.Any]) -> str:
    """Stable JSON text: the same model gives the same bytes."""
    return json.dumps(value, indent=2) + "\n"
