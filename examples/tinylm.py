# Copyright: (c) 2026, trainmesh.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small language model and the text that it learns: nothing is downloaded.

The model is a GPT in small: it reads characters and predicts the next one. The text is made of sentences and sums, so
that the loss falls within a few dozen steps, from 3.7 (guessing one of 41 characters) to about 1.5.
"""

from __future__ import annotations

import random

import torch
from torch import nn
from torch.nn import functional

CHARACTERS = "\n .,+=abcdefghijklmnopqrstuvwxyz0123456789"
LENGTH = 64  # characters that the model sees at once
SEQUENCES = 500  # no multiple of the batch, on purpose: the last batch of an epoch is smaller


def sentences(count: int, seed: int = 0) -> str:
    """Text that is the same on every node, because the seed is."""
    choose = random.Random(seed)
    lines = []
    for _number in range(count):
        first, second = choose.randrange(50), choose.randrange(50)
        who, whom = choose.sample(["node", "rank", "cable", "switch", "kernel", "tensor"], 2)
        how, does = choose.choice(["slow", "fast", "old", "new"]), choose.choice(["sends", "finds", "loses", "wakes"])
        lines.append(choose.choice([f"the {how} {who} {does} the {whom}.", f"{first} + {second} = {first + second}."]))
    return "\n".join(lines)


def encode(text: str) -> torch.Tensor:
    """One number for each character."""
    return torch.tensor([CHARACTERS.index(character) for character in text])


def sequences() -> torch.Tensor:
    """The training data, SEQUENCES × (LENGTH + 1): each row is the input, and moved by one the answer."""
    numbers = encode(sentences(SEQUENCES * LENGTH // 10))
    return numbers[: SEQUENCES * (LENGTH + 1)].view(SEQUENCES, LENGTH + 1)


class Block(nn.Module):
    """Attention to what came before, then a layer for each position."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_layers = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Batch × length × width in, the same out."""
        split = self.attention(self.before_attention(values)).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        values = values + self.joined(seen.transpose(1, 2).flatten(2))
        return values + self.layers(self.before_layers(values))


class TinyLM(nn.Module):
    """Characters (batch × length) in, logits of the next one (batch × length × characters) out."""

    def __init__(self, width: int = 64, heads: int = 4, blocks: int = 2) -> None:
        super().__init__()
        self.character, self.position = nn.Embedding(len(CHARACTERS), width), nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _number in range(blocks)))
        self.last, self.head = nn.LayerNorm(width), nn.Linear(width, len(CHARACTERS))

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        """The logits."""
        positions = torch.arange(characters.shape[1], device=characters.device)
        return self.head(self.last(self.blocks(self.character(characters) + self.position(positions))))


def loss_of(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """The mean loss over all characters of some rows of sequences()."""
    logits = model(rows[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())


@torch.no_grad()
def generate(model: nn.Module, text: str, count: int) -> str:
    """The text, and what the model holds for its next characters."""
    numbers = encode(text)[None]
    for _number in range(count):
        likely = functional.softmax(model(numbers[:, -LENGTH:])[0, -1].float(), dim=-1)
        numbers = torch.cat([numbers, torch.multinomial(likely, 1)[None]], dim=1)
    return "".join(CHARACTERS[number] for number in numbers[0].tolist())
