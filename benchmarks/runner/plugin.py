"""A data set and a model so small that a trial costs what the harness adds to it."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from harness.contracts import Provenance, Split, only_counted
from harness.registry import register


@register("models", "featherweight")
class Featherweight(nn.Module):
    """Logits from the previous token alone; `pause` seconds in each forward pass make a trial last."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 2
        pause: float = 0.0

    def __init__(self, config, *, vocab_size):
        super().__init__()
        self.pause, self.start = config.pause, vocab_size
        self.table = nn.Embedding(vocab_size + 1, config.width)
        self.head = nn.Linear(config.width, vocab_size)

    def forward(self, tokens):
        if not only_counted(tokens):
            time.sleep(self.pause)
        shifted = nn.functional.pad(tokens, (1, 0), value=self.start)[:, :-1]
        return self.head(self.table(shifted))

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 0)

    def step(self, token, state):
        before = torch.full((len(state),), self.start) if token is None else token
        return self.head(self.table(before)), state

    def state_size(self, batch_size, length):
        return 0


@register("datasets", "noise")
class Noise:
    """Random tokens, the same in every process."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        length: int = 16
        clips: int = 8
        vocab_size: int = 16
        sample_rate: int = 8000

    def __init__(self, config):
        self.vocab_size, self.sample_rate, self.length = config.vocab_size, config.sample_rate, config.length
        draw = np.random.default_rng(0)
        self.splits = {
            name: Split(
                tokens=draw.integers(0, config.vocab_size, (config.clips, config.length)).astype(np.uint8),
                lengths=np.full(config.clips, config.length),
            )
            for name in ("train", "validation", "test")
        }
        self.provenance = Provenance(
            source="drawn", version="1", licence="none", sha256="0" * 64, clips={"train": config.clips}
        )

    def decode(self, tokens):
        return tokens / 8.0 - 1.0
