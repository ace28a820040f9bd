# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.trainmesh.cluster.plugins.module_utils._base.secrets import masked
from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import (
    BOTH,
    GOOD_JSON,
    GOOD_YAML,
    STANDARD,
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
        ("fp16", "enable", "fail", True),
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


RUN = (
    "#!/bin/bash",
    "export NCCL_DEBUG=WARN  # a comment",
    "torchrun --nnodes=2 --node_rank=$1 --nproc_per_node=8 --master_addr=10.0.0.1 --master_port=29500 /t.py --lr 1",
)


def written(*lines, end="\n", before=""):
    return ("launch_script", before + end.join((*lines, "")))


@pytest.mark.parametrize(
    ("given", "severity", "words"),
    [
        (written(*RUN, end="\r\n"), "warn", "line ends of Windows"),
        (written("export A=1", *RUN, end="\r\n"), "fail", "line 1: the line ends of Windows (CR LF): export A=1"),
        (written(*RUN[:2], "torchrun --standalone \\", "  /t.py", end="\r\n"), "fail", "line 3"),
        (written(*RUN, "if true", "then", "  echo", "fi", end="\r\n"), "fail", "line 5"),
        (written(*RUN, end="\r"), "fail", "carriage return alone"),
        (written(*RUN, before="\ufeff"), "warn", "byte order mark"),
        (("launch_script", "\ufffd\ufffd" + "\0".join(written(*RUN)[1])), "fail", "16 bits"),
        (written(*RUN[:2], RUN[2].replace("--node_rank", "\u2013node_rank")), "fail", "line 3: a dash in the place of"),
        (written(*RUN[:2], RUN[2].replace("--lr", "\u2014lr")), "fail", "a dash"),
        (written(*RUN[:2], RUN[2].replace(" --lr", "\u00a0--lr")), "fail", "a no-break space"),
        (written(*RUN[:2], RUN[2].replace(" --lr", " \u2013-lr")), "fail", "a dash in the place of --"),
        (written(*RUN[:2], RUN[2].replace(" --lr", " \\\n \u3000--lr")), "fail", "line 3: a no-break space"),
        (written(*RUN[:2], RUN[2].replace("torchrun", "torchrun\u200b")), "fail", "without a width"),
    ],
)
def test_a_script_whose_characters_no_shell_reads(given, severity, words):
    broken = case(given)
    assert ids(broken) == {("file-unparsable", severity): BOTH}
    assert words in findings(broken)[0].evidence["node1"]


@pytest.mark.parametrize(
    "given",
    [
        written(*RUN),
        written(*RUN[:2], RUN[2] + " --prompt '\u4f60\u3000\u597d \u2014 a'", "echo \u2014done\u00a0now"),
        written(*RUN, "# \u2013nnodes is a dash", "cat <<EOF > a", "\u2013nnodes\u00a0", "EOF"),
        written(*RUN, 'printf "a\r\n"'),
    ],
)
def test_characters_that_do_no_harm(given):
    assert ids(case(given)) == {}


def test_a_file_that_is_no_utf8():
    latin = '{"train_micro_batch_size_per_gpu": 1,\n "note": "gr\ufffdn"}'
    assert ids(case(("deepspeed_json", latin))) == {("file-unparsable", "fail"): BOTH}
    assert "line 2: a byte that is not UTF-8" in findings(case(("deepspeed_json", latin)))[0].evidence["node1"]
    good = STANDARD.format(rank=0)
    broken = {("file-unparsable", "fail"): BOTH}
    assert ids(case(yaml(good + "# gr\ufffdn\n"))) == broken | ids(case(yaml(good)))


def test_the_line_ends_of_an_environment_file_are_stripped_by_deepspeed():
    assert ("nccl-ifname-absent-on-node", "fail") not in ids(case(("deepspeed_env", "NCCL_SOCKET_IFNAME=eth0\r\n")))


@pytest.mark.parametrize(
    "line",
    [
        "torchrun --nnodes=2 --log_key canary0123456789 --node_rank=$1 --master_addr=10.0.0.1 /t.py",
        "export HF_TOKEN=canary0123456789\ntorchrun --nnodes=2 --node_rank=$1 --master_addr=10.0.0.1 /t.py",
        'echo -e "machine x\\n login me password canary0123456789" > ~/.netrc',
        "x='login me password canary0123456789'",
        "r=$(curl -u me:canary0123456789)",
        "sshpass -p 'canary0123456789' ssh node2 true",
    ],
)
def test_a_secret_that_was_hidden_breaks_no_script(line):
    text = masked("\n".join((*RUN[:2], line, RUN[2], "")))
    assert "canary" not in text
    assert ids(case(("launch_script", text))) == {}


def test_keys_that_newer_deepspeeds_refuse():
    sections = {
        "bf16": {"enabled": True, "loss_scale": 0, "hysteresis": "auto"},
        "tensorboard": {"enabled": True, "log_dir": "/l"},
    }
    given = ("deepspeed_json", {**GOOD_JSON, **sections})
    assert ids(case(given, deepspeed="0.19.8")) == {("ds-unknown-key", "fail"): BOTH}
    evidence = " ".join(each.evidence["node1"] for each in findings(case(given)))
    assert "bf16.loss_scale" in evidence and "tensorboard.log_dir" in evidence and "hysteresis" not in evidence
    assert ids(case(("deepspeed_json", {**GOOD_JSON, "bf16": sections["bf16"]}), deepspeed="0.16.9")) == {}
    unknown = case(("deepspeed_json", {**GOOD_JSON, "bf16": sections["bf16"]}), deepspeed=None)
    assert ids(unknown) == {("ds-unknown-key", "warn"): BOTH}
    near = ("deepspeed_json", {**GOOD_JSON, "fp16": {"enabled": False, "los_scale": 0}})
    assert ids(case(near, deepspeed="0.16.9")) == {("ds-unknown-key", "warn"): BOTH}


def test_sections_that_are_no_objects():
    wrong = {"bf16": True, "optimizer": "AdamW", "zero_optimization": {"stage": 2, "offload_optimizer": True}}
    found = case(("deepspeed_json", {**GOOD_JSON, **wrong}))
    assert ids(found) == {("ds-no-object", "fail"): BOTH}
    evidence = " ".join(each.evidence["node1"] for each in findings(found))
    assert all(part in evidence for part in ("bf16: true", 'optimizer: "AdamW"', "offload_optimizer: true"))
    assert "line 1: bf16" in evidence
    for section in ("scheduler", "fp16", "checkpoint", "zero_optimization", "tensorboard"):
        assert ids(case(("deepspeed_json", {**GOOD_JSON, section: None}))) == {("ds-no-object", "fail"): BOTH}
    taken = {"aio": None, "tensorboard": "auto", "bf16": None}
    zero = {**GOOD_JSON["zero_optimization"], "offload_param": None, "offload_optimizer": "auto"}
    assert ids(case(("deepspeed_json", {**GOOD_JSON, **taken, "zero_optimization": zero}))) == {}
    assert ids(case(("deepspeed_json", {**GOOD_JSON, "fp16": "auto"}))) == {("ds-no-object", "fail"): BOTH}
