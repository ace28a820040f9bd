# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import (
    BOTH,
    GOOD_JSON,
    GOOD_YAML,
    case,
    findings,
    ids,
    script,
    yaml,
)

BROKEN = """{
  # four nodes
  "train_micro_batch_size_per_gpu": 4,
  "fp16": {"enabled": True},
  "bf16": {"enabled": true},
}
"""


def test_a_file_that_cannot_be_parsed_is_still_judged():
    broken = case(("deepspeed_json", BROKEN, "node1"))
    assert ids(broken) == {("file-unparsable", "fail"): ("node1",), ("prec-both-enabled", "fail"): ("node1",)}
    (one,) = [each for each in findings(broken) if each.rule == "file-unparsable"]
    assert [f"line {number}" in one.evidence["node1"] for number in (2, 3, 4, 5)] == [True, False, True, True]
    tab = GOOD_YAML.replace("num_processes: 16", "\tnum_processes: 16").replace("port: 29500", "port: 22")
    found = ids(case(("accelerate", tab)))
    assert found == {("file-unparsable", "fail"): BOTH, ("acc-port-is-ssh-port", "fail"): BOTH}


@pytest.mark.parametrize(
    ("kind", "text", "line"),
    [
        ("deepspeed_json", '{"a": 1,\n "a": 2}', 2),
        ("deepspeed_json", '{"bf16": {"enabled": true}\n "steps_per_print": 1}', 2),
        ("deepspeed_json", '\ufeff{"steps_per_print": 1}', 1),
        ("deepspeed_json", "{'steps_per_print': 1}", 1),
        ("deepspeed_json", '{"steps_per_print": ${STEPS}}', 1),
        ("deepspeed_json", "{broken", 1),
        ("accelerate", "num_machines: 1\nmixed_precision: bf16: yes\n", 2),
        ("accelerate", "num_machines: 1\nmain_process_ip: 'x\n", 2),
        ("accelerate", "- a\n", 0),
        ("launch_script", "echo 'a\nb\n", 1),
        ("launch_script", "A=1\nB=$(hostname\n", 2),
    ],
)
def test_files_that_cannot_be_parsed(kind, text, line):
    broken = case((kind, text))
    assert ids(broken) == {("file-unparsable", "fail"): BOTH}
    evidence = findings(broken)[0].evidence["node1"]
    assert (f"line {line}:" in evidence) is (line > 0)


def test_scripts_and_texts_that_bash_takes():
    for text in (
        "A=(\n  x # doesn't matter\n)\n",
        "echo don\\'t \"it's\" 'a \"b'\n",
        "cat <<'EOF'\nit's (\nEOF\n",
        "# it's\n",
        "echo $'it\\'s'\n",
        'B="$(echo "a b")"\n',
    ):
        assert ids(case(("launch_script", text))) == {}
    cut = "echo ok\n" * 9000 + "echo 'a"
    assert ids(case(("launch_script", cut))) == {}
    assert ids(case(("deepspeed_json", '{"steps_per_print": 1, ' + " " * 70000))) == {}


@pytest.mark.parametrize(
    ("section", "name", "severity", "near"),
    [
        ("zero_optimization", "stage3_gather_16bit_weights_on_save", "fail", True),
        ("zero_optimization", "overlap_com", "fail", True),
        ("zero_optimization", "nonsense", "fail", False),
        ("", "gradient_clip", "warn", True),
        ("", "zero_optimisation", "warn", True),
        ("optimizer", "param", "warn", True),
        ("fp16", "enable", "warn", True),
    ],
)
def test_keys_that_deepspeed_does_not_know(section, name, severity, near):
    data = {**GOOD_JSON, "optimizer": {"type": "AdamW", "params": {}}}
    data = {**data, section: {**data.get(section, {}), name: True}} if section else {**data, name: 1}
    wrong = case(("deepspeed_json", data, "node2"))
    assert ids(wrong) == {("ds-unknown-key", severity): ("node2",)}
    assert ("is meant" in findings(wrong)[0].evidence["node2"]) is near


def test_keys_of_others_are_their_own_business():
    data = {**GOOD_JSON, "my_model": {"x": 1}, "_comment": "x", "zero_allow_untested_optimizer": True}
    assert ids(case(("deepspeed_json", data))) == {}
    offload = {"zero_optimization": {**GOOD_JSON["zero_optimization"], "offload_optimizer": {"device": "cpu"}}}
    assert ids(case(("deepspeed_json", {**GOOD_JSON, **offload}))) == {}


@pytest.mark.parametrize(
    ("line", "severity", "words"),
    [
        ("gradient_clip: 1", "warn", "gradient_clipping is meant"),
        ("zero_stages: 2", "warn", "zero_stage is meant"),
        ("overlap_comm: true", "info", "overlap_comm"),
        ("nonsense: true", "info", "nonsense"),
    ],
)
def test_keys_below_accelerates_sections(line, severity, words):
    text = GOOD_YAML.replace("  zero3_init_flag", f"  {line}\n  zero3_init_flag")
    wrong = case(("accelerate", text, "node1"))
    assert ids(wrong) == {("acc-unknown-key", severity): ("node1",)}
    assert words in findings(wrong)[0].evidence["node1"]


def test_prefixes_that_accelerate_adds_itself():
    assert ids(case(yaml(fsdp_config="{fsdp_version: 2, offload_params: true}"))) == {}
    assert ids(case(yaml(fsdp_config="{fsdp_versoin: 2}"))) == {("acc-unknown-key", "warn"): BOTH}


def test_the_near_name_of_an_unknown_key():
    wrong = findings(case(yaml(num_process="16")))
    assert "num_process (num_processes is meant)" in wrong[0].evidence["node1"]


def test_scripts_in_order():
    assert ids(case(script("echo ok"))) == {}
