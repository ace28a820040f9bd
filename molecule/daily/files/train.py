# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small training that can show a bar, wait, and fail in many ways on one rank, under any launcher."""

import argparse
import os
import pathlib
import signal
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--local_rank", type=int, default=0)
parser.add_argument("--note", action="append", default=[])
parser.add_argument("--bar", type=float, default=0, help="seconds with a progress bar")
parser.add_argument("--sleep", type=float, default=0)
parser.add_argument("--fail", type=int, help="the rank that fails")
parser.add_argument("--how", choices=["raise", "kill", "eat"])
parser.add_argument("--flood", type=int, default=0, help="kilobytes of output")
parser.add_argument("--checkpoint", type=pathlib.Path, help="where rank 0 keeps how far it has come")
parser.add_argument("--shared", help="a directory that all nodes have, for the rendezvous")
parser.add_argument("--plain", action="store_true", help="without torch, which takes longer to start than all else")
options = parser.parse_args()
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])

if not options.plain:
    import torch

    if options.shared:
        name = f"rendezvous-{os.environ['TRAINMESH_RUN_ID']}-{os.environ.get('TRAINMESH_RESTART', '0')}"
        where = f"file://{options.shared}/{name}"
        torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=world)
    else:
        torch.distributed.init_process_group("gloo")
    if (torch.distributed.get_rank(), torch.distributed.get_world_size()) != (rank, world):
        sys.exit("torch counts the ranks otherwise")
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
for number in range(options.flood):
    print(f"{number:6} {'x' * 1000}", flush=True)
first = 0
if options.checkpoint and options.checkpoint.exists():
    first = int(options.checkpoint.read_text())
if options.checkpoint and rank == 0:
    print(f"goes on at step {first}, restart {os.environ['TRAINMESH_RESTART']}", flush=True)
    options.checkpoint.write_text(str(first + 5))
    first += 5
fails = options.fail == rank and os.environ.get("TRAINMESH_RESTART", "0") == "0"
if options.fail == rank and options.how == "raise":
    raise ValueError("bad batch")
if fails and options.how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if options.fail == rank and options.how == "eat":
    eaten = []
    while True:
        eaten.append(b"x" * (64 << 20))
if options.sleep and os.environ.get("TRAINMESH_RESTART", "0") == "0":
    time.sleep(options.sleep)
if options.plain:
    print(f"done: rank {rank} of {world}, notes {','.join(options.note)}", flush=True)
    sys.exit()
total = torch.ones(1)
torch.distributed.all_reduce(total)
print(f"trained: rank {rank} of {world}, sum {total.item():.0f}, notes {','.join(options.note)}", flush=True)
torch.distributed.barrier()
os._exit(0)  # torch's threads now and then abort a program that has done its work
