# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training script needs to know of the cluster: its rank, its share of the data, and its checkpoints."""

from __future__ import annotations

import argparse
import datetime
import math
import os
import pathlib
import sys
import typing as t

import torch
from torch import distributed
from tqdm import tqdm

BATCH = 48  # sequences of a step over all ranks: the same on 1, 2 or 300 of them, and so the training is the same
MICRO_BATCH = 8  # sequences that a rank takes at once
KEPT = 2  # checkpoints


def options(name: str) -> argparse.ArgumentParser:
    """The command line that all scripts share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--save-every", type=int, default=10, metavar="STEPS")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("checkpoints", name), metavar="DIRECTORY")
    parser.add_argument("--fail-rank", type=int, metavar="RANK", help="this rank fails, to see what happens")
    parser.add_argument("--fail-step", type=int, default=15, metavar="STEP", help="before this step")
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)  # deepspeed passes it; so does LOCAL_RANK
    return parser


def join() -> tuple[int, int, torch.device]:
    """Meet the other ranks: (own rank, number of ranks, device)."""
    place = os.environ
    # torchrun, deepspeed, accelerate and trainmesh run tell each process its place with these names. A bare mpirun has
    # names of its own, and does not say where rank 0 is: README.md sets MASTER_ADDR. Without all of them: one rank.
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        alone = "1" if name == "WORLD_SIZE" else "0"
        place.setdefault(name, place.get(f"OMPI_COMM_WORLD_{name.removeprefix('WORLD_')}", alone))
    if place["WORLD_SIZE"] == "1":
        place.setdefault("MASTER_ADDR", "127.0.0.1")
    place.setdefault("MASTER_PORT", "29500")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(place["LOCAL_RANK"]))
        torch.cuda.set_device(device)  # before NCCL starts: else every rank of the node takes GPU 0
    else:
        device = torch.device("cpu")
        torch.set_num_threads(1)  # so small a model is not worth more; a large one is: cores over ranks of the node
    # A rank that waits longer than this for another one fails. It must outlast the slowest checkpoint.
    limit = datetime.timedelta(minutes=5)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=limit)
    torch.manual_seed(0)  # the same first weights on every rank
    return distributed.get_rank(), distributed.get_world_size(), device


def leave() -> None:
    """End together. Without the interpreter's own end, in which threads of torch now and then abort a finished job."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def micro_batches_per_step(ranks: int) -> int:
    """How many micro-batches each rank takes in a step: gradients are accumulated over them."""
    return math.ceil(math.ceil(BATCH / ranks) / MICRO_BATCH)


def micro_batches(data: torch.Tensor, step: int, rank: int, ranks: int) -> t.Iterator[tuple[torch.Tensor, float]]:
    """The rank's part of a step: (rows, their share of the whole batch), equally often on every rank.

    Uneven data: the last batch of an epoch is smaller, and ranks may get more or fewer rows than others. A rank that
    ran out of rows must go on all the same, because the others wait for its gradients in every backward pass. So it
    takes a row with the share 0, which adds nothing, and no row is left out or counted twice. (DDP's Join also lets
    others go on, but the optimizer of the rank that has stopped misses steps, and DeepSpeed has nothing like it.)
    """
    epoch, place = divmod(step, math.ceil(len(data) / BATCH))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(epoch))
    chosen = order[place * BATCH : (place + 1) * BATCH]
    mine = chosen[rank::ranks]
    for number in range(micro_batches_per_step(ranks)):
        rows = mine[number * MICRO_BATCH : (number + 1) * MICRO_BATCH]
        yield data[rows if len(rows) else chosen[:1]], len(rows) / len(chosen)


def progress(begin: int, steps: int, rank: int) -> tqdm:
    """A progress bar of rank 0: those of all ranks would be written over each other."""
    return tqdm(range(begin, steps), initial=begin, total=steps, unit="step", disable=rank != 0)


def fail_if_asked(chosen: argparse.Namespace, step: int, rank: int) -> None:
    """A failing rank, to see what happens: the launcher ends the others within seconds.

    Nothing is caught on the way out: a rank that waits for others in an except or finally is one more that hangs.
    """
    if rank == chosen.fail_rank and step == chosen.fail_step:
        raise RuntimeError(f"rank {rank} fails before step {step}, as asked")


def save(folder: pathlib.Path, step: int, state: t.Mapping[str, t.Any]) -> None:
    """Write a checkpoint on every node, complete or not at all, and remove older ones.

    Each node has a copy on its own disk, so that no shared file system is needed, and that the loss of any node, also
    that of rank 0, loses nothing.
    """
    if os.environ["LOCAL_RANK"] == "0":
        write(folder / f"step-{step:08}.pt", {**state, "step": step})
        for old in sorted(folder.glob("step-*.pt"))[:-KEPT]:
            old.unlink(missing_ok=True)  # on a shared file system another node may have been faster


def write(path: pathlib.Path, state: t.Any) -> None:
    """A job that is killed meanwhile, or a full disk, leaves the old file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.environ['RANK']}.tmp")
    with temporary.open("wb") as target:
        torch.save(state, target)
        target.flush()
        os.fsync(target.fileno())  # else the name may be on the disk before the content
    temporary.replace(path)


def newest(folder: pathlib.Path) -> dict[str, t.Any] | None:
    """The newest checkpoint that any node has, on every rank; None when there is none."""
    path = max(folder.glob("step-*.pt"), default=None)
    steps: list[int] = [0] * distributed.get_world_size()
    distributed.all_gather_object(steps, int(path.stem[5:]) if path else -1)
    if max(steps) < 0:
        return None
    source, rank = steps.index(max(steps)), distributed.get_rank()
    has_it = path is not None and steps[rank] == max(steps)
    state = torch.load(path, map_location="cpu", weights_only=True) if has_it else None
    if min(steps) != max(steps):  # a node that is new, or was away
        box = [state if rank == source else None]
        distributed.broadcast_object_list(box, src=source)
        state = state or box[0]
    if rank == 0:
        print(f"resumed at step {max(steps)} on {len(steps)} ranks, from the files of rank {source}", flush=True)
    return state


def newest_everywhere(found: t.Mapping[int, pathlib.Path]) -> int:
    """The newest step of which every node has a checkpoint; 0 when there is none at all."""
    every: list[list[int]] = [sorted(found)]
    if distributed.is_initialized():
        every *= distributed.get_world_size()
        distributed.all_gather_object(every, sorted(found))
    common = set(every[0]).intersection(*every)
    if any(every) and not common:
        raise RuntimeError(f"the ranks have no checkpoint in common ({every}): copy the directory to every node")
    return max(common, default=0)
