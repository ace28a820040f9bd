# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What small models really take to train, beside what ``trainmesh plan-memory`` reckons.

Each model trains one step of AdamW in float32 on the CPU, in a process of its own: the memory of the process after
each part of the step, and at its peak. Needs torch, transformers and Linux: ``python tests/bench/memory.py``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import typing as t

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "roles/launch_config/files/lib"))
from trainmesh import memory, shapes

MIB = 1 << 20
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 512, "intermediate_size": 1408,
         "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 8000,
         "tie_word_embeddings": False, "max_position_embeddings": 1024}  # fmt: skip
GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 512, "n_layer": 8, "n_head": 8,
        "n_positions": 1024, "vocab_size": 16000, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}  # fmt: skip
BERT = {"model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 512, "num_hidden_layers": 8,
        "num_attention_heads": 8, "intermediate_size": 2048, "vocab_size": 8000,
        "max_position_embeddings": 512}  # fmt: skip
SMALL = {"hidden_size": 64, "n_embd": 64, "num_hidden_layers": 2, "n_layer": 2}


class Case(t.NamedTuple):
    """A model and how it is trained."""

    name: str
    config: dict[str, t.Any]
    fused: bool
    checkpointing: bool = False
    tokens: int = 512
    samples: int = 8


CASES = (
    Case("Llama, fused", LLAMA, True),
    Case("Llama, eager", LLAMA, False),
    Case("Llama, fused, checkpointing", LLAMA, True, True),
    Case("GPT-2, fused", GPT2, True),
    Case("BERT with dropout, eager", BERT, False),
)


def resident(peak: bool = False) -> int:
    """Bytes of this process in memory, now or at their peak since the last reset()."""
    name = "VmHWM:" if peak else "VmRSS:"
    with open("/proc/self/status", encoding="ascii") as source:
        return next(int(line.split()[1]) for line in source if line.startswith(name)) * 1024


def reset() -> None:
    """Give freed memory back to the system, and forget the peak."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as target:
        target.write("5")


def measure(case: Case) -> dict[str, int]:
    """One step after another that fills the optimizer; sizes in bytes."""
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    # what is loaded at the first use is not the model's: a step of a small one
    step(build(case._replace(config={**case.config, **SMALL})), case._replace(samples=1, tokens=8))
    reset()
    start = resident()
    model = build(case)
    reset()
    found = {"process": start, "parameters": resident() - start}
    optimizer = torch.optim.AdamW(model.parameters())
    step(model, case._replace(samples=1, tokens=8))
    reset()
    found["gradients"] = resident() - start - found["parameters"]
    optimizer.step()
    reset()
    found["optimizer"] = resident() - start - found["parameters"] - found["gradients"]
    before = resident()
    step(model, case)
    found["activations"] = resident(peak=True) - before
    return found


def build(case: Case) -> t.Any:
    """The model, ready to be trained."""
    import transformers

    made = transformers.AutoConfig.for_model(**case.config)
    made.use_cache = False
    auto = (
        transformers.AutoModelForMaskedLM if case.config["model_type"] == "bert" else transformers.AutoModelForCausalLM
    )
    model = auto.from_config(made, attn_implementation="sdpa" if case.fused else "eager").train()
    if case.checkpointing:
        model.gradient_checkpointing_enable()
    return model


def step(model: t.Any, case: Case) -> None:
    """Forward and backward pass of so many samples."""
    import torch

    words = torch.randint(1, case.config["vocab_size"], (case.samples, case.tokens))
    model(input_ids=words, labels=words).loss.backward()


def reckoned(case: Case) -> dict[str, int]:
    """The same by the arithmetic."""
    model = shapes.of_config(case.config, "config.json")
    setup = memory.Setup(1, 1, 1, 1 << 40, None, False, 4, memory.OPTIMIZERS["adamw"], case.tokens,
                         case.samples, case.fused, 0)  # fmt: skip
    need = memory.need(model, setup, memory.STRATEGIES[0], case.checkpointing)
    return {name: getattr(need, name) for name in ("parameters", "gradients", "optimizer", "activations")}


def main() -> None:
    """Print a table for tests/bench/README.md."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--case", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.case is not None:
        print(json.dumps(measure(CASES[given.case])))
        return
    print("| model | what | measured MiB | reckoned MiB | reckoned / measured |\n|---|---|---|---|---|")
    for number, case in enumerate(CASES):
        # without this the C library keeps what was freed, and peaks of one part are hidden by those of another
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "HF_HUB_OFFLINE": "1"}
        words = [sys.executable, __file__, "--case", str(number)]
        output = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
        found, expected = json.loads(output.splitlines()[-1]), reckoned(case)
        for part, value in expected.items():
            ratio = value / found[part]
            print(f"| {case.name} | {part} | {found[part] / MIB:.0f} | {value / MIB:.0f} | {ratio:.2f} |")
        print(f"| {case.name} | Python, torch and transformers | {found['process'] / MIB:.0f} | | |", flush=True)


if __name__ == "__main__":
    main()
