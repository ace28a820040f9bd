# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Train on all ranks with the Trainer of transformers, which does most by itself; torchrun starts it.

For ZeRO instead of DDP add ``deepspeed="/opt/trainmesh/etc/deepspeed/auto/zero2.json"`` to TrainingArguments.
"""

from __future__ import annotations

import argparse
import os
import pathlib

import cluster
import tinylm
import torch
import transformers


class Sequences(torch.utils.data.Dataset):
    """Rows of text. The model itself moves the labels by one.

    Uneven data: the Trainer gives each rank equally many batches by repeating some rows at the end of an epoch.
    """

    def __init__(self) -> None:
        self.rows = tinylm.sequences()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[number], "labels": self.rows[number]}


class Marks(transformers.TrainerCallback):
    """Marks complete checkpoints: the Trainer writes file after file, and may be killed in between."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    def on_step_begin(self, args, state, *_control, **_others) -> None:
        """Fail, if that was asked for."""
        cluster.fail_if_asked(self.options, state.global_step, args.process_index)

    def on_save(self, args, state, *_control, **_others) -> None:
        """All files of this node have been written."""
        if args.local_process_index == 0:
            pathlib.Path(args.output_dir, f"checkpoint-{state.global_step}", "complete").touch()


def main() -> None:
    """Train, and go on from the newest checkpoint if there is one."""
    options = cluster.options("trainer").parse_args()
    on_gpu, ranks = torch.cuda.is_available(), int(os.environ.get("WORLD_SIZE", "1"))
    if not on_gpu:  # else the device is called cpu:0, which torch.load does not know when the training goes on
        os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
    arguments = transformers.TrainingArguments(
        output_dir=str(options.out),
        max_steps=options.steps,
        per_device_train_batch_size=cluster.MICRO_BATCH,
        gradient_accumulation_steps=cluster.micro_batches_per_step(ranks),
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        logging_steps=10,
        save_steps=options.save_every,
        save_total_limit=cluster.KEPT,
        save_on_each_node=True,  # the nodes' disks are their own
        use_cpu=not on_gpu,
        ddp_backend="nccl" if on_gpu else "gloo",
        ddp_timeout=300,  # seconds that a rank waits for others
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=on_gpu,
        report_to="none",
        seed=0,
    )
    # Other models come with from_pretrained(), from a directory that every node has.
    shape = transformers.LlamaConfig(
        vocab_size=len(tinylm.CHARACTERS), hidden_size=64, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128, bos_token_id=None, eos_token_id=None, use_cache=False,
    )  # fmt: skip
    transformers.set_seed(0)  # the same first weights on every rank
    trainer = transformers.Trainer(
        model=transformers.LlamaForCausalLM(shape),
        args=arguments,
        train_dataset=Sequences(),
        callbacks=[Marks(options)],
    )
    found = {int(path.parent.name.split("-")[1]): path.parent for path in options.out.glob("checkpoint-*/complete")}
    begin = cluster.newest_everywhere(found)
    if begin and trainer.is_world_process_zero():
        print(f"resumed at step {begin} on {ranks} ranks", flush=True)
    trainer.train(resume_from_checkpoint=str(found[begin]) if begin else None)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if trainer.is_world_process_zero() and losses:
        print(f"trained to step {options.steps} on {ranks} ranks: loss {losses[0]:.3f} -> {losses[-1]:.3f}", flush=True)
    cluster.leave()


if __name__ == "__main__":
    main()
