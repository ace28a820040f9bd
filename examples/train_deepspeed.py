# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Train on all ranks with DeepSpeed ZeRO-3: each rank holds a part of weights, gradients and optimizer state.

DeepSpeed's own checkpoints are one file for each rank, on that rank's node: they fit the same number of ranks only, or
a shared file system and ds_to_universal. Here the parts are gathered, so that the checkpoint is an ordinary file of
torch for any number of ranks, and each node must have room for it: 12 bytes for a parameter.
"""

from __future__ import annotations

import json
import os
import pathlib
import typing as t
import warnings

import cluster
import deepspeed
import tinylm
import torch
from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state, safe_set_local_optimizer_state
from torch import distributed

# DeepSpeed calls functions of torch by names that torch is about to drop, and torch says so in every step.
warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")

MOMENTS = ("exp_avg", "exp_avg_sq")  # what Adam remembers of each parameter


def main() -> None:
    """Train, go on from the newest checkpoint if there is one, and compare with a model without DeepSpeed."""
    parser = cluster.options("deepspeed")
    default = pathlib.Path(__file__).with_name("zero3.json")
    parser.add_argument("--deepspeed_config", type=pathlib.Path, default=default, metavar="FILE")
    options = parser.parse_args()
    rank, ranks, device = cluster.join()  # DeepSpeed uses the process group that it finds
    data, model = tinylm.sequences(), tinylm.TinyLM()
    state = cluster.newest(options.out)
    if state:
        model.load_state_dict(state["model"])
    # A model that is too large for one node is built within deepspeed.zero.Init().
    config = json.loads(options.deepspeed_config.read_text(encoding="utf-8"))
    config["train_micro_batch_size_per_gpu"] = cluster.MICRO_BATCH
    config["gradient_accumulation_steps"] = cluster.micro_batches_per_step(ranks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    engine, *_others = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    if state:
        restore(engine, state)
    losses = []
    for step in (steps := cluster.progress(state["step"] if state else 0, options.steps, rank)):
        cluster.fail_if_asked(options, step, rank)
        losses.append(train_step(engine, cluster.micro_batches(data, step, rank, ranks), device))
        steps.set_postfix(loss=f"{losses[-1]:.3f}")
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            cluster.save(options.out, step + 1, gathered(engine))
    if rank == 0 and losses:
        print(f"trained to step {options.steps} on {ranks} ranks: loss {losses[0]:.3f} -> {losses[-1]:.3f}", flush=True)
    compare(engine, options.out, data[:4, :-1].to(device), rank)
    cluster.leave()


def train_step(engine: t.Any, parts: t.Iterable[tuple[torch.Tensor, float]], device: torch.device) -> float:
    """One step over all ranks; the mean loss of its batch."""
    total = torch.zeros((), device=device)
    for rows, share in parts:
        loss = tinylm.loss_of(engine, rows.to(device)) * share
        # DeepSpeed takes the mean over ranks and micro-batches, and what is wanted is the sum of their shares. It
        # counts micro-batches itself: step() does something after the last one. ZeRO-3 has no no_sync: after every
        # micro-batch each gradient goes to the rank that holds its part.
        engine.backward(loss * distributed.get_world_size() * engine.gradient_accumulation_steps())
        engine.step()
        total += loss.detach()
    distributed.all_reduce(total)
    return total.item()


def gathered(engine: t.Any) -> dict[str, dict[str, torch.Tensor]]:
    """The state of all ranks, names of parameters to whole tensors, in the one process of each node that saves it.

    All ranks must call it, since each gives its part.
    """
    state: dict[str, dict[str, torch.Tensor]] = {kind: {} for kind in ("model", *MOMENTS)}
    for name, parameter in engine.module.named_parameters():
        for kind, values in state.items():
            if kind == "model":
                whole = safe_get_full_fp32_param(parameter)
            else:
                whole = safe_get_full_optimizer_state(parameter, kind)
            if os.environ["LOCAL_RANK"] == "0":
                values[name] = whole.cpu().clone()
    return state


def restore(engine: t.Any, state: t.Mapping[str, t.Any]) -> None:
    """Give each rank its part of the optimizer's state; the weights were in the model already."""
    zero, rank = engine.optimizer, distributed.get_rank()
    for flat in zero.fp32_partitioned_groups_flat:  # DeepSpeed makes them only in the first step
        empty = {moment: torch.zeros_like(flat) for moment in MOMENTS}
        zero.optimizer.state[flat] = {"step": torch.tensor(float(state["step"])), **empty}
    for name, parameter in engine.module.named_parameters():
        size = parameter.ds_tensor.numel()  # of each part; the last one may be longer than what is left
        for moment in MOMENTS:
            whole = state[moment][name].flatten()
            part = torch.zeros(size)
            mine = whole[rank * size : (rank + 1) * size]
            part[: len(mine)] = mine
            safe_set_local_optimizer_state(parameter, part, moment)


@torch.no_grad()
def compare(engine: t.Any, folder: pathlib.Path, characters: torch.Tensor, rank: int) -> None:
    """Load the newest checkpoint into a model without DeepSpeed: it must give the same logits."""
    logits = engine(characters)  # on all ranks: each gives its part of the weights
    if rank != 0:
        return
    path = max(folder.glob("step-*.pt"))
    plain = tinylm.TinyLM()
    plain.load_state_dict(torch.load(path, weights_only=True)["model"])
    difference = (plain.to(logits)(characters) - logits).abs().max().item()
    same = difference <= 1e-5 * logits.abs().max().item() or logits.dtype != torch.float32
    print(f"{path} without DeepSpeed: largest difference of logits {difference:.1g}", flush=True)
    if not same:
        raise RuntimeError(f"{path} is not what was trained")


if __name__ == "__main__":
    main()
