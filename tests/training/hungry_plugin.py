"""A model that runs out of memory where it is trained on more clips at a time than fit."""

from dataclasses import dataclass

import torch
from torch import nn

from harness.registry import register


@register("models", "hungry")
class Hungry(nn.Module):
    """Logits from the previous token alone."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        fits: int = 1
        after: int = 0
        """Forward passes in training during which everything fits."""
        mib_a_clip: int = 0
        """Really asked for, in training."""

    def __init__(self, config, *, vocab_size):
        super().__init__()
        self.config = config
        self.table = nn.Embedding(vocab_size + 1, vocab_size)
        self.start = vocab_size
        self.passes = 0

    def forward(self, tokens):
        if self.training and not tokens.is_meta:
            self.passes += 1
            if len(tokens) > self.config.fits and self.passes > self.config.after:
                raise RuntimeError(
                    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
                )
            torch.empty(len(tokens), self.config.mib_a_clip << 20, dtype=torch.uint8)
        return self.table(torch.nn.functional.pad(tokens, (1, 0), value=self.start)[:, :-1])

    def state_size(self, batch_size, length):
        return 0
