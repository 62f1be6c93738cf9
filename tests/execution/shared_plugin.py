"""A model that goes wrong only in a process that trains along with the trial's own."""

import os
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from harness.contracts import only_counted
from harness.registry import register

ALONG = sys.argv[0].endswith("rank.py")
"""Whether this is such a process."""


@register("models", "shared")
class Shared(nn.Module):
    """Logits of their own; `way` says what goes wrong."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        way: str = ""
        pause: float = 0.0

    def __init__(self, config, *, vocab_size):
        super().__init__()
        self.config = config
        self.logits = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, tokens):
        if not only_counted(tokens):
            time.sleep(self.config.pause)
            if ALONG:
                self.go_wrong(tokens)
        return self.logits.expand(*tokens.shape, -1)

    def go_wrong(self, tokens):
        match self.config.way:
            case "raise":
                raise RuntimeError("it broke")
            case "exit":
                os._exit(7)
            case "rows" if len(tokens) > 1:
                raise MemoryError("no room for two clips")
            case "hold":
                self.held = np.ones(2**30, dtype=np.uint8)
                time.sleep(5)

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 0)

    def step(self, token, state):
        return self.logits.expand(len(state), -1), state

    def state_size(self, batch_size, length):
        return 0
