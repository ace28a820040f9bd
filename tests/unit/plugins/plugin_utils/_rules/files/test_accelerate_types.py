# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import (
    BOTH,
    case,
    findings,
    ids,
    script,
    yaml,
)

PLAIN = """\
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
main_process_ip: 10.0.0.1
main_process_port: 29500
mixed_precision: 'no'
num_machines: 2
num_processes: 16
"""
FSDP = PLAIN.replace("MULTI_GPU", "FSDP")
DEEPSPEED = PLAIN.replace("MULTI_GPU", "DEEPSPEED")


def types(text, **more):
    """{severity: whole text} of what the rule says of a file of the first node."""
    return {
        one.severity: " ".join((one.evidence["node1"], one.cause, one.remedy))
        for one in findings(case(("accelerate", text, "node1"), **more))
        if one.rule == "acc-wrong-type"
    }


@pytest.mark.parametrize(
    ("name", "value", "severity", "words"),
    [
        ("num_machines", "'2'", "fail", 'line 7: num_machines: "2", text in the place of a whole number'),
        ("num_machines", "two", "fail", "'>' not supported"),
        ("num_machines", "2.0", "fail", "with its point"),
        ("num_machines", "null", "fail", "num_machines: 2 (a number without quotes)"),
        ("num_machines", "true", "warn", "takes true for 1"),
        ("num_processes", "'16'", "fail", "num_processes: 16 (a number without quotes)"),
        ("num_processes", "all", "fail", "//"),
        ("machine_rank", "null", "fail", "machine_rank: 0"),
        ("machine_rank", "first", "fail", "int()"),
        ("main_process_port", "'29500'", "fail", "main_process_port: 29500 (a number without quotes)"),
        ("main_process_port", "any", "fail", "interpreted as an integer"),
        ("main_process_ip", "[10.0.0.1]", "fail", "a list in the place of an address"),
        ("main_process_ip", "10", "fail", "a number in the place of an address"),
        ("gpu_ids", "[0, 1]", "fail", "gpu_ids: '0,1'"),
        ("gpu_ids", "0", "fail", "gpu_ids: '0'"),
        ("mixed_precision", "no", "fail", "mixed_precision: 'no' (with quotes)"),
        ("mixed_precision", "true", "fail", "has no attribute 'lower'"),
        ("mixed_precision", "fp32", "fail", "Unknown mixed_precision mode"),
        ("distributed_type", "multi_gpu", "fail", "distributed_type: MULTI_GPU"),
        ("distributed_type", "[MULTI_GPU]", "warn", "starts one process"),
        ("same_network", "'no'", "warn", "same_network: false (without quotes)"),
        ("debug", "'off'", "warn", "any text for true"),
        ("dynamo_backend", "NO", "fail", "dynamo_backend: 'NO' (with quotes)"),
        ("dynamo_config", "{dynamo_backend: no}", "fail", "dynamo_config.dynamo_backend: false"),
    ],
)
def test_values_of_another_type(name, value, severity, words):
    found = types(yaml(PLAIN, **{name: value})[1])
    assert list(found) == [severity]
    assert words in found[severity]


@pytest.mark.parametrize(
    ("text", "name", "value", "severity", "words"),
    [
        (DEEPSPEED, "deepspeed_config", "/job/ds.json", "fail", "{deepspeed_config_file: /job/ds.json}"),
        (DEEPSPEED, "deepspeed_config", "[]", "fail", "has no attribute 'keys'"),
        (DEEPSPEED, "deepspeed_config", "{zero_stage: 2.0}", "fail", "deepspeed_config.zero_stage: 2.0"),
        (DEEPSPEED, "deepspeed_config", "{zero_stage: true}", "fail", "a stage (0, 1, 2 or 3)"),
        (DEEPSPEED, "deepspeed_config", "{gradient_accumulation_steps: 4.0}", "fail", "accumulation_steps: 4 "),
        (DEEPSPEED, "deepspeed_config", "{gradient_clipping: true}", "fail", "gradient_clipping: 1.0"),
        (DEEPSPEED, "deepspeed_config", "{offload_optimizer_device: no}", "fail", "none, cpu or nvme"),
        (DEEPSPEED, "deepspeed_config", "{zero3_init_flag: maybe}", "fail", "true or false"),
        (DEEPSPEED, "deepspeed_config", "{zero3_save_16bit_model: 'yes'}", "warn", "saved weights are empty"),
        (FSDP, "fsdp_config", "full_shard", "warn", "no effect"),
        (FSDP, "fsdp_config", "{fsdp_offload_params: auto}", "fail", "fsdp_config.fsdp_offload_params"),
        (FSDP, "fsdp_config", "{version: two}", "fail", "fsdp_config.version"),
        (FSDP, "fsdp_config", "{auto_wrap_policy: SIZE_BASED_WRAP, fsdp_min_num_params: 1e8}", "fail", ": 100000000"),
        (FSDP, "fsdp_config", "{fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP, "
         "fsdp_transformer_layer_cls_to_wrap: [A, B]}", "fail", "fsdp_transformer_layer_cls_to_wrap: A,B"),
        (FSDP, "parallelism_config", "{parallelism_config_cp_size: '2'}", "fail", "parallelism_config_cp_size: 2"),
    ],
)  # fmt: skip
def test_values_of_sections(text, name, value, severity, words):
    found = types(yaml(text, **{name: value})[1])
    assert list(found) == [severity]
    assert words in found[severity]


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (PLAIN, {}),
        (PLAIN, {"machine_rank": "'1'", "main_process_port": "'29500'"}),  # only the first node tries the port
        (PLAIN, {"num_machines": "1", "num_processes": "'8'"}),
        (PLAIN, {"num_processes": None, "num_machines": None}),
        (PLAIN, {"main_process_port": "null", "gpu_ids": "all", "mixed_precision": "BF16", "rdzv_backend": "null"}),
        (PLAIN, {"gpu_ids": "0,1", "same_network": "'true'", "downcast_bf16": "'no'", "debug": "null"}),
        (PLAIN, {"distributed_type": "NO", "num_machines": "1"}),
        (PLAIN, {"deepspeed_config": "x", "fsdp_config": "[]"}),
        (DEEPSPEED, {"deepspeed_config": "null"}),
        (DEEPSPEED, {"deepspeed_config": "{zero_stage: '2', gradient_clipping: '1.0', zero3_init_flag: 'false'}"}),
        (DEEPSPEED, {"deepspeed_config": "{gradient_accumulation_steps: auto, gradient_clipping: auto}"}),
        (DEEPSPEED, {"deepspeed_config": "{offload_param_device: CPU, zero3_save_16bit_model: 'true'}"}),
        (DEEPSPEED, {"deepspeed_config": "{deepspeed_config_file: /job/ds.json, zero3_init_flag: true}"}),
        (FSDP, {"fsdp_config": "{offload_params: 'false', fsdp_version: '2', fsdp_sharding_strategy: 1}"}),
        (FSDP, {"fsdp_config": "{fsdp_min_num_params: 1e8, fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP}"}),
    ],
)
def test_values_that_accelerate_takes(text, changes):
    assert types(yaml(text, **changes)[1]) == {}


def test_what_some_versions_take():
    bare = yaml(PLAIN, mixed_precision="no")[1]
    assert types(bare, accelerate="0.33.0") == {}
    assert list(types(bare, accelerate="0.34.2")) == list(types(bare, accelerate="0.18.0")) == ["fail"]
    assert types(yaml(PLAIN, main_process_port="'29500'")[1], accelerate="0.20.3") == {}


def test_what_the_command_line_gives_is_not_read_of_the_file():
    launch = script("accelerate launch --config_file /job/a.yaml --num_machines 2 --num_processes 16 /job/train.py")
    wrong = yaml(PLAIN, num_machines="'2'", num_processes="null")
    assert not [one for one in findings(case(wrong, launch)) if one.rule == "acc-wrong-type"]
    assert ids(case(yaml(PLAIN, gpu_ids="0"), launch))[("acc-wrong-type", "fail")] == BOTH
