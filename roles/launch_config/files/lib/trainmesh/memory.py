# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory training takes on a rank and on a node, for each ZeRO stage and offload. All sizes are bytes.

Parameters, gradients and optimizer are those of DeepSpeed's own estimators (0.19.8,
``estimate_zero2_model_states_mem_needs`` and ``estimate_zero3_model_states_mem_needs``), which follow Rajbhandari et
al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models" (arXiv 1910.02054); they leave out
activations, logits and buffers, which are here as well.
"""

from __future__ import annotations

import typing as t

from trainmesh.shapes import Layers, Model

GIB = 1 << 30
# Bytes of the optimizer's own state for a parameter, beside the copy of float32.
OPTIMIZERS = {"adamw": 8, "adamw-8bit": 2, "lion": 4, "sgd": 0, "sgd-momentum": 4}

# Assumptions, each with its source. They are told with every plan.
CONTEXT = 3 * GIB // 2
NCCL = GIB // 2
FRAGMENTATION = 0.05
PROCESS = GIB // 2
HOST_FACTOR = 1.5
BUCKET = 50_000_000
SOURCES_GPU = (
    'CUDA context and kernels 1.5 GiB a GPU: 1 to 2 GB in transformers\' "Model training anatomy"',
    "NCCL 0.5 GiB a GPU: 4 MiB (NCCL_BUFFSIZE) for each channel and connection",
    "fragmentation of torch's allocator 5 % of what is allocated: no source gives a number",
)
SOURCES_HOST = (
    "Python and its packages 0.5 GiB a rank: torch and transformers took 0.35 GiB when measured",
    "fragmentation 5 % of what is allocated: no source gives a number",
)
SOURCE_OFFLOAD = "host memory times 1.5: additional_buffer_factor of DeepSpeed's estimators"


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
    step: int  # while the optimizer works, when there are no activations
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
    offloaded = 0
    if strategy.optimizer_offload:
        offloaded = (moments + 4) * part
        gradients = optimizer = step = 0
    if strategy.parameter_offload:
        offloaded += size * part
        parameters = 0
    buffers = buffer_bytes(model, setup, strategy)
    sample = sample_bytes(model, setup, checkpointing)
    fixed = parameters + gradients + optimizer + buffers
    usable = int((setup.capacity - setup.reserved) / (1 + setup.fragmentation))
    total = round((fixed + max(step, sample * setup.batch)) * (1 + setup.fragmentation)) + setup.reserved
    host = round(offloaded * setup.ranks_per_node * HOST_FACTOR)
    room = host == 0 or setup.host is None or host <= setup.host
    batch = max(0, (usable - fixed) // sample) if fixed + step <= usable and room else 0
    loaded = model.largest if strategy.stage == 3 else count
    return Need(
        strategy, checkpointing, parameters, gradients, optimizer, buffers, sample * setup.batch, step, total,
        total <= setup.capacity and room, batch, host, round(4 * loaded * setup.ranks_per_node * HOST_FACTOR),
    )  # fmt: skip


def buffer_bytes(model: Model, setup: Setup, strategy: Strategy) -> int:
    """Buckets of gradients and parameters on their way, and what ZeRO-3 has gathered.

    DeepSpeed's documentation counts 4.5 times both buckets where communication overlaps with computation.
    """
    if strategy.stage == 0 or setup.ranks == 1:
        return 0
    bucket = min(BUCKET, model.parameters) * setup.element
    if strategy.stage < 3:
        return int(bucket * 2 * (4.5 if setup.gpus else 1))
    gathered = live_parameters(model) + model.largest  # and the gradients of the largest module
    return gathered * setup.element + bucket * (2 if setup.gpus else 1)


def needs(model: Model, setup: Setup, checkpointing: bool | None = None) -> list[Need]:
    """Every strategy, the fastest first; of each without and with checkpointing, unless one was asked for.

    Computing the forward pass twice costs a third of a step, offload and more communication cost more. On CPUs there
    is nothing to offload to.
    """
    ways = (False, True) if checkpointing is None else (checkpointing,)
    groups = [STRATEGIES[:3], *((each,) for each in STRATEGIES[3:])]
    found = [need(model, setup, each, way) for group in groups for way in ways for each in group]
    return found if setup.gpus else [each for each in found if not each.strategy.optimizer_offload]
