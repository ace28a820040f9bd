# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``trainmesh plan-memory``: shapes, arithmetic and the command."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys

import pytest
from trainmesh import memory, shapes
from trainmesh.installation import Refused
from trainmesh.memory import GIB, STRATEGIES, Setup

from ansible_collections.trainmesh.cluster.plugins.plugin_utils._base.model import Node
from ansible_collections.trainmesh.cluster.tests.unit.samples.user_files import DS, case, ids

LM = ["LlamaForCausalLM"]
LLAMA3 = {"model_type": "llama", "architectures": LM, "hidden_size": 4096, "intermediate_size": 14336,
          "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
          "tie_word_embeddings": False}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
BERT = {"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "vocab_size": 30522, "max_position_embeddings": 512,
        "type_vocab_size": 2}  # fmt: skip
# The parameters of these models, as transformers 5.24 counts them in the modules that it makes of these files; of
# T5 1.1 those of its published weights.
COUNTED = [
    ("Llama 3.1 8B", LLAMA3, 8_030_261_248),
    (
        "Llama 2 7B",
        {**LLAMA3, "intermediate_size": 11008, "num_key_value_heads": 32, "vocab_size": 32000},
        6_738_415_616,
    ),
    ("Mistral 7B", {**LLAMA3, "model_type": "mistral", "vocab_size": 32000}, 7_241_732_096),
    (
        "Qwen2.5 0.5B",
        {
            "model_type": "qwen2",
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
        494_032_768,
    ),
    (
        "Qwen3 0.6B",
        {
            "model_type": "qwen3",
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
        596_049_920,
    ),
    (
        "Phi 3 mini",
        {
            "model_type": "phi3",
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 32064,
            "tie_word_embeddings": False,
        },
        3_821_079_552,
    ),
    (
        "Gemma 2B",
        {
            "model_type": "gemma",
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "vocab_size": 256000,
        },
        2_506_172_416,
    ),
    (
        "Mixtral 8x7B",
        {**LLAMA3, "model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2},
        46_702_792_704,
    ),
    (
        "Qwen1.5 MoE",
        {
            "model_type": "qwen2_moe",
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "vocab_size": 151936,
            "num_experts": 60,
            "num_experts_per_tok": 4,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
        },
        14_315_784_192,
    ),
    (
        "Qwen3 30B",
        {
            "model_type": "qwen3_moe",
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "head_dim": 128,
            "num_hidden_layers": 48,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "vocab_size": 151936,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "moe_intermediate_size": 768,
        },
        30_532_122_624,
    ),
    (
        "DeepSeek V2 Lite",
        {
            "model_type": "deepseek_v2",
            "hidden_size": 2048,
            "intermediate_size": 10944,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "kv_lora_rank": 512,
            "q_lora_rank": None,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "vocab_size": 102400,
            "first_k_dense_replace": 1,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "moe_intermediate_size": 1408,
        },
        15_706_484_224,
    ),
    (
        "DeepSeek V3",
        {
            "model_type": "deepseek_v3",
            "hidden_size": 7168,
            "intermediate_size": 18432,
            "num_hidden_layers": 61,
            "num_attention_heads": 128,
            "kv_lora_rank": 512,
            "q_lora_rank": 1536,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "vocab_size": 129280,
            "first_k_dense_replace": 3,
            "n_routed_experts": 256,
            "n_shared_experts": 1,
            "num_experts_per_tok": 8,
            "moe_intermediate_size": 2048,
        },
        671_026_404_352,
    ),
    ("GPT-2", GPT2, 124_439_808),
    (
        "Pythia 1.4B",
        {
            "model_type": "gpt_neox",
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "vocab_size": 50304,
        },
        1_414_647_808,
    ),
    (
        "OPT 350M",
        {
            "model_type": "opt",
            "hidden_size": 1024,
            "ffn_dim": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "vocab_size": 50272,
            "max_position_embeddings": 2048,
            "word_embed_proj_dim": 512,
            "do_layer_norm_before": False,
        },
        331_196_416,
    ),
    ("BERT base", {**BERT, "architectures": ["BertForMaskedLM"]}, 109_514_298),
    ("BERT classifier", {**BERT, "architectures": ["BertForSequenceClassification"]}, 109_483_778),
    (
        "RoBERTa base",
        {
            **BERT,
            "model_type": "roberta",
            "architectures": ["RobertaForMaskedLM"],
            "vocab_size": 50265,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
        },
        124_697_433,
    ),
    (
        "T5 base",
        {
            "model_type": "t5",
            "d_model": 768,
            "d_ff": 3072,
            "d_kv": 64,
            "num_layers": 12,
            "num_heads": 12,
            "vocab_size": 32128,
        },
        222_903_552,
    ),
    (
        "T5 1.1 base",
        {
            "model_type": "t5",
            "d_model": 768,
            "d_ff": 2048,
            "d_kv": 64,
            "num_layers": 12,
            "num_heads": 12,
            "vocab_size": 32128,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
        },
        247_577_856,
    ),
    (
        "ViT base",
        {
            "model_type": "vit",
            "architectures": ["ViTForImageClassification"],
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "image_size": 224,
            "patch_size": 16,
            "id2label": {str(number): "x" for number in range(1000)},
        },
        86_567_656,
    ),
]
# bert_3.9B_config.json of UER-py, which somebody halved until it fitted; its vocabulary is google_zh_vocab.txt.
UER = {"emb_size": 2560, "feedforward_size": 10240, "hidden_size": 2560, "hidden_act": "gelu", "heads_num": 40,
       "layers_num": 48, "max_seq_length": 512, "dropout": 0.1, "embedding": ["word", "pos", "seg"],
       "encoder": "transformer", "mask": "fully_visible", "target": ["mlm", "sp"]}  # fmt: skip


def setup(**changes):
    """Two nodes of eight GPUs of 24 GiB, one sample of 512 tokens, half precision, AdamW, nothing reserved."""
    made = Setup(2, 16, 8, 24 * GIB, 512 * GIB, True, 2, 8, 512, 1, True, 0, 0.0)
    return made._replace(**changes)


def one(model, where, name, checkpointing=False):
    return memory.need(model, where, next(each for each in STRATEGIES if each.name == name), checkpointing)


@pytest.mark.parametrize(("config", "expected"), [row[1:] for row in COUNTED], ids=[row[0] for row in COUNTED])
def test_parameters_are_exact(config, expected):
    assert shapes.of_config(config, "config.json").parameters == expected


# In a process of its own: torch can't be imported behind ansible-core's changes of Python.
MODULES = """
import json, sys, torch, transformers
for config, kind in json.load(sys.stdin):
    made = transformers.AutoConfig.for_model(**config)
    with torch.device("meta"):
        model = getattr(transformers, "AutoModelFor" + kind).from_config(made)
    own = [sum(each.numel() for each in module.parameters(recurse=False)) for module in model.modules()]
    print(sum(each.numel() for each in {id(each): each for each in model.parameters()}.values()), max(own))
"""


def test_parameters_are_those_of_the_modules():
    if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
        pytest.skip("needs torch and transformers")
    auto = {"bert": "MaskedLM", "roberta": "MaskedLM", "t5": "Seq2SeqLM", "vit": "ImageClassification"}
    # transformers 5 ties the head of T5 1.1 whatever the file says, which transformers 4 and its weights do not
    counted = [row for row in COUNTED if row[0] != "T5 1.1 base"]
    kinds = [
        "SequenceClassification" if "classifier" in name else auto.get(config["model_type"], "CausalLM")
        for name, config, _expected in counted
    ]
    configs = [config for _name, config, _expected in counted]
    done = subprocess.run(
        [sys.executable, "-c", MODULES], input=json.dumps(list(zip(configs, kinds, strict=True))), text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    models = [shapes.of_config(config, "config.json") for config in configs]
    assert found == [(model.parameters, model.largest) for model in models]


def test_what_is_lacking_is_named_and_not_guessed():
    with pytest.raises(Refused, match=r"c.json lacks num_attention_heads, intermediate_size: add it"):
        shapes.of_config({"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 9}, "c.json")
    with pytest.raises(Refused, match=r"model_type 'mamba', which is not known here. Known are .*--params N --layers"):
        shapes.of_config({"model_type": "mamba"}, "c.json")
    with pytest.raises(Refused, match=r"'llava'.*the model in its text_config may be"):
        shapes.of_config({"model_type": "llava", "text_config": {}}, "c.json")
    with pytest.raises(Refused, match="has no model_type"):
        shapes.of_config({}, "c.json")
    with pytest.raises(Refused, match="hidden_size: expected a whole number above 0, found '4096'"):
        shapes.of_config({**LLAMA3, "hidden_size": "4096"}, "c.json")
    with pytest.raises(Refused, match="which has no vocabulary: add --vocab N"):
        shapes.of_config(UER, "c.json")


def test_more_tokens_in_the_vocabulary():
    model = shapes.of_config(LLAMA3, "c.json", 128_264)
    assert model.parameters == 8_030_261_248 + 2 * 8 * 4096 and model.vocabulary == 128_264


def test_a_head_without_a_vocabulary_has_no_logits():
    model = shapes.of_config({**LLAMA3, "architectures": ["LlamaForSequenceClassification"]}, "c.json")
    assert model.vocabulary == 0 and model.parameters == 8_030_261_248 - 128_256 * 4096 + 2 * 4096
    assert memory.logits_bytes(model, setup()) == 0


@pytest.mark.parametrize("heads", [8, 16])
def test_a_layer_of_gpt_keeps_what_the_paper_says(heads):
    """Korthikanti et al., equation 2: sbh(34 + 5as/h) bytes."""
    tokens, hidden = 512, 1024
    gpt = {**GPT2, "n_embd": hidden, "n_head": heads, "activation_function": "gelu"}
    (layer,) = shapes.of_config(gpt, "c.json").layers
    eager = memory.layer_bytes(layer, setup(tokens=tokens, fused=False))
    assert eager == tokens * hidden * (34 + 5 * heads * tokens / hidden)
    fused = memory.layer_bytes(layer, setup(tokens=tokens))
    assert fused == tokens * (34 * hidden + 4 * heads)


def test_logits_count_by_the_vocabulary():
    model = shapes.of_config(LLAMA3, "c.json")
    # bf16 logits, and in float32: the logarithms of softmax, their gradient, and that of the logits
    assert memory.logits_bytes(model, setup(tokens=1024)) == 1024 * 128_256 * (2 + 4 + 4 + 4)


# estimate_zero2_model_states_mem_needs(total_params, gpus, nodes, cpu_offload) and
# estimate_zero3_model_states_mem_needs(total_params, largest, gpus, nodes, cpu_offload, cpu_offload_params, True) of
# DeepSpeed 0.19.8: (CPU, GPU) bytes for 3.9e9 parameters, of which one module has 1e8.
ESTIMATED = [
    ("zero2", 8, 1, (187_200_000_000, 16_575_000_000)),
    ("zero2", 8, 2, (187_200_000_000, 12_187_500_000)),
    ("zero2_offload", 4, 1, (93_600_000_000, 7_800_000_000)),
    ("zero3", 8, 1, (4_800_000_000, 9_175_000_000)),
    ("zero3", 8, 2, (4_800_000_000, 4_787_500_000)),
    ("zero3_offload_optimizer", 8, 2, (46_800_000_000, 887_500_000)),
    ("zero3_offload", 8, 2, (52_650_000_000, 400_000_000)),
]


def states(name, gpus, nodes):
    """(CPU, GPU) bytes as DeepSpeed's estimators count them: no buckets, and of ZeRO-3 one module at a time."""
    layers = (shapes.Layers(10, 380_000_000, 4096, 0),)
    model = shapes.Model("", 3_900_000_000, 100_000_000, layers)
    need = one(model, setup(nodes=nodes, ranks=nodes * gpus, ranks_per_node=gpus), name)
    # the parameters themselves are not among the 18 bytes that they count of ZeRO-3 without offload
    gathered = 4 * model.largest - (need.parameters if name == "zero3" else 0) if need.strategy.stage == 3 else 0
    return max(need.offloaded, need.loading), need.parameters + need.gradients + need.optimizer + need.step + gathered


@pytest.mark.parametrize(("name", "gpus", "nodes", "expected"), ESTIMATED)
def test_the_states_are_those_of_the_estimators_of_deepspeed(name, gpus, nodes, expected):
    assert states(name, gpus, nodes) == pytest.approx(expected, rel=1e-6)


ESTIMATORS = """
import json, sys
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs as stage2
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs as stage3
for name, gpus, nodes, _expected in json.load(sys.stdin):
    offload, parameters = "offload" in name, name == "zero3_offload"
    two = name.startswith("zero2")
    found = stage2(3900000000, gpus, nodes, offload) if two else (
        stage3(3900000000, 100000000, gpus, nodes, offload, parameters, True))
    print(*found[:2])
"""


def test_the_recorded_estimates_are_those_of_this_deepspeed():
    if not importlib.util.find_spec("deepspeed"):
        pytest.skip("needs DeepSpeed")
    done = subprocess.run(
        [sys.executable, "-c", ESTIMATORS], input=json.dumps(ESTIMATED), text=True, capture_output=True, check=True
    )
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert found == [expected for _name, _gpus, _nodes, expected in ESTIMATED]


def test_each_stage_takes_less_of_a_gpu_than_the_one_before():
    model = shapes.of_config(LLAMA3, "c.json")
    totals = [one(model, setup(), f"zero{stage}").total for stage in range(4)]
    assert totals == sorted(totals, reverse=True) and len(set(totals)) == 4


# Bytes for a parameter of a rank's part, while AdamW of torch works: the largest of what follows each other.
STEPS = [
    # without ZeRO: gradients, those of float32, and the roots of all (GPUs) or of one parameter (CPUs)
    ("zero0", 2, True, 4, 2 + 4 + 4),
    ("zero0", 2, False, 8, 2 + 4),
    ("zero0", 4, True, 4, 4 + 4),
    ("zero0", 4, False, 8, 4),
    # ZeRO: gradients, one tensor of them, those of float32; or these and the roots of them
    ("zero1", 2, True, 4, 2 + 2 + 4),
    ("zero2", 2, True, 4, 2 + 2 + 4),
    ("zero2", 2, True, 0, 2 + 2 + 4),
    ("zero2", 2, False, 8, 4 + 8),
    ("zero2", 4, True, 4, 4 + 4),
    ("zero2", 4, False, 8, 4 + 8),
    # the parts of gradients stay
    ("zero3", 2, True, 4, 2 + 4 + 4),
    ("zero3", 2, True, 0, 2 + 2 + 4),
    ("zero3", 2, False, 8, 2 + 4 + 8),
    ("zero3", 4, False, 8, 4 + 4 + 8),
]


@pytest.mark.parametrize(("name", "element", "gpus", "roots", "expected"), STEPS)
def test_what_there_is_while_the_optimizer_works(name, element, gpus, roots, expected, monkeypatch):
    monkeypatch.setattr(memory, "BUCKET", 0)
    model = shapes.Model("", 1000, 1, (shapes.Layers(1, 1000, 1, 0),))
    ranks = 1 if name == "zero0" else 2
    need = one(model, setup(element=element, gpus=gpus, roots=(roots, roots), ranks=ranks), name)
    whole = element + roots if name == "zero0" and not gpus else element  # the one parameter, and the one that is cut
    assert need.update == pytest.approx(expected * 1000 // ranks, abs=2 * whole)


def test_gloo_gathers_parameters_through_a_copy():
    """With many ranks it is more than all that the optimizer needs of a part."""
    model = shapes.of_config(GPT2, "c.json")
    with_gloo = one(model, setup(gpus=False, element=4, roots=(4, 8)), "zero2")
    assert with_gloo.update == 4 * model.parameters
    assert one(model, setup(element=4, roots=(4, 8)), "zero2").update < 2 * model.parameters


def test_gradients_of_a_parameter_that_ranks_share_are_whole_on_each():
    model = shapes.of_config(LLAMA3, "c.json")
    assert memory.cut_parameters(model, setup(), STRATEGIES[2]) == 128_256 * 4096
    assert memory.cut_parameters(model, setup(ranks=1), STRATEGIES[2]) == 0
    assert memory.cut_parameters(model, setup(), STRATEGIES[4]) == 0
    # so they are in the backward pass and in the step
    need, cut = one(model, setup(), "zero2", True), 2 * 128_256 * 4096
    layer = memory.layer_bytes(model.layers[0], setup())
    assert need.backward == need.gradients + cut + need.buffers + layer
    assert need.update == need.gradients + cut + 8 * model.parameters // 16  # its norm is made of float64


def test_gradients_are_there_beside_all_activations_only_where_they_accumulate():
    model = shapes.of_config(GPT2, "c.json")
    where, cut = setup(batch=64), 2 * 50257 * 768
    for name, more in (("zero0", 2 * model.parameters), ("zero2", 2 * model.parameters / 16 + cut), ("zero3", 0)):
        alone, accumulated = one(model, where, name), one(model, where._replace(accumulation=2), name)
        assert accumulated.backward - alone.backward == pytest.approx(more, abs=2)


def test_zero2_has_gradients_twice_where_they_accumulate():
    model = shapes.of_config(LLAMA3, "c.json")
    alone, accumulated = (one(model, setup(accumulation=number), "zero2", True) for number in (1, 2))
    assert accumulated.backward - alone.backward == alone.gradients + 2 * 128_256 * 4096


def test_the_end_of_the_backward_pass_may_need_more_than_its_start():
    """All gradients and a layer's activations, which with checkpointing are most of what there is."""
    model = shapes.of_config(LLAMA3, "c.json")
    need, layer = one(model, setup(), "zero1", True), memory.layer_bytes(model.layers[0], setup())
    assert need.backward == need.gradients + need.buffers + layer > need.buffers + need.activations


def test_without_zero_all_gradients_are_copied_to_be_reduced():
    model = shapes.of_config(GPT2, "c.json")
    assert one(model, setup(element=4), "zero0").backward == 2 * 4 * model.parameters
    large = shapes.of_config(LLAMA3, "c.json")
    assert one(large, setup(), "zero0").backward == 2 * (large.parameters + memory.ALLREDUCE)


def test_buckets_are_there_on_gpus_and_on_cpus_what_is_written_to():
    model = shapes.of_config({**GPT2, "n_layer": 1, "vocab_size": 1000}, "c.json")
    assert model.parameters < memory.BUCKET / 5
    assert one(model, setup(gpus=False), "zero2").buffers < 2 * 4 * model.parameters
    assert one(model, setup(), "zero2").buffers > 2 * 4 * memory.BUCKET


def test_float32_has_no_second_copy_but_under_zero():
    model = shapes.of_config(GPT2, "c.json")
    plain = one(model, setup(element=4), "zero0")
    assert (plain.parameters, plain.gradients, plain.optimizer, plain.step) == (
        4 * model.parameters, 4 * model.parameters, 8 * model.parameters, 0,
    )  # fmt: skip
    assert one(model, setup(element=4, ranks=1), "zero2").optimizer == 12 * model.parameters


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("strategy", [each.name for each in STRATEGIES])
def test_the_largest_batch_fits_and_one_more_does_not(strategy, checkpointing):
    model = shapes.of_config({**LLAMA3, "num_hidden_layers": 8}, "c.json")
    where = setup(reserved=2 * GIB, fragmentation=0.05, capacity=40 * GIB)
    most = one(model, where, strategy, checkpointing).batch
    if most:
        assert one(model, where._replace(batch=most), strategy, checkpointing).fits
    assert not one(model, where._replace(batch=most + 1), strategy, checkpointing).fits


def test_offload_needs_memory_of_the_host():
    model = shapes.of_config(LLAMA3, "c.json")
    need = one(model, setup(host=90 * GIB), "zero2_offload")
    assert need.offloaded > 80 * GIB and one(model, setup(host=need.offloaded), "zero2_offload").fits
    assert not one(model, setup(host=need.offloaded - 1), "zero2_offload").fits


def test_offload_to_an_adamw_of_torch_needs_more_than_the_estimators_factor():
    """Beside the 16 bytes of the states 2 of the parameters, and 8 of roots, are more than the half of these."""
    model = shapes.of_config(LLAMA3, "c.json")
    estimated, with_roots = one(model, setup(), "zero3_offload_optimizer"), setup(roots=(4, 8))
    assert estimated.offloaded == 24 * model.parameters * 8 // 16
    assert one(model, with_roots, "zero3_offload_optimizer").offloaded == 26 * model.parameters * 8 // 16
    assert one(model, with_roots, "zero2_offload").offloaded == 13 * model.parameters + 8 * 2 * 128_256 * 4096


def test_on_cpus_there_is_nothing_to_offload_to():
    names = {each.strategy.name for each in memory.needs(shapes.of_config(GPT2, "c.json"), setup(gpus=False))}
    assert names == {"zero0", "zero1", "zero2", "zero3"}


def test_the_model_that_was_halved_by_trial_and_error():
    """16 GPUs on two nodes, UER-py's ZeRO-2 with the optimizer on the CPU, without checkpointing, batches of 16."""
    model = shapes.of_config(UER, "c.json", 21_128)
    assert model.parameters == 3_899_113_610
    half = shapes.of_config({**UER, "layers_num": 24}, "c.json", 21_128)
    for gigabytes in (32, 40):
        where = setup(capacity=gigabytes * GIB, reserved=2 * GIB, fragmentation=0.05, fused=False)
        assert not one(model, where._replace(batch=16), "zero2_offload").fits
        assert not one(model, where._replace(batch=8), "zero2_offload").fits
        assert not one(half, where._replace(batch=16), "zero2_offload").fits
        assert one(half, where._replace(batch=8), "zero2_offload").fits
    # what would have spared the halving, on GPUs of 24 GiB as well; with the gradients of ZeRO-1 only just
    where = setup(reserved=2 * GIB, fragmentation=0.05, fused=False, batch=16)
    best = next(each for each in memory.needs(model, where) if each.fits)
    assert (best.strategy.name, best.checkpointing) == ("zero1", True)
    assert best.batch < 2 * 16 < one(model, where, "zero2", True).batch


# The command, in an installation as the playbooks make it.


@pytest.fixture
def gpus(install):
    """Two nodes of two GPUs, of which the second one has less."""
    model = {"interface": "eth7", "gpu_memory_mib": 81559, "memory_bytes": 1008 * GIB, "gpus": ("H100", "H100")}
    first = Node("node1", 0, "10.0.0.11", 22, 2, hostname="node1", fqdn="node1", **model)
    small = {**model, "gpu_memory_mib": 24564, "memory_bytes": 126 * GIB}
    return install(first, Node("node2", 1, "10.0.0.12", 22, 2, hostname="node2", fqdn="node2", **small))


def plan(made, *words, **options):
    return made.call(sys.executable, "-ISB", made.root / "lib/trainmesh", "plan-memory", *words, **options)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**GPT2, "architectures": ["GPT2LMHeadModel"]}))
    return path


def test_the_command_tells_the_smallest_gpu_and_the_fastest_way(gpus, config):
    done = plan(gpus, "--model", config, "--seq", "1024", "--batch", "4", "--precision", "bf16")
    assert done.returncode == 0 and done.stderr == ""
    assert "the smallest GPU has 24.0 GiB (node2), the smallest host 126.0 GiB (node2)" in done.stdout
    assert "Model: gpt2, 124,439,808 parameters, 12 layers of 768, vocabulary 50257" in done.stdout
    assert "Fastest that fits: zero0 (no offload, the communication of data parallelism)" in done.stdout


def test_the_directory_of_a_model_will_do(gpus, config):
    assert plan(gpus, "--model", config.parent, "--batch", "1").returncode == 0


def test_nothing_fits(gpus):
    done = plan(gpus, "--params", "70B", "--seq", "4096", "--batch", "64", "--precision", "bf16")
    assert done.returncode == 1 and "Nothing fits with a micro batch of 64." in done.stdout
    assert re.search(r"even one sample does not: for --batch 64 .* needs [\d.]+ GiB a GPU\b", done.stdout)
    assert "assumed: vocabulary 50257 (--vocab)" in done.stdout


def test_a_smaller_batch_is_told(gpus):
    done = plan(gpus, "--params", "7B", "--seq", "4096", "--batch", "64", "--precision", "bf16")
    assert done.returncode == 1 and "fits with zero" in done.stdout


def test_a_strategy_that_does_not_fit_says_what_would(gpus):
    words = ["--params", "3.9e9", "--batch", "16", "--precision", "fp16", "--strategy", "zero2_offload"]
    done = plan(gpus, *words, "--checkpointing", "off", "--attention", "eager")
    assert done.returncode == 1 and "zero2_offload does not fit with a micro batch of 16." in done.stdout
    assert "activation checkpointing takes less: leave out --checkpointing off" in done.stdout


def test_everything_as_json(gpus, config):
    done = plan(gpus, "--model", config, "--json")
    data = json.loads(done.stdout)
    assert data["model"]["parameters"] == 124_439_808 and data["setup"]["precision"] == "fp32"
    assert data["fastest"]["strategy"] == "zero0" and len(data["strategies"]) == 14


def test_without_gpus_the_memory_of_the_host_counts(install, config):
    node = Node("node1", 0, "10.0.0.11", 22, 2, "eth7", "node1", "node1", memory_bytes=8 * GIB)
    done = plan(install(node), "--model", config)
    assert "no GPUs: training is in host memory, of which a rank has 4.0 GiB (node1)" in done.stdout
    assert "offload" not in done.stdout.partition("Fastest")[0] and done.returncode == 0


@pytest.mark.parametrize("strategy", [each.name for each in STRATEGIES])
@pytest.mark.parametrize("auto", [[], ["--auto"]])
def test_the_checks_of_deepspeed_files_have_nothing_against_what_is_written(gpus, config, strategy, auto):
    done = plan(gpus, "--model", config, "--strategy", strategy, "--write", "ds.json", "--precision", "bf16", "--batch",
                "3", *auto)  # fmt: skip
    text = (gpus.root / "workspace/ds.json").read_text()
    zero = json.loads(text)["zero_optimization"]
    assert done.stderr == "written: ds.json\n" and zero["stage"] == int(strategy[4])
    assert ("offload_optimizer" in zero, "offload_param" in zero) == (
        "offload" in strategy,
        strategy == "zero3_offload",
    )
    assert json.loads(text)["train_micro_batch_size_per_gpu"] == ("auto" if auto else 3)
    assert json.loads(text)["bf16"] == {"enabled": True} and not json.loads(text)["fp16"]["enabled"]
    launch = () if auto else (("launch_script", DS.format(arguments="--deepspeed_config ds.json")),)
    assert ids(case(("deepspeed_json", text), *launch)) == {}


def test_what_is_written_is_what_was_reckoned(gpus):
    done = plan(gpus, "--params", "7B", "--precision", "fp16", "--strategy", "zero3", "--write", "-")
    zero = json.loads(done.stdout)["zero_optimization"]
    model = shapes.of_numbers(7_000_000_000, None, None, None, None)
    assert zero["stage3_max_live_parameters"] == memory.live_parameters(model)
    assert zero["reduce_bucket_size"] == memory.BUCKET


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected one of --model config.json and --params N"),
        (["--params", "many"], "expected a number above 0 such as 8, 3.9e9 or 7B, found 'many'"),
        (["--params", "1B", "--gpu-memory", "much"], "expected a size such as 24GiB, found 'much'"),
        (["--model", "nowhere.json"], "nowhere.json can't be read (No such file or directory)"),
        (["--params", "1B", "--strategy", "zero9"], "--strategy: expected one of zero0, zero1"),
        (["--params", "1B", "--write", "/nowhere/ds.json"], "/nowhere/ds.json can't be written"),
    ],
)
def test_bad_words(gpus, words, message):
    done = plan(gpus, *words)
    assert done.returncode == 64 and message in done.stderr and done.stderr.count("\n") == 1


def test_a_state_of_an_older_version_asks_for_the_memory(gpus):
    path = gpus.root / "etc/cluster.json"
    data = json.loads(path.read_text())
    for node in data["nodes"]:
        del node["gpu_memory_mib"], node["memory_gib"]
    path.write_text(json.dumps(data))
    assert "does not tell the GPUs' memory: say --gpu-memory" in plan(gpus, "--params", "1B").stderr
    done = plan(gpus, "--params", "1B", "--gpu-memory", "80GB")
    assert "the smallest GPU has 80.0 GiB; the hosts' memory is not known" in done.stdout


def test_another_cluster_needs_no_installation(tmp_path):
    words = ["--params", "1B", "--nodes", "4", "--gpus", "8", "--gpu-memory", "80", "--precision", "bf16"]
    library = shapes.__file__.rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-ISB", library, "plan-memory", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "32 ranks on 4 nodes" in done.stdout
