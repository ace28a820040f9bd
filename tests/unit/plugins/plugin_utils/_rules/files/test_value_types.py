# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import json

import pytest

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._compat.tables import table
from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import (
    BOTH,
    GOOD_JSON,
    HOSTS,
    OURS,
    STANDARD,
    case,
    findings,
    ids,
    yaml,
)

PLACES = [None, True, 1, "x", [], {}, ["x", None], {"x": {"y": [1]}}, 1e999, "auto"]


def with_value(data, place, value):
    """A copy of a mapping with another value at a dotted place."""
    whole = inner = copy.deepcopy(data)
    *above, last = place.split(".")
    for name in above:
        inner[name] = inner[name] if isinstance(inner.get(name), dict) else {}
        inner = inner[name]
    inner[last] = value
    return whole


def asked(given):
    """What all rules on files say; one that raises is an error here."""
    return [answer for one in OURS for answer in one.judge(given)]


def places_of_deepspeed():
    keys = table("deepspeed_keys")
    sections = {**keys["refused"], **keys["ignored"], **dict.fromkeys(table("deepspeed_types")["objects"], ())}
    return sorted(
        {*filter(None, sections), *(f"{one}.{name}".lstrip(".") for one in sections for name in sections[one])}
    )


def places_of_accelerate():
    keys = table("accelerate_keys")
    return sorted({*keys["keys"], *(f"{one}.{name}" for one, names in keys["sections"].items() for name in names)})


@pytest.mark.parametrize("value", PLACES, ids=repr)
def test_any_value_anywhere_in_a_deepspeed_file(value):
    both = {**GOOD_JSON, "fp16": {"enabled": True}}
    for place in places_of_deepspeed():
        text = json.dumps(with_value(both, place, value))
        found = {answer.rule for answer in asked(case(("deepspeed_json", text), HOSTS))}
        if place.split(".")[0] not in ("fp16", "bf16"):
            assert "prec-both-enabled" in found, place


@pytest.mark.parametrize("value", PLACES, ids=repr)
def test_any_value_anywhere_in_an_accelerate_file(value):
    port = {"num_machines": 2, "num_processes": 16, "main_process_ip": "10.0.0.1", "main_process_port": 22}
    port |= {"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 2}, "fsdp_config": {}}
    for place in places_of_accelerate():
        text = json.dumps(with_value(port, place, value))
        found = {answer.rule for answer in asked(case(("accelerate", text), HOSTS))}
        if place not in ("main_process_port", "num_machines"):
            assert "acc-port-is-ssh-port" in found, place


@pytest.mark.parametrize("kind", ["deepspeed_json", "accelerate"])
@pytest.mark.parametrize(
    "text",
    [
        "null", "true", "1", '"x"', "[]", "{}", "", "[[[", "a: &a {b: *a}", "a: &a [*a, *a]", "2026-11-30",
        "? [a]\n: b",
        "fp16: 2026-11-30\nmain_process_port: 2026-11-30\n", "1: 2\ntrue: 3\nnull: 4\n", "!!set {a, b}", "NaN",
        "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{(f'*a{n - 1}, ' * 8)}]\n" for n in range(1, 9)),
    ],
)  # fmt: skip
def test_texts_of_any_form(kind, text):
    asked(case((kind, text)))


@pytest.mark.parametrize(
    ("place", "value", "severity", "words"),
    [
        ("zero_optimization.stage", "3", "warn", ("text", "load the whole model")),
        ("zero_optimization.stage", "three", "fail", ("text in the place of a stage", "stops")),
        ("zero_optimization.reduce_bucket_size", "5e8", "fail", ('"5e8"', '"reduce_bucket_size": 500000000')),
        ("zero_optimization.reduce_bucket_size", True, "warn", ("true for 1",)),
        ("zero_optimization.overlap_comm", "maybe", "fail", ("true or false",)),
        ("zero_optimization.offload_optimizer.device", "CPU", "fail", ('"device": "cpu"',)),
        ("zero_optimization", True, "info", ("stage 1",)),
        ("bf16.enabled", "false", "warn", ('"enabled": false',)),
        ("bf16.enabled", "true", "info", ('"enabled": true',)),
        ("fp16.loss_scale_window", "1e3", "fail", ('"loss_scale_window": 1000',)),
        ("tensorboard.job_name", None, "fail", ("null in the place of text",)),
        ("train_batch_size", "16", "fail", ('"train_batch_size": 16', "TypeError")),
        ("gradient_accumulation_steps", True, "warn", ("true for 1",)),
        ("gradient_clipping", "1.0", "fail", ("a number",)),
        ("wall_clock_breakdown", "false", "fail", ('"wall_clock_breakdown": false',)),
        ("zero_allow_untested_optimizer", "false", "warn", ("any text for true",)),
        ("communication_data_type", 16, "fail", ("fp16, bf16 or fp32",)),
        ("optimizer.params.lr", "1e-5", "fail", ('"lr": 1e-05',)),
        ("optimizer.params.betas", "[0.9, 0.95]", "fail", ("a list of numbers",)),
        ("optimizer.type", ["AdamW"], "fail", ("a list in the place of text",)),
        ("scheduler.params.warmup_num_steps", "100", "fail", ('"warmup_num_steps": 100',)),
    ],
)
def test_values_of_another_type(place, value, severity, words):
    text = json.dumps(with_value(GOOD_JSON, place, value), indent=1)
    found = case(("deepspeed_json", text))
    (one,) = [each for each in findings(found) if each.rule == "ds-wrong-type"]
    assert (one.severity, one.hosts) == (severity, BOTH)
    line = next(number for number, row in enumerate(text.split("\n"), 1) if f'"{place.split(".")[-1]}":' in row)
    whole = " ".join((one.evidence["node1"], one.cause, one.remedy))
    assert f"/job/ds.json line {line}: {place}: {json.dumps(value)}" in whole
    assert [word for word in words if word not in whole] == []
    others = {each.rule for each in findings(found)} - {"ds-wrong-type"}
    assert others <= {"ckpt-zero3-empty", "ds-batch-mismatch"}


def test_values_that_deepspeed_takes():
    taken = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": 16.0,
        "gradient_accumulation_steps": None,
        "gradient_clipping": "auto",
        "steps_per_print": 1e5,
        "wall_clock_breakdown": 0,
        "prescale_gradients": "true",
        "bf16": {"enabled": 1},
        "fp16": {"enabled": "auto", "loss_scale": "0", "initial_scale_power": "16"},
        "zero_optimization": {
            "stage": 3.0,
            "overlap_comm": "true",
            "reduce_bucket_size": 5e8,
            "allgather_bucket_size": "200_000_000",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_gather_16bit_weights_on_model_save": "true",
            "offload_optimizer": {"device": "none", "nvme_path": None, "ratio": "1.0", "pin_memory": "yes"},
        },
        "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": 1e-8}},
        "scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": [0.1, 0.2], "warmup_num_steps": "auto"}},
    }
    assert ids(case(("deepspeed_json", taken))) == {}
    searched = {**GOOD_JSON, "autotuning": {"enabled": True}, "train_micro_batch_size_per_gpu": [1, 2, 4]}
    assert ids(case(("deepspeed_json", searched))) == {}


def test_a_template_is_one_hint():
    blanks = {"train_batch_size": "GBSIZE", "steps_per_print": "${STEPS}", "zero_optimization": {"stage": "ZERO_STAGE"}}
    found = case(("deepspeed_json", {**GOOD_JSON, **blanks}))
    assert ids(found) == {("ds-wrong-type", "info"): BOTH}
    assert all(name in findings(found)[0].evidence["node1"] for name in ("GBSIZE", "${STEPS}", "ZERO_STAGE"))


def test_what_older_versions_of_deepspeed_take():
    fraction = with_value(GOOD_JSON, "zero_optimization.sub_group_size", 1.5)
    assert ids(case(("deepspeed_json", fraction), deepspeed="0.14.5")) == {}
    assert ids(case(("deepspeed_json", fraction), deepspeed="0.15.0")) == {("ds-wrong-type", "fail"): BOTH}
    enabled = with_value(GOOD_JSON, "fp16.enabled", "no")
    assert ids(case(("deepspeed_json", enabled), deepspeed="0.16.0")) == {("ds-wrong-type", "warn"): BOTH}
    assert ids(case(("deepspeed_json", with_value(GOOD_JSON, "fp16.enabled", 2)), deepspeed="0.16.0")) == {}


def test_precisions_that_are_text_are_judged():
    both = {**GOOD_JSON, "bf16": {"enabled": 1}, "fp16": {"enabled": "true"}}
    assert ids(case(("deepspeed_json", both)))[("prec-both-enabled", "fail")] == BOTH


def test_a_file_of_yaml_words_for_accelerate_is_still_judged():
    text = STANDARD.format(rank=0).replace("main_process_port: 29500", "main_process_port: '22'")
    found = ids(case(("accelerate", text, "node1")))
    assert found == {("acc-wrong-type", "fail"): ("node1",), ("acc-port-is-ssh-port", "fail"): ("node1",)}
    assert ids(case(yaml(num_machines="two")))[("acc-wrong-type", "fail")] == BOTH


@pytest.mark.parametrize(
    ("kind", "text", "severity", "identity", "words"),
    [
        ("hostfile", "node1: slots=8\nnode2 slots=8\n", "fail", "hostfile-bad-line", "line 1: 'node1: slots=8'"),
        ("hostfile", "node1 slots=8x2\nnode2 slots=8\n", "warn", "hostfile-bad-line", "line 1: 'node1 slots=8x2'"),
        ("hostfile", "node1 slots=8.5\nnode2 slots=8\n", "warn", "hostfile-bad-line", "line 1"),
        (
            "deepspeed_env",
            "A=1\nNCCL_SOCKET_IFNAME='eth0'\n",
            "warn",
            "ds-env-file-unparsable",
            "line 2: NCCL_SOCKET_IF",
        ),
        ("deepspeed_env", "NCCL_DEBUG=INFO # all of it\n", "warn", "ds-env-file-unparsable", "a comment behind"),
        ("deepspeed_env", 'NCCL_IB_HCA="mlx5_0 mlx5_1"\n', "warn", "ds-env-file-unparsable", "quotes around blanks"),
    ],
)
def test_lines_whose_values_are_not_what_they_look_like(kind, text, severity, identity, words):
    found = [each for each in findings(case((kind, text))) if each.rule == identity]
    assert [(each.severity, each.hosts) for each in found] == [(severity, BOTH)]
    assert words in found[0].evidence["node1"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("hostfile", "node1 slots=8.0\nnode2\tslots=8 # c\n"),
        ("hostfile", "node1 slots=8 max_slots=8\nnode2 slots=8,\n"),
        ("deepspeed_env", 'export NCCL_DEBUG="INFO"\nHF_HOME = /hf\nA=it\'s\nB=a#b\n'),
    ],
)
def test_lines_that_deepspeed_takes(kind, text):
    assert ids(case((kind, text))) == {}
