# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Train on all ranks with Accelerate: its configuration says whether that means DDP or DeepSpeed, GPUs or CPUs.

With DDP the checkpoint goes on on any number of nodes. With DeepSpeed each rank saves its own part, and as many ranks
as before are needed; train_deepspeed.py has a checkpoint for any number.
"""

from __future__ import annotations

import argparse
import datetime
import os
import pathlib
import shutil

import cluster
import tinylm
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import ProjectConfiguration


def main() -> None:
    """Train, and go on from the newest checkpoint if there is one."""
    options = cluster.options("accelerate").parse_args()
    torch.manual_seed(0)  # the same first weights on every rank
    with_deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    accelerator = Accelerator(
        # Without it and without GPUs, every rank takes itself for the only one, and says nothing of it.
        cpu=not torch.cuda.is_available() and not with_deepspeed,
        # The nodes' disks are their own: on each of them one process saves.
        project_config=ProjectConfiguration(save_on_each_node=True),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=datetime.timedelta(minutes=5))],
    )
    ranks = accelerator.num_processes
    accelerator.gradient_accumulation_steps = cluster.micro_batches_per_step(ranks)
    if with_deepspeed:  # it would take this from a DataLoader
        accelerator.state.deepspeed_plugin.deepspeed_config.update(
            train_micro_batch_size_per_gpu=cluster.MICRO_BATCH,
            gradient_accumulation_steps=accelerator.gradient_accumulation_steps,
        )
    model = tinylm.TinyLM()
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=3e-3))
    begin = cluster.newest_everywhere(checkpoints(options.out))
    if begin:
        accelerator.load_state(str(checkpoints(options.out)[begin]))
        accelerator.step = 0  # it goes on counting micro-batches, and of those a step now may have more or fewer
        if accelerator.is_main_process:  # accelerator.print() is for one process of each node
            print(f"resumed at step {begin} on {ranks} ranks", flush=True)
    losses = train(accelerator, model, optimizer, begin, options)
    if accelerator.is_main_process and losses:
        print(f"trained to step {options.steps} on {ranks} ranks: loss {losses[0]:.3f} -> {losses[-1]:.3f}", flush=True)
    accelerator.wait_for_everyone()
    cluster.leave()


def train(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    begin: int,
    options: argparse.Namespace,
) -> list[float]:
    """The loss of each step."""
    rank, ranks, losses = accelerator.process_index, accelerator.num_processes, []
    data = tinylm.sequences().to(accelerator.device)
    for step in (steps := cluster.progress(begin, options.steps, rank)):
        cluster.fail_if_asked(options, step, rank)
        total = torch.zeros((), device=accelerator.device)
        for rows, share in cluster.micro_batches(data, step, rank, ranks):
            # accumulate() counts the micro-batches: before the last one of a step gradients do not travel (no_sync),
            # and the optimizer does nothing.
            with accelerator.accumulate(model):
                loss = tinylm.loss_of(model, rows) * share
                # Accelerate takes the mean over ranks and micro-batches, and what is wanted is the sum of their shares.
                accelerator.backward(loss * ranks * accelerator.gradient_accumulation_steps)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            total += loss.detach()
        losses.append(accelerator.reduce(total).item())
        steps.set_postfix(loss=f"{losses[-1]:.3f}")
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            save(accelerator, options.out, step + 1)
    return losses


def checkpoints(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """The complete checkpoints of this node, by their step."""
    return {int(path.name[5:]): path for path in folder.glob("step-*") if path.suffix != ".tmp"}


def save(accelerator: Accelerator, folder: pathlib.Path, step: int) -> None:
    """Write a checkpoint on every node, complete or not at all, and remove older ones."""
    target = folder / f"step-{step:08}"
    temporary = target.with_suffix(".tmp")
    if accelerator.is_local_main_process:
        shutil.rmtree(temporary, ignore_errors=True)  # of a job that was killed
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()  # now all ranks of this node have written their part
    if accelerator.is_local_main_process:
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    accelerator.wait_for_everyone()  # now every node has it, and older ones may go
    if accelerator.is_local_main_process:
        for _step, old in sorted(checkpoints(folder).items())[: -cluster.KEPT]:
            shutil.rmtree(old)


if __name__ == "__main__":
    main()
