# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small training that can show a bar, wait, and fail on one rank, under any launcher."""

import argparse
import os
import signal
import sys
import time

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--local_rank", type=int, default=0)
parser.add_argument("--note", action="append", default=[])
parser.add_argument("--bar", type=float, default=0, help="seconds with a progress bar")
parser.add_argument("--sleep", type=float, default=0)
parser.add_argument("--fail", type=int, help="the rank that fails")
parser.add_argument("--how", choices=["raise", "kill"])
options = parser.parse_args()

torch.distributed.init_process_group("gloo")
rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _round in range(3):
    batch = torch.randn(4, 8)
    loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
    loss.backward()
    optimizer.step()
print("begun", flush=True)
end = time.monotonic() + options.bar
while time.monotonic() < end:
    share = int(100 - 100 * (end - time.monotonic()) / options.bar)
    sys.stderr.write(f"\r{share:3}%|{'#' * (share // 10):10}| {share}/100")
    time.sleep(0.2)
if options.fail == rank and options.how == "raise":
    raise ValueError("bad batch")
if options.fail == rank:
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(options.sleep)
total = torch.ones(1)
torch.distributed.all_reduce(total)
print(f"trained: rank {rank} of {world}, sum {total.item():.0f}, notes {','.join(options.note)}", flush=True)
torch.distributed.barrier()
os._exit(0)  # torch's threads now and then abort a program that has done its work
