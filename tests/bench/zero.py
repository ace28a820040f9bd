# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What DeepSpeed really takes with each ZeRO stage, beside what ``trainmesh plan-memory`` reckons.

Small models train with DeepSpeed's engine on CPUs, several processes on this machine: the memory of each process
after each part of a step, and its peak. Needs torch, transformers, DeepSpeed and Linux: ``python tests/bench/zero.py``.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import typing as t

ROOT = pathlib.Path(__file__).absolute().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "roles/launch_config/files/lib")]

from trainmesh import memory, plan_memory, shapes  # noqa: E402

from ansible_collections.trainmesh.cluster.tests.bench.memory import (  # noqa: E402
    GPT2,
    LLAMA,
    MIB,
    SMALL,
    reset,
    resident,
)

MODELS = {"llama": LLAMA, "gpt2": GPT2}
ELEMENT = {"fp32": 4, "bf16": 2}
# A bucket is to a model of 30 million parameters what 50 million elements are to one of 375 million.
BUCKET = 4_000_000
# ZeRO-3 records what it gathers in the first two, and fetches ahead from the third on
STEPS = 4


class Case(t.NamedTuple):
    """A run; ``strategy`` is a name of those that plan-memory knows."""

    model: str
    precision: str
    strategy: str
    ranks: int
    tokens: int
    samples: int
    small: bool = False
    accumulation: int = 1

    @property
    def config(self) -> dict[str, t.Any]:
        """The config.json."""
        return {**MODELS[self.model], **({**SMALL, "vocab_size": 512} if self.small else {})}


def reckoned(case: Case) -> tuple[shapes.Model, memory.Setup, memory.Need]:
    """The same by the arithmetic, with nothing reserved and no fragmentation."""
    model = shapes.of_config(case.config, "config.json")
    setup = memory.Setup(1, case.ranks, case.ranks, 1 << 40, None, False, ELEMENT[case.precision],
                         memory.OPTIMIZERS["adamw"], case.tokens, case.samples, True, 0, 0.0,
                         memory.ROOTS["adamw"], case.accumulation)  # fmt: skip
    strategy = next(each for each in memory.STRATEGIES if each.name == case.strategy)
    return model, setup, memory.need(model, setup, strategy, False)


def settings(case: Case) -> dict[str, t.Any]:
    """The DeepSpeed JSON as plan-memory writes it for a cluster without GPUs."""
    model, _setup, need = reckoned(case)
    zero: dict[str, t.Any] = {
        "stage": need.strategy.stage,
        "overlap_comm": False,
        **plan_memory.buckets(model, need.strategy),
    }
    if need.strategy.optimizer_offload:
        zero["offload_optimizer"] = {"device": "cpu"}
    if need.strategy.parameter_offload:
        zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": case.samples,
        "gradient_accumulation_steps": case.accumulation,
        "bf16": {"enabled": case.precision == "bf16"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


class Run:
    """A model in DeepSpeed's engine."""

    def __init__(self, case: Case) -> None:
        import deepspeed
        import torch
        import transformers

        self.case = case
        made = transformers.AutoConfig.for_model(**case.config)
        made.use_cache = False
        data = settings(case)
        with deepspeed.zero.Init(config_dict_or_path=data, enabled=data["zero_optimization"]["stage"] == 3):
            model = transformers.AutoModelForCausalLM.from_config(made, attn_implementation="sdpa").train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
        self.engine = deepspeed.initialize(model=model, optimizer=optimizer, config=data)[0]
        self.loss: t.Any = None

    def forward(self) -> None:
        """The forward pass of so many samples."""
        import torch

        words = torch.randint(1, self.case.config["vocab_size"], (self.case.samples, self.case.tokens))
        self.loss = self.engine(input_ids=words, labels=words).loss

    def backward(self) -> None:
        """The backward pass, and the reduction of the gradients."""
        self.engine.backward(self.loss)
        self.loss = None

    def step(self) -> None:
        """The optimizer's step."""
        self.engine.step()


def measure(case: Case) -> dict[str, int]:
    """Bytes of this process above what it had before the model; the last of some steps."""
    import deepspeed
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    deepspeed.init_distributed(dist_backend="gloo")
    # what is loaded at the first use is not the model's: a small one is trained before
    train(case._replace(tokens=8, samples=1, small=True), {})
    gc.collect()
    reset()
    found = {"process": resident()}
    train(case, found)
    return found


def train(case: Case, found: dict[str, int]) -> None:
    """Train, and note the memory after each part of the last step and at its peak."""
    start = resident()
    run = Run(case)
    found["init peak"] = resident(peak=True) - start
    for _each in range(STEPS):
        for part in ("forward", "backward", "step"):
            reset()
            getattr(run, part)()
            found[f"{part} peak"] = resident(peak=True) - start
            reset()
            found[part] = resident() - start
    run.engine.destroy()


def launch(case: Case) -> list[dict[str, int]]:
    """What each rank measured."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={case.ranks}"]
    # without the threshold the C library keeps what was freed, and peaks of one part are hidden by those of another
    environment = {
        **os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        words += [__file__, "--case", json.dumps(case), "--results", folder]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{case} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return [json.loads(path.read_text()) for path in sorted(pathlib.Path(folder).iterdir())]


def row(case: Case, found: dict[str, int]) -> str:
    """A line of the table: what is reckoned, what was measured, and their ratio, in MiB."""
    model, setup, need = reckoned(case)
    # with offload the memory of the host is of the same process; roots are there in the step alone
    states, more = memory.host_bytes(model, setup, need.strategy)
    roots = setup.roots[1] * -(-model.parameters // case.ranks) if states else 0
    rest = need.parameters + need.optimizer + states + more - roots
    gradients = need.gradients + setup.element * BUCKET if need.strategy.stage == 3 else 0
    update = roots + gradients if states else need.update
    pairs = (
        (rest + gradients, found["step"]),
        (rest + need.backward, max(found["forward peak"], found["backward peak"])),
        (rest + update, found["step peak"]),
        (
            rest + max(need.backward, update),
            max(found[f"{part} peak"] for part in ("forward", "backward", "step")),
        ),
    )
    cells = [f"{expected / MIB:.0f} / {value / MIB:.0f} = {expected / value:.2f}" for expected, value in pairs]
    start = f"{found['init peak'] / MIB:.0f}", f"{found['process'] / MIB:.0f}"
    words = case.model, case.precision, str(case.ranks), f"{case.samples} x {case.tokens}", case.strategy
    return f"| {' | '.join((*words, *cells, *start))} |"


def main() -> None:
    """Print a table for tests/bench/README.md."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", choices=MODELS, nargs="+", default=["llama"])
    options.add_argument("--precision", choices=ELEMENT, nargs="+", default=list(ELEMENT))
    options.add_argument("--strategy", nargs="+", default=["zero0", "zero1", "zero2", "zero3"])
    options.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    options.add_argument("--tokens", type=int, default=256)
    options.add_argument("--samples", type=int, nargs="+", default=[1])
    options.add_argument("--accumulation", type=int, choices=(1, 2, 4), default=1)
    options.add_argument("--parts", action="store_true", help="also what was measured after each part, on stderr")
    options.add_argument("--case", help=argparse.SUPPRESS)
    options.add_argument("--results", help=argparse.SUPPRESS)
    given = options.parse_args()
    memory.BUCKET = BUCKET
    if given.case:
        found = measure(Case(*json.loads(given.case)))
        (pathlib.Path(given.results) / f"{int(os.environ['RANK']):03}.json").write_text(json.dumps(found))
        return
    print("| model | precision | ranks | batch | strategy | between steps | forward, backward | step | all | "
          "start | process |\n|---|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    ways = itertools.product(given.model, given.precision, given.ranks, given.samples, given.strategy)
    for model, precision, ranks, samples, strategy in ways:
        case = Case(model, precision, strategy, ranks, given.tokens, samples, accumulation=given.accumulation)
        measured = launch(case)
        most = {name: max(each[name] for each in measured) for name in measured[0]}
        print(row(case, most), flush=True)
        if given.parts:
            print(json.dumps({name: round(value / MIB) for name, value in most.items()}), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
