# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on DeepSpeed's JSON files. Source: DeepSpeed 0.19.6 runtime/config.py."""

from __future__ import annotations

import typing as t

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import key
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.facts import rows, text
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.rule import (
    FAIL,
    WARN,
    About,
    Answer,
    Case,
    Data,
    dig,
    finding,
    rule,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.formats import integer, word
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.launchers import (
    ACCELERATE,
    DEEPSPEED,
    TORCHRUN,
)
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._diagnosis.userfiles.value_kinds import truth
from ansible_collections.trainmesh.cluster.plugins.plugin_utils._rules.files import _common as common

BF16_CAPABILITY = (8, 0)
GATHER = ("stage3_gather_16bit_weights_on_model_save", "stage3_gather_fp16_weights_on_model_save")


def _enabled(data: Data, name: str) -> bool:
    """Whether a precision is switched on for certain; V(auto) is not, text and numbers are as DeepSpeed takes them."""
    return truth(dig(data, f"{name}.enabled")) is True


@rule(
    About(
        "prec-both-enabled",
        layer="precision",
        severity=FAIL,
        title="fp16 and bf16 are both enabled",
        symptom="`cannot be simultaneously enabled`",
        source="DeepSpeed runtime/config.py:828",
    ),
    needs=("user",),
    applies=common.given("deepspeed_json"),
)
def both_enabled(case: Case) -> t.Iterator[Answer]:
    """fp16 and bf16 at once."""
    for copy, data in common.mappings(case, "deepspeed_json"):
        if _enabled(data, "fp16") and (_enabled(data, "bf16") or _enabled(data, "bfloat16")):
            yield finding(
                "prec-both-enabled",
                FAIL,
                copy.host,
                f"{copy.path}: fp16 and bf16 are enabled",
                "DeepSpeed refuses it: `bfloat16 and fp16 modes cannot be simultaneously enabled`.",
                "Set one of them to enabled: false.",
            )


def _wants_bf16(case: Case) -> list[str]:
    """The places that ask for bf16."""
    found = []
    for copy, data in common.mappings(case, "deepspeed_json"):
        if (_enabled(data, "bf16") or _enabled(data, "bfloat16")) and not _enabled(data, "fp16"):
            found.append(f"{copy.path} on {copy.host}: bf16")
    for copy, data in common.mappings(case, "accelerate"):
        if word(data.get("mixed_precision")) == "bf16":
            found.append(f"{copy.path} on {copy.host}: mixed_precision bf16")
    for copy, _script, command in common.commands(case, DEEPSPEED, ACCELERATE, TORCHRUN):
        given = command.argument("bf16")
        if (given is not None and given.lower() != "false") or command.options.get("mixed_precision") == "bf16":
            found.append(f"{copy.at(command.line)} on {copy.host}: bf16")
    return found


@rule(
    About(
        "prec-bf16-unsupported",
        layer="precision",
        severity=FAIL,
        title="bf16 requested on a GPU without bf16 support",
        symptom="`Type bf16 is not supported`, or slow emulation",
        source="field notes, PT#124996",
    ),
    needs=("user", "gpu"),
    applies=common.given("deepspeed_json", "accelerate", "launch_script"),
)
def bf16_unsupported(case: Case) -> t.Iterator[Answer]:
    """bf16 on GPUs that cannot do it; the nodes with these GPUs are named."""
    places = _wants_bf16(case)
    for host in case.order if places else ():
        for gpu in rows(case.gpu.get(host), "gpus"):
            capability = key(text(gpu, "compute_capability"))
            if capability and capability < BF16_CAPABILITY:
                have = f"{dig(gpu, 'name', 'a GPU')}, compute capability {gpu['compute_capability']}"
                yield finding(
                    "prec-bf16-unsupported",
                    FAIL,
                    host,
                    f"{have}; {places[0]}",
                    "bf16 needs compute capability 8.0: older GPUs refuse it, or emulate it many times "
                    "slower without a word.",
                    "Use fp16 on the whole cluster, or leave these nodes out.",
                )


@rule(
    About(
        "ds-auto-unresolved",
        layer="precision",
        severity=FAIL,
        title='"auto" in a configuration that DeepSpeed reads alone',
        symptom="`TypeError` or an assertion about `auto`",
        source="DeepSpeed runtime/config.py",
    ),
    needs=("user",),
    applies=common.given("deepspeed_json"),
)
def auto_unresolved(case: Case) -> t.Iterator[Answer]:
    """V(auto) in a file for a script that hands it to DeepSpeed itself."""
    raw = {copy.host: (copy, command) for copy, _s, command in common.commands(case, DEEPSPEED, TORCHRUN)
           if command.argument("deepspeed_config")}  # fmt: skip
    for copy, data in common.mappings(case, "deepspeed_json"):
        names = sorted(_autos(data))
        if copy.host not in raw or not names:
            continue
        script, command = raw[copy.host]
        if str(command.argument("deepspeed_config")).rsplit("/", 1)[-1] == copy.path.rsplit("/", 1)[-1]:
            where = f"--deepspeed_config in {script.at(command.line)}"
            yield finding(
                "ds-auto-unresolved",
                FAIL,
                copy.host,
                f"{copy.path}: auto for {', '.join(names[:4])}; {where}",
                "Only the Trainer of transformers and Accelerate replace `auto`; deepspeed.initialize stops at it.",
                "Write numbers in the place of `auto`.",
            )


def _autos(data: Data, above: str = "") -> t.Iterator[str]:
    for name, value in data.items():
        if value == "auto":
            yield f"{above}{name}"
        elif isinstance(value, dict):
            yield from _autos(value, f"{above}{name}.")


@rule(
    About(
        "ds-batch-mismatch",
        layer="precision",
        severity=FAIL,
        title="Batch sizes do not multiply to the total",
        symptom="`Check batch related parameters`",
        source="field notes, DeepSpeed runtime/config.py:938",
    ),
    needs=("user",),
    applies=common.given("deepspeed_json"),
)
def batch_mismatch(case: Case) -> t.Iterator[Answer]:
    """train_batch_size = micro batch x accumulation x ranks."""
    for copy, data in common.mappings(case, "deepspeed_json"):
        whole, micro, steps = (
            integer(data.get(name))
            for name in ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
        )
        ranks = common.world_size(case, copy.host)
        if not whole or not ranks:
            continue
        unit = (micro or 1) * ranks * (steps or 1)
        said = f"{copy.path}: train_batch_size {whole}, {ranks} ranks"
        said += f", micro batch {micro}" if micro else ""
        said += f", accumulation {steps}" if steps else ""
        if whole != unit if micro and steps else whole % unit:
            yield finding(
                "ds-batch-mismatch",
                FAIL,
                copy.host,
                said,
                "train_batch_size has to be micro batch x accumulation steps x ranks: `Check batch "
                "related parameters`.",
                "Leave train_batch_size out, and set train_micro_batch_size_per_gpu and gradient_accumulation_steps.",
            )


@rule(
    About(
        "ckpt-zero3-empty",
        layer="precision",
        severity=WARN,
        title="Saved models are empty with ZeRO-3",
        symptom="a tiny or empty model file",
        source="field notes, ACC#2294, ACC#3238, DS#872, DS#2413",
    ),
    needs=("user",),
    applies=common.given("deepspeed_json", "accelerate"),
)
def empty_checkpoint(case: Case) -> t.Iterator[Answer]:
    """ZeRO-3 without gathering on save."""
    cause = "With ZeRO-3 each rank has a part of the weights: a model that is saved without gathering them is empty."
    remedy = f"Set {GATHER[0]}: true (zero3_save_16bit_model), or use zero_to_fp32.py on the checkpoint."
    for copy, data in common.mappings(case, "deepspeed_json"):
        zero = dig(data, "zero_optimization", {})
        if integer(dig(zero, "stage")) == 3 and not any(
            dig(zero, name) == "auto" or truth(dig(zero, name)) for name in GATHER
        ):
            yield finding(
                "ckpt-zero3-empty", WARN, copy.host, f"{copy.path}: stage 3, {GATHER[0]} is not true", cause, remedy
            )
    for copy, data in common.mappings(case, "accelerate"):
        plugin = dig(data, "deepspeed_config", {})
        if integer(dig(plugin, "zero_stage")) == 3 and word(dig(plugin, "zero3_save_16bit_model")) != "true":
            yield finding(
                "ckpt-zero3-empty",
                WARN,
                copy.host,
                f"{copy.path}: zero_stage 3, zero3_save_16bit_model is not true",
                cause,
                remedy,
            )
