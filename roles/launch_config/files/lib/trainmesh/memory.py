# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory training takes on a rank and on a node, for each ZeRO stage and offload. All sizes are bytes.

Parameters, gradients and optimizer are those of DeepSpeed's own estimators (0.19.8,
``estimate_zero2_model_states_mem_needs`` and ``estimate_zero3_model_states_mem_needs``), which follow Rajbhandari et
al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models" (arXiv 1910.02054). They leave out
activations, logits, buffers, and what the step of the optimizer takes; these are here by the source of DeepSpeed 0.19.8
(``runtime/engine.py``, ``runtime/zero/stage_1_and_2.py``, ``stage3.py``) and of torch 2.13.
"""

from __future__ import annotations

import typing as t

from trainmesh.shapes import Layers, Model

GIB = 1 << 30
# Bytes of the optimizer's own state for a parameter, beside the copy of float32.
OPTIMIZERS = {"adamw": 8, "adamw-8bit": 2, "lion": 4, "sgd": 0, "sgd-momentum": 4}
# Bytes of what its step makes of a parameter and lets go again, on GPUs and on CPUs: torch's AdamW takes a root of all
# tensors at once (foreach); on CPUs it goes tensor by tensor, and the root and its quotient are there at once.
ROOTS = {"adamw": (4, 8)}

# Assumptions, each with its source. They are told with every plan.
CONTEXT = 3 * GIB // 2
NCCL = GIB // 2
FRAGMENTATION = 0.05
PROCESS = GIB // 2
HOST_FACTOR = 1.5
BUCKET = 50_000_000
ALLREDUCE = 500_000_000  # MEMORY_OPT_ALLREDUCE_SIZE: elements of one all-reduce without ZeRO
SUBGROUP = 1_000_000_000  # sub_group_size: elements of a part that ZeRO-3 updates at once
SOURCES_GPU = (
    'CUDA context and kernels 1.5 GiB a GPU: 1 to 2 GB in transformers\' "Model training anatomy"',
    "NCCL 0.5 GiB a GPU: 4 MiB (NCCL_BUFFSIZE) for each channel and connection",
    "fragmentation of torch's allocator 5 % of what is allocated: no source gives a number",
)
SOURCES_HOST = (
    "Python and its packages 0.5 GiB a rank: torch, transformers and DeepSpeed took up to 0.43 GiB when measured",
    "fragmentation 5 % of what is allocated: no source gives a number",
)
SOURCE_ROOTS = "the optimizer is torch's AdamW: its step takes {} bytes a parameter more (none with fused=True)"
SOURCE_OFFLOAD = "host memory times 1.5 at least: additional_buffer_factor of DeepSpeed's estimators"


class Setup(t.NamedTuple):
    """The cluster and the run."""

    nodes: int
    ranks: int  # of all nodes
    ranks_per_node: int  # of the node with the most
    capacity: int  # of the smallest GPU, or of a rank's share of the smallest host
    host: int | None  # memory of the smallest host; None: not known
    gpus: bool
    element: int  # bytes of a parameter in the computation: 2 or 4
    optimizer: int  # of OPTIMIZERS
    tokens: int  # of a sample
    batch: int
    fused: bool
    reserved: int  # bytes a rank that no model can have
    fragmentation: float = FRAGMENTATION
    roots: tuple[int, int] = (0, 0)  # of ROOTS
    accumulation: int = 1

    @property
    def gloo(self) -> bool:
        """Whether collectives are gloo's, which gathers and scatters through a copy of all of it."""
        return self.ranks > 1 and not self.gpus


class Strategy(t.NamedTuple):
    """A way to train; ``name`` is that of DeepSpeed's file without its ending."""

    name: str
    stage: int
    optimizer_offload: bool = False
    parameter_offload: bool = False

    @property
    def cost(self) -> str:
        """What makes it slower than the one before it, in a phrase."""
        volume = "1.5 times the communication of data parallelism" if self.stage == 3 else ""
        offload = {0: "", 1: "optimizer on the CPU", 2: "parameters and optimizer on the CPU"}
        what = [offload[self.optimizer_offload + self.parameter_offload], volume]
        return ", ".join(filter(None, what)) or "no offload, the communication of data parallelism"


# The fastest first, as transformers' "DeepSpeed: Select a ZeRO stage" orders them.
STRATEGIES = (
    Strategy("zero0", 0),
    Strategy("zero1", 1),
    Strategy("zero2", 2),
    Strategy("zero2_offload", 2, True),
    Strategy("zero3", 3),
    Strategy("zero3_offload_optimizer", 3, True),
    Strategy("zero3_offload", 3, True, True),
)


class Need(t.NamedTuple):
    """What one strategy needs: of a rank, and in the last two fields of a node's host memory."""

    strategy: Strategy
    checkpointing: bool
    parameters: int
    gradients: int
    optimizer: int
    buffers: int
    activations: int  # with the logits
    step: int  # gradients of float32 for the optimizer
    backward: int  # the most beside parameters and optimizer, until the backward pass ends
    update: int  # the most beside parameters and optimizer after that, until the optimizer's step ends
    total: int
    fits: bool
    batch: int  # the largest micro batch that fits, 0 when none does
    offloaded: int
    loading: int


def layer_bytes(layer: Layers, setup: Setup) -> int:
    """What one layer keeps of one sample for its backward pass."""
    size, mask = setup.element, 1 if setup.gpus else setup.element  # on CPUs torch keeps masks as numbers
    kept = layer.saved * size + layer.wide * 4 + layer.masks * mask
    # torch's fused kernel for CPUs knows no dropout
    if setup.fused and (setup.gpus or not layer.dropout):
        kept += layer.heads * layer.attentions * 4  # the logarithms of the sums
    else:
        if setup.fused:  # torch's way out on CPUs computes all of it in float32
            size = mask = 4
        softmax = 4 if layer.upcast else size
        second = size if layer.dropout or softmax != size else 0
        score = softmax + second + (mask if layer.dropout else 0)
        kept += layer.expanded * size + layer.heads * layer.attentions * setup.tokens * score
    return kept * setup.tokens


def logits_bytes(model: Model, setup: Setup) -> int:
    """The logits of one sample at their peak: their logarithms of softmax, the gradients of both, and themselves.

    A script that keeps no other output of the model than the loss has no logits any more by then.
    """
    size = 4 if model.float_logits else setup.element
    return int(model.vocabulary * model.predicted * setup.tokens * (setup.element + 3 * size))


def sample_bytes(model: Model, setup: Setup, checkpointing: bool) -> int:
    """Activations and logits of one sample. With checkpointing a layer keeps its input, and one is computed again."""
    layers = [(each, layer_bytes(each, setup)) for each in model.layers]
    # outside of the layers: the embedding's dropout or norm, the last norm, the input of the head
    logits, ends = logits_bytes(model, setup), 3 * layers[-1][0].hidden * setup.element * setup.tokens
    if not checkpointing:
        return logits + ends + sum(each.number * kept for each, kept in layers)
    inputs = sum(each.number * each.hidden * setup.element * setup.tokens for each in model.layers)
    # no layer is computed again before the gradient of the logits is there
    return ends + inputs + max(logits, *(kept for _each, kept in layers))


def live_parameters(model: Model) -> int:
    """How many gathered parameters ZeRO-3 may hold at once, the value of stage3_max_live_parameters."""
    block = max(each.parameters for each in model.layers)
    return min(model.parameters, max(2 * BUCKET, 3 * block, 2 * model.largest))


def need(model: Model, setup: Setup, strategy: Strategy, checkpointing: bool) -> Need:
    """The memory of one strategy, and whether it fits."""
    count, size, ranks = model.parameters, setup.element, setup.ranks
    part = -(-count // ranks)
    master = 4 if size < 4 or strategy.stage else 0  # ZeRO makes its copy of float32 even of float32
    moments = master + setup.optimizer
    parameters = size * (part if strategy.stage == 3 else count)
    gradients = size * (part if strategy.stage >= 2 else count)
    optimizer = moments * (part if strategy.stage else count)
    step = 4 * (part if strategy.stage else count) if master else 0  # gradients of float32
    if strategy.optimizer_offload:
        gradients = optimizer = step = 0
    if strategy.parameter_offload:
        parameters = 0
    buffers = buffer_bytes(model, setup, strategy)
    update = update_bytes(model, setup, strategy)
    # Where the backward pass begins all activations are there; where it ends, all gradients and those of a layer;
    # in between the ones go as the others come. Gradients are there before it of earlier micro batches, and ZeRO-3's;
    # ZeRO-2 adds to those of earlier ones when the new ones are all there.
    sample = sample_bytes(model, setup, checkpointing)
    layer = max(1, *(layer_bytes(each, setup) for each in model.layers))
    fixed = parameters + optimizer
    whole = min(gradients + size * cut_parameters(model, setup, strategy), size * count)
    first = buffers + (whole if strategy.stage == 3 or setup.accumulation > 1 else 0)
    last = buffers + whole * (2 if strategy.stage == 2 and setup.accumulation > 1 else 1)
    # without ZeRO gradients are copied to be reduced when all of them are there
    reduced = gradients + size * min(count, ALLREDUCE) if strategy.stage == 0 else 0
    backward = max(first + sample * setup.batch, last + layer * setup.batch, reduced)
    usable = int((setup.capacity - setup.reserved) / (1 + setup.fragmentation)) - fixed
    most = fixed + max(backward, update)
    total = round(most * (1 + setup.fragmentation)) + setup.reserved
    states, more = host_bytes(model, setup, strategy)
    host = round(max(states * HOST_FACTOR, states + more) * setup.ranks_per_node)
    room = host == 0 or setup.host is None or host <= setup.host
    batch = 0
    if max(reduced, update) <= usable and room:
        batch = max(0, min((usable - first) // sample, (usable - last) // layer))
    loaded = model.largest if strategy.stage == 3 else count
    return Need(
        strategy, checkpointing, parameters, gradients, optimizer, buffers, sample * setup.batch, step, backward,
        update, total, total <= setup.capacity and room, batch, host,
        round(4 * loaded * setup.ranks_per_node * HOST_FACTOR),
    )  # fmt: skip


def buffer_bytes(model: Model, setup: Setup, strategy: Strategy) -> int:
    """Buckets of gradients and parameters on their way, and what ZeRO-3 has gathered.

    A gradient is copied into the bucket, and a full bucket is copied once more to be reduced. A gradient that is larger
    than the bucket takes its place. On CPUs memory that nothing is written to takes no room.
    """
    if strategy.stage == 0:
        return 0
    count, largest = model.parameters, model.largest
    bucket = BUCKET if setup.gpus else min(BUCKET, count)
    reduced = max(bucket, largest)
    if strategy.stage < 3:
        # DeepSpeed's documentation counts 4.5 times both buckets where communication overlaps with computation
        sent = int(2 * 4.5 * bucket) if setup.gpus else bucket + reduced
        # with offload there is room for the largest gradient on its way
        return (sent + largest + (largest if strategy.optimizer_offload else 0)) * setup.element
    # what is fetched ahead comes as one tensor, from which parameters are copied; a single rank gathers nothing
    gathered, gathering = min(count, live_parameters(model) + largest), min(count, BUCKET + largest)
    if setup.ranks == 1 and not strategy.parameter_offload:
        gathered = gathering = 0
    scattered = reduced * (2 if setup.gloo else 1)
    sent = bucket + (scattered + gathering if setup.gpus else max(scattered, gathering))
    return (gathered + sent + largest) * setup.element


def host_bytes(model: Model, setup: Setup, strategy: Strategy) -> tuple[int, int]:
    """Of a rank in host memory: (states, as the estimators count them; what else DeepSpeed makes there)."""
    part = -(-model.parameters // setup.ranks)
    if not strategy.optimizer_offload:
        return 0, 0
    states = (4 + setup.optimizer + 4) * part + (setup.element * part if strategy.parameter_offload else 0)
    # new parameters (ZeRO-2) or gradients (ZeRO-3) in the precision of the computation, the roots of an AdamW of torch,
    # and ZeRO-2's room for the largest gradient
    more = (setup.element + setup.roots[1]) * part
    return states, more + (setup.element * model.largest if strategy.stage < 3 else 0)


def cut_parameters(model: Model, setup: Setup, strategy: Strategy) -> int:
    """Elements of gradients beyond a rank's part: ZeRO-1 and 2 keep the whole of a parameter that two ranks share."""
    if strategy.stage not in (1, 2) or strategy.optimizer_offload:
        return 0
    return min(model.parameters - -(-model.parameters // setup.ranks), model.largest)


def update_bytes(model: Model, setup: Setup, strategy: Strategy) -> int:
    """The most that there is beside parameters and optimizer after the backward pass, to the end of the step.

    Gradients are made one flat tensor, then float32. The optimizer gets that alone, and makes roots of its own; in the
    end the parameters are gathered.
    """
    count, size = model.parameters, setup.element
    master = 4 if size < 4 else 0
    if strategy.stage == 0:
        return (size + master) * count + (setup.roots[0] * count if setup.gpus else setup.roots[1] * model.largest)
    if strategy.optimizer_offload:
        return 0
    part, roots = -(-count // setup.ranks), setup.roots[0 if setup.gpus else 1]
    if strategy.stage == 3:
        bucket = BUCKET if setup.gpus else min(BUCKET, count)
        group = min(part, SUBGROUP)
        return size * (part + bucket) + group * max(size + master, 4 + roots)
    whole = size * (part + cut_parameters(model, setup, strategy))
    norm = 8 * min(part, model.largest)  # of float64
    gathered = size * count if setup.gloo else 0
    return max(whole + norm, whole + (size + master) * part, (4 + roots) * part, gathered)


def needs(model: Model, setup: Setup, checkpointing: bool | None = None) -> list[Need]:
    """Every strategy, the fastest first; of each without and with checkpointing, unless one was asked for.

    Computing the forward pass twice costs a third of a step, offload and more communication cost more. On CPUs there
    is nothing to offload to.
    """
    ways = (False, True) if checkpointing is None else (checkpointing,)
    groups = [STRATEGIES[:3], *((each,) for each in STRATEGIES[3:])]
    found = [need(model, setup, each, way) for group in groups for way in ways for each in group]
    return found if setup.gpus else [each for each in found if not each.strategy.optimizer_offload]
