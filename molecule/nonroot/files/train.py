# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A training script as tutorials have it, by each of three ways: DeepSpeed, Accelerate, or torch alone."""

import argparse
import os

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--local_rank", type=int, default=0)
parser.add_argument("--deepspeed", action="store_true")
options = parser.parse_args()
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
backward = torch.Tensor.backward

if options.deepspeed:
    import deepspeed

    config = {
        "train_micro_batch_size_per_gpu": 4,
        "zero_optimization": {"stage": 2},
        "zero_allow_untested_optimizer": True,
    }
    model, optimizer, *_rest = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    backward, step = model.backward, model.step
elif "ACCELERATE_MIXED_PRECISION" in os.environ:
    import accelerate

    accelerator = accelerate.Accelerator()
    data = torch.utils.data.DataLoader(torch.randn(16, 8), batch_size=4)
    model, optimizer, _data = accelerator.prepare(model, optimizer, data)
    backward, step = accelerator.backward, optimizer.step
else:
    torch.distributed.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(model)
    step = optimizer.step

for _round in range(3):
    batch = torch.randn(4, 8)
    loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
    backward(loss)
    step()
total = torch.ones(1)
torch.distributed.all_reduce(total)
print(
    f"trained: rank {torch.distributed.get_rank()} of {torch.distributed.get_world_size()}, sum {total.item():.0f}",
    flush=True,
)
torch.distributed.destroy_process_group()
