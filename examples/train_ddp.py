# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Train on all ranks with torch's DistributedDataParallel: every rank has the whole model and a part of the data."""

from __future__ import annotations

import contextlib

import cluster
import tinylm
import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import record


@record  # torchrun's last lines then show the exception of the rank that failed first
def main() -> None:
    """Train, and go on from the newest checkpoint if there is one."""
    options = cluster.options("ddp").parse_args()
    rank, ranks, device = cluster.join()
    data = tinylm.sequences()
    model = torch.nn.parallel.DistributedDataParallel(tinylm.TinyLM().to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    state = cluster.newest(options.out)
    if state:
        # All ranks have the same weights and optimizer, so it does not matter how many ranks there were before.
        model.module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    losses = []
    for step in (steps := cluster.progress(state["step"] if state else 0, options.steps, rank)):
        cluster.fail_if_asked(options, step, rank)
        loss = train_step(model, optimizer, list(cluster.micro_batches(data, step, rank, ranks)), device)
        losses.append(loss)
        steps.set_postfix(loss=f"{loss:.3f}")
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            saved = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict()}
            cluster.save(options.out, step + 1, saved)
    if rank == 0 and losses:
        print(f"trained to step {options.steps} on {ranks} ranks: loss {losses[0]:.3f} -> {losses[-1]:.3f}", flush=True)
    cluster.leave()


def train_step(
    model: torch.nn.parallel.DistributedDataParallel,
    optimizer: torch.optim.Optimizer,
    parts: list[tuple[torch.Tensor, float]],
    device: torch.device,
) -> float:
    """One step over all ranks; the mean loss of its batch."""
    total = torch.zeros((), device=device)
    for number, (rows, share) in enumerate(parts):
        last = number == len(parts) - 1
        # Gradients travel only with the last micro-batch; before it each rank adds up its own.
        with contextlib.nullcontext() if last else model.no_sync():
            loss = tinylm.loss_of(model, rows.to(device)) * share
            # DDP takes the mean over ranks, and what is wanted is the sum of their shares.
            (loss * distributed.get_world_size()).backward()
        total += loss.detach()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    distributed.all_reduce(total)
    return total.item()


if __name__ == "__main__":
    main()
