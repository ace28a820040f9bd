# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model is made of, from its ``config.json``: its parameters, and what each layer keeps for the backward pass.

The parameters are those of the modules of transformers 5.24, to the last one. What a layer keeps are the tensors that
these modules save; for a layer of GPT these are those of Korthikanti et al., "Reducing Activation Recomputation in
Large Transformer Models" (arXiv 2205.05198). A model of an unknown kind, or a field that is not there, is an error.
"""

from __future__ import annotations

import typing as t

from trainmesh.installation import Refused

Config = t.Mapping[str, t.Any]
SHAPE_OPTIONS = "--params N --layers N --hidden N --heads N --vocab N"


class Layers(t.NamedTuple):
    """Layers that are alike. Widths are numbers of elements for one token."""

    number: int
    parameters: int  # of one layer
    hidden: int  # what activation checkpointing keeps
    saved: int  # elements of the precision of the computation
    wide: int = 0  # elements of float32 in any precision, which RMSNorm makes
    masks: int = 0  # elements of dropout masks
    heads: int = 0
    expanded: int = 0  # further elements of an attention that is not fused
    # of such an attention: whether its softmax is of float32, its dropout, and how many attentions the layer has
    upcast: bool = True
    dropout: bool = False
    attentions: int = 1


class Model(t.NamedTuple):
    """A model as the arithmetic of memory needs it."""

    kind: str
    parameters: int
    largest: int  # the most parameters that one module has itself: ZeRO-3 gathers at least these
    layers: tuple[Layers, ...]
    vocabulary: int = 0  # width of the logits; 0 without any
    predicted: float = 1.0  # share of the tokens for which there are logits
    float_logits: bool = True  # whether the loss makes float32 of them
    tokens: int = 0  # of one sample, where the model itself says it (images)
    fused: bool = True  # whether its attention has a fused kernel (flash attention, torch's SDPA)
    notes: tuple[str, ...] = ()


class Fields:
    """The fields of a config.json. Those that are lacking are told all at once."""

    def __init__(self, config: Config, source: str) -> None:
        self.config, self.source = config, source
        self.missing: list[str] = []

    def size(self, *names: str) -> int:
        """A size that every such model has, by the first of these names that is there."""
        for name in names:
            value = self.config.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
            if value is not None:
                raise Refused(f"{self.source}: {name}: expected a whole number above 0, found {value!r}")
        self.missing.append(" or ".join(names))
        return 1

    def get(self, name: str, default: t.Any) -> t.Any:
        """A field that the model's class has a default for, which is also that of null."""
        value = self.config.get(name)
        return default if value is None else value

    def check(self) -> None:
        """Refused when a size is not there."""
        if self.missing:
            raise Refused(
                f"{self.source} lacks {', '.join(dict.fromkeys(self.missing))}: add it there, "
                f"or say the shape instead: {SHAPE_OPTIONS}"
            )


def of_config(config: Config, source: str, vocabulary: int | None = None) -> Model:
    """The model of a config.json; ``vocabulary`` stands for the one in it, after new tokens were added."""
    fields = Fields({**config, **({"vocab_size": vocabulary} if vocabulary else {})}, source)
    kind = config.get("model_type")
    if kind is None and "layers_num" in config and "heads_num" in config:
        kind = "uer"
    if kind not in KINDS:
        nested = [name for name in ("text_config", "llm_config", "thinker_config") if name in config]
        found = "has no model_type" if kind is None else f"is of the model_type {kind!r}, which is not known here"
        inside = f" (the model in its {nested[0]} may be, in a file of its own)" if nested else ""
        raise Refused(f"{source} {found}{inside}. Known are {', '.join(sorted(KINDS))}. Say the shape: {SHAPE_OPTIONS}")
    model = KINDS[kind](fields, str(kind))
    fields.check()
    return model


def of_numbers(
    parameters: int, layers: int | None, hidden: int | None, heads: int | None, vocabulary: int | None
) -> Model:
    """A GPT of so many parameters. What is not said of its shape is assumed, and told in the notes.

    Where neither layers nor width are known, the width is 64 times the number of layers: wider models have fewer
    layers and need less for activations.
    """
    notes: list[str] = []
    vocabulary = said(vocabulary, 50257, "vocabulary", notes)
    if hidden is None and layers is None:
        layers = max(1, round((parameters / (12 * 64 * 64)) ** (1 / 3)))
        notes.append(f"assumed: {layers} layers (--layers)")
    if hidden is None:
        hidden = max(64, round((parameters / (12 * t.cast(int, layers))) ** 0.5 / 64) * 64)
        notes.append(f"assumed: hidden size {hidden} (--hidden)")
    if layers is None:
        layers = max(1, round((parameters - vocabulary * hidden) / (12 * hidden * hidden)))
        notes.append(f"assumed: {layers} layers (--layers)")
    heads = said(heads, max(1, hidden // 64), "heads", notes)
    feedforward = 4 * hidden
    layer = Layers(layers, 12 * hidden * hidden + 13 * hidden, hidden, 8 * hidden + 2 * feedforward, 0, 2 * hidden,
                   heads, 0, False, True)  # fmt: skip
    largest = max(vocabulary * hidden, hidden * feedforward)
    return Model("a GPT-like model", parameters, largest, (layer,), vocabulary, notes=tuple(notes))


def said(value: int | None, default: int, name: str, notes: list[str]) -> int:
    """The value, or the default with a note."""
    if value is None:
        notes.append(f"assumed: {name} {default} (--{'vocab' if name == 'vocabulary' else name})")
    return default if value is None else value


# The models. Each function reads the fields by the names of its kind.


def llama(fields: Fields, kind: str) -> Model:
    """Decoders of LLaMA's kind, with grouped queries: RMSNorm, a gated MLP, rotary positions; also of experts."""
    hidden, count = fields.size("hidden_size"), fields.size("num_hidden_layers")
    heads, vocabulary = fields.size("num_attention_heads"), fields.size("vocab_size")
    keys = fields.get("num_key_value_heads", heads)
    head = fields.get("head_dim", 256 if kind == "gemma" else hidden // heads)
    bias = fields.get("attention_bias", False) if kind not in ("mistral", "mixtral", "phi3") else False
    qkv_bias = kind in ("qwen2", "qwen2_moe") or bias
    inner, width = heads * head, keys * head
    attention = 2 * hidden * inner + 2 * hidden * width + (inner + 2 * width) * qkv_bias + hidden * bias
    saved = 4 * hidden + 2 * inner + 2 * width  # what the norms multiply, the inputs of matrices; q, k, v and output
    expanded, wide = 2 * (inner - width), 2 * hidden
    if kind == "gemma":  # its norm multiplies numbers of float32
        saved, wide = saved - 2 * hidden, wide + 2 * hidden
    if kind == "phi3":  # v is a part of one tensor with q and k, which rotation copies
        saved, expanded = saved + 2 * inner + width, expanded - 2 * inner - width
    if kind in ("qwen3", "qwen3_moe"):  # q and k have norms of their own
        attention, saved, wide = attention + 2 * head, saved + inner + width, wide + inner + width
    dropout = fields.get("attention_dropout", 0.0) > 0
    dense, experts = feed_forwards(fields, kind, hidden, count)
    made = [
        Layers(number, attention + 2 * hidden + each.parameters, hidden, saved + each.saved, wide, 0, heads,
               expanded, True, dropout)
        for number, each in (dense, experts) if number
    ]  # fmt: skip
    tied = fields.get("tie_word_embeddings", kind == "gemma")
    largest = max(dense[1].largest, experts[1].largest, (2 if kind == "phi3" else 1) * dense[1].largest)
    return decoder(fields, kind, made, vocabulary * hidden, hidden, tied, max(largest, hidden * inner))


def deepseek(fields: Fields, kind: str) -> Model:
    """DeepSeek V2 and V3: keys and values of low rank (multi-head latent attention), and experts."""
    hidden, count = fields.size("hidden_size"), fields.size("num_hidden_layers")
    heads, vocabulary = fields.size("num_attention_heads"), fields.size("vocab_size")
    rank, rotary = fields.size("kv_lora_rank"), fields.size("qk_rope_head_dim")
    plain, values = fields.size("qk_nope_head_dim"), fields.size("v_head_dim")
    query_rank = fields.get("q_lora_rank", None)
    queries = heads * (plain + rotary)
    of_q = hidden * query_rank + query_rank + query_rank * queries if query_rank else hidden * queries
    bias = fields.get("attention_bias", False)
    of_kv = hidden * (rank + rotary) + rank + rank * heads * (plain + values)
    attention = of_q + of_kv + heads * values * hidden
    attention += ((query_rank or 0) + rank + rotary + hidden) * bias
    # the inputs of the norms and of the projections behind them; q, k, v and the output
    saved = 4 * hidden + 2 * (query_rank or 0) + 2 * rank + 2 * queries + heads * (plain + 2 * values)
    wide = 2 * hidden + rank + (query_rank or 0)
    dense, experts = feed_forwards(fields, kind, hidden, count)
    made = [
        Layers(number, attention + 2 * hidden + each.parameters, hidden, saved + each.saved, wide, 0, heads,
               0, True, fields.get("attention_dropout", 0.0) > 0)
        for number, each in (dense, experts) if number
    ]  # fmt: skip
    tied = fields.get("tie_word_embeddings", False)
    return decoder(fields, kind, made, vocabulary * hidden, hidden, tied, max(dense[1].largest, experts[1].largest))


class FeedForward(t.NamedTuple):
    """The part of a layer behind its attention; ``largest`` is one module's own parameters."""

    parameters: int
    saved: int
    largest: int


def gated(hidden: int, inner: int, bias: bool = False) -> FeedForward:
    """gate, up and down: what gate and up give, the activation, and its product with up."""
    return FeedForward(3 * hidden * inner + (2 * inner + hidden) * bias, 4 * inner, hidden * inner + inner * bias)


def feed_forwards(
    fields: Fields, kind: str, hidden: int, count: int
) -> tuple[tuple[int, FeedForward], tuple[int, FeedForward]]:
    """(the number of layers without experts and their MLP, the number of those with experts and theirs)."""
    nothing = FeedForward(0, 0, 0)
    if kind not in EXPERTS:
        bias = fields.get("mlp_bias", False) if kind == "llama" else False
        return (count, gated(hidden, fields.size("intermediate_size"), bias)), (0, nothing)
    number = fields.size(*EXPERTS[kind])
    inner = fields.size("intermediate_size" if kind == "mixtral" else "moe_intermediate_size")
    chosen = fields.size("num_experts_per_tok")
    parameters = number * 3 * hidden * inner + number * hidden
    saved = chosen * (2 * hidden + 4 * inner)  # the token again for each expert that it goes to, and their output
    if kind in ("deepseek_v2", "deepseek_v3"):
        shared = gated(hidden, inner * fields.get("n_shared_experts", 1))
        dense = min(count, fields.get("first_k_dense_replace", 3 if kind == "deepseek_v3" else 0))
    elif kind == "qwen2_moe":
        shared = gated(hidden, fields.size("shared_expert_intermediate_size"))
        shared = shared._replace(parameters=shared.parameters + hidden, saved=shared.saved + hidden)
        dense = without_experts(fields, count)
    else:
        shared, dense = nothing, 0 if kind == "mixtral" else without_experts(fields, count)
    experts = FeedForward(parameters + shared.parameters, saved + shared.saved, number * 3 * hidden * inner)
    plain = gated(hidden, fields.size("intermediate_size")) if dense else nothing
    return (dense, plain), (count - dense, experts)


def without_experts(fields: Fields, count: int) -> int:
    """How many layers of a Qwen of experts have none."""
    step, plain = fields.get("decoder_sparse_step", 1), fields.get("mlp_only_layers", [])
    return sum(layer in plain or (layer + 1) % step != 0 for layer in range(count))


def decoder(
    fields: Fields, kind: str, layers: list[Layers], embedding: int, hidden: int, tied: bool, largest: int
) -> Model:
    """A decoder with RMSNorm at its end."""
    parameters = embedding + hidden + sum(each.number * each.parameters for each in layers)
    return headed(fields, Model(kind, parameters, max(embedding, largest), tuple(layers)), hidden, embedding, tied)


def headed(fields: Fields, bare: Model, hidden: int, embedding: int, tied: bool) -> Model:
    """The model with the head that ``architectures`` names: of a language model, of classes, or none."""
    name = (fields.get("architectures", None) or [""])[0]
    if name.endswith("ForSequenceClassification"):
        return bare._replace(parameters=bare.parameters + hidden * labels(fields), notes=(f"head: {name}",))
    if name.endswith("Model") and not name.endswith(("LMHeadModel", "DoubleHeadsModel")):
        return bare._replace(notes=(f"head: none ({name})",))
    vocabulary = fields.size("vocab_size")
    parameters = bare.parameters + (0 if tied else embedding)
    notes = () if name else ("head: of a language model (the file names no architectures)",)
    return bare._replace(parameters=parameters, vocabulary=vocabulary, notes=notes)


def labels(fields: Fields) -> int:
    """The number of classes; transformers' default is 2."""
    return int(fields.get("num_labels", 0)) or len(fields.get("id2label", {})) or 2


ACTIVATIONS = {"gelu_new": 5, "gelu_fast": 6, "gelu_pytorch_tanh": 2, "relu": 1}
# how many tensors of the inner width an MLP keeps: its input and the activation's output are two, a ReLU's output is
# enough, and GELUs that are written in Python keep what is between


def plain(hidden: int, inner: int, activation: str) -> FeedForward:
    """An MLP of two matrices with biases."""
    kept = ACTIVATIONS.get(activation, 2) * inner
    return FeedForward(2 * hidden * inner + inner + hidden, kept, hidden * inner + max(inner, hidden))


def classic(hidden: int, heads: int, mlp: FeedForward, count: int, dropout: float, attention_dropout: float) -> Layers:
    """A layer of GPT, BERT or ViT: two LayerNorms, four square matrices with biases, an MLP."""
    parameters = 4 * (hidden * hidden + hidden) + 4 * hidden + mlp.parameters
    # what the norms get; what the matrices get (of q, k, v; of the output, which fused attention saves as its own; of
    # the MLP); q, k and v
    return Layers(count, parameters, hidden, 8 * hidden + mlp.saved, 0, 2 * hidden if dropout else 0, heads, 0, False,
                  attention_dropout > 0)  # fmt: skip


def gpt2(fields: Fields, kind: str) -> Model:
    """GPT-2."""
    hidden, count, heads = fields.size("n_embd"), fields.size("n_layer"), fields.size("n_head")
    vocabulary, positions = fields.size("vocab_size"), fields.size("n_positions", "n_ctx")
    mlp = plain(hidden, fields.get("n_inner", 4 * hidden), fields.get("activation_function", "gelu_new"))
    layer = classic(hidden, heads, mlp, count, fields.get("resid_pdrop", 0.1), fields.get("attn_pdrop", 0.1))
    parameters = (vocabulary + positions) * hidden + count * layer.parameters + 2 * hidden
    largest = max(vocabulary * hidden, mlp.largest, 3 * hidden * hidden + 3 * hidden)
    tied = fields.get("tie_word_embeddings", True)
    return headed(fields, Model(kind, parameters, largest, (layer,)), hidden, vocabulary * hidden, tied)


def gpt_neox(fields: Fields, kind: str) -> Model:
    """GPT-NeoX and Pythia."""
    hidden, count = fields.size("hidden_size"), fields.size("num_hidden_layers")
    heads, vocabulary = fields.size("num_attention_heads"), fields.size("vocab_size")
    mlp = plain(hidden, fields.size("intermediate_size"), fields.get("hidden_act", "gelu"))
    layer = classic(hidden, heads, mlp, count, fields.get("hidden_dropout", 0.0), fields.get("attention_dropout", 0.0))
    without = 0 if fields.get("attention_bias", True) else 4 * hidden
    # both norms get the same tensor where attention and MLP are side by side
    saved = layer.saved - (hidden if fields.get("use_parallel_residual", True) else 0)
    # v is a part of one tensor with q and k, which rotation copies; the output is copied as well
    layer = layer._replace(parameters=layer.parameters - without, saved=saved + 3 * hidden, expanded=-3 * hidden,
                           upcast=True)  # fmt: skip
    parameters = vocabulary * hidden + count * layer.parameters + 2 * hidden
    largest = max(vocabulary * hidden, mlp.largest, 3 * hidden * hidden + 3 * hidden)
    tied = fields.get("tie_word_embeddings", False)
    return headed(fields, Model(kind, parameters, largest, (layer,)), hidden, vocabulary * hidden, tied)


def opt(fields: Fields, kind: str) -> Model:
    """OPT; the embedding of some is narrower than the layers."""
    hidden, count = fields.size("hidden_size"), fields.size("num_hidden_layers")
    heads, vocabulary = fields.size("num_attention_heads"), fields.size("vocab_size")
    width, positions = fields.get("word_embed_proj_dim", hidden), fields.size("max_position_embeddings")
    mlp = plain(hidden, fields.size("ffn_dim"), fields.get("activation_function", "relu"))
    layer = classic(hidden, heads, mlp, count, fields.get("dropout", 0.1), fields.get("attention_dropout", 0.0))
    projections = 2 * width * hidden if width != hidden else 0
    last = fields.get("do_layer_norm_before", True) and not fields.get("_remove_final_layer_norm", False)
    parameters = vocabulary * width + (positions + 2) * hidden + projections + count * layer.parameters
    parameters += 2 * hidden if last else 0
    largest = max(vocabulary * width, (positions + 2) * hidden, mlp.largest)
    tied = fields.get("tie_word_embeddings", True)
    layer = layer._replace(upcast=True)
    return headed(fields, Model(kind, parameters, largest, (layer,)), hidden, vocabulary * width, tied)


def bert(fields: Fields, kind: str) -> Model:
    """BERT, RoBERTa and XLM-RoBERTa."""
    hidden, count = fields.size("hidden_size"), fields.size("num_hidden_layers")
    heads, vocabulary = fields.size("num_attention_heads"), fields.size("vocab_size")
    positions, types = fields.size("max_position_embeddings"), fields.get("type_vocab_size", 2)
    mlp = plain(hidden, fields.size("intermediate_size"), fields.get("hidden_act", "gelu"))
    dropout = fields.get("hidden_dropout_prob", 0.1), fields.get("attention_probs_dropout_prob", 0.1)
    layer = classic(hidden, heads, mlp, count, *dropout)
    parameters = (vocabulary + positions + types) * hidden + 2 * hidden + count * layer.parameters
    model = Model(kind, parameters, max(vocabulary * hidden, mlp.largest), (layer,), float_logits=False)
    square, name = hidden * hidden + hidden, (fields.get("architectures", None) or [""])[0]
    if name.endswith("ForSequenceClassification"):  # behind BERT's pooler, or RoBERTa's matrix of the same size
        more = square + (hidden + 1) * labels(fields)
        return model._replace(parameters=parameters + more, notes=(f"head: {name}",))
    if name.endswith("Model"):
        return model._replace(parameters=parameters + square, notes=(f"head: none ({name})",))
    more = square + 2 * hidden + vocabulary
    if not fields.get("tie_word_embeddings", True):
        more += vocabulary * hidden
    if name.endswith("ForPreTraining"):
        more += square + 2 * hidden + 2
    model = model._replace(largest=max(model.largest, vocabulary * hidden + vocabulary))
    notes = () if name else ("head: of a masked language model (the file names no architectures)",)
    return model._replace(parameters=parameters + more, vocabulary=vocabulary, notes=notes)


def t5(fields: Fields, kind: str) -> Model:
    """T5, mT5 and T5 1.1. Encoder and decoder get the same number of tokens here."""
    hidden, inner = fields.size("d_model"), fields.size("d_ff")
    count, heads = fields.size("num_layers"), fields.size("num_heads")
    vocabulary = fields.size("vocab_size")
    decoders = fields.get("num_decoder_layers", count)
    projection = fields.get("feed_forward_proj", "gated-gelu" if kind == "mt5" else "relu")
    width = heads * fields.get("d_kv", 64)
    attention = 4 * hidden * width + hidden
    matrices = 3 if projection.startswith("gated-") else 2
    feed_forward = matrices * hidden * inner + hidden
    dropout = fields.get("dropout_rate", 0.1) > 0
    tensors = {"relu": 1 + dropout, "gated-gelu": 7}.get(projection, 2 * matrices - 2)
    # the input of each part's matrices; q, k, v and output; its norm keeps 8 bytes in either precision
    part, after = hidden + 4 * width, hidden + tensors * inner
    encoder = Layers(count, attention + feed_forward, hidden, part + after, 4 * hidden,
                     (2 * hidden + inner) * dropout, heads, 0, False, dropout)  # fmt: skip
    behind = Layers(decoders, 2 * attention + feed_forward, hidden, 2 * part + after, 6 * hidden,
                    (3 * hidden + inner) * dropout, heads, 0, False, dropout, 2)  # fmt: skip
    buckets = fields.get("relative_attention_num_buckets", 32)
    parameters = vocabulary * hidden + count * encoder.parameters + decoders * behind.parameters
    parameters += 2 * buckets * heads + 2 * hidden
    largest = max(vocabulary * hidden, hidden * inner, hidden * width)
    tied = fields.get("tie_word_embeddings", kind == "t5")
    note = "encoder and decoder get the same number of tokens"
    return Model(kind, parameters + (0 if tied else vocabulary * hidden), largest, (encoder, behind), vocabulary,
                 float_logits=False, fused=False, notes=(note,))  # fmt: skip


def vit(fields: Fields, kind: str) -> Model:
    """The Vision Transformer. The image and its patches say how many tokens a sample has."""
    hidden, count = fields.size("hidden_size"), fields.size("num_hidden_layers")
    heads, patch = fields.size("num_attention_heads"), fields.size("patch_size")
    image, channels = fields.size("image_size"), fields.get("num_channels", 3)
    mlp = plain(hidden, fields.size("intermediate_size"), fields.get("hidden_act", "gelu"))
    dropout = fields.get("hidden_dropout_prob", 0.0), fields.get("attention_probs_dropout_prob", 0.0)
    layer = classic(hidden, heads, mlp, count, *dropout)
    without = 0 if fields.get("qkv_bias", True) else 3 * hidden
    layer = layer._replace(parameters=layer.parameters - without, upcast=True)
    tokens = (image // patch) ** 2 + 1
    patches = channels * patch * patch * hidden + hidden
    parameters = patches + (tokens + 1) * hidden
    parameters += count * layer.parameters + 2 * hidden
    name = (fields.get("architectures", None) or [""])[0]
    parameters += hidden * hidden + hidden if name == "ViTModel" else (hidden + 1) * labels(fields)
    return Model(kind, parameters, max(mlp.largest, patches), (layer,), tokens=tokens,
                 notes=(f"{tokens} tokens an image of {image} by {image}, whatever --seq says",))  # fmt: skip


def uer(fields: Fields, _kind: str) -> Model:
    """A transformer of UER-py or TencentPretrain. Their file has no vocabulary; attention is not fused."""
    if "vocab_size" not in fields.config:
        raise Refused(f"{fields.source} is a configuration of UER-py, which has no vocabulary: add --vocab N, "
                      "the number of lines of the file that --vocab_path names")  # fmt: skip
    if fields.get("encoder", "transformer") != "transformer" or fields.get("decoder", None):
        raise Refused(f"{fields.source}: of UER-py only encoders of the kind transformer are known. "
                      f"Say the shape: {SHAPE_OPTIONS}")  # fmt: skip
    hidden, width, inner = fields.size("hidden_size"), fields.size("emb_size"), fields.size("feedforward_size")
    count, heads, vocabulary = fields.size("layers_num"), fields.size("heads_num"), fields.size("vocab_size")
    mlp = plain(hidden, inner, fields.get("hidden_act", "gelu"))
    dropout = fields.get("dropout", 0.1)
    layer = classic(hidden, heads, mlp, count, dropout, dropout)
    embeddings = words(fields.get("embedding", ["word", "pos", "seg"]))
    rows = {"word": vocabulary, "pos": fields.get("max_seq_length", 512), "seg": 3}
    parameters = width * sum(rows.get(name, 0) for name in embeddings) + 2 * width + count * layer.parameters
    targets = words(fields.get("target", ["mlm"]))
    if "mlm" in targets:  # only tokens that were masked, 15 of 100, get logits
        parameters += hidden * width + width + 2 * width + width * vocabulary + vocabulary
    if "lm" in targets:
        parameters += hidden * vocabulary + vocabulary
    if "sp" in targets:
        parameters += hidden * hidden + hidden + 2 * hidden + 2
    logits = vocabulary if {"lm", "mlm"} & set(targets) else 0
    return Model("UER-py transformer", parameters, max(vocabulary * width, mlp.largest), (layer,), logits,
                 0.15 if "mlm" in targets else 1.0, fused=False)  # fmt: skip


def words(value: t.Any) -> list[str]:
    """UER-py's lists, which are texts like ``word_pos_seg`` in older files."""
    return value.replace("bert", "mlm_sp").split("_") if isinstance(value, str) else list(value)


EXPERTS = {
    "mixtral": ("num_local_experts",),
    "qwen2_moe": ("num_experts",),
    "qwen3_moe": ("num_experts", "num_local_experts"),
    "deepseek_v2": ("n_routed_experts", "num_local_experts"),
    "deepseek_v3": ("n_routed_experts", "num_local_experts"),
}
KINDS: dict[t.Any, t.Callable[[Fields, str], Model]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma"), llama),
    **dict.fromkeys(("mixtral", "qwen2_moe", "qwen3_moe"), llama),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3"), deepseek),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta"), bert),
    **dict.fromkeys(("t5", "mt5"), t5),
    "gpt2": gpt2,
    "gpt_neox": gpt_neox,
    "opt": opt,
    "vit": vit,
    "uer": uer,
}
