"""The minimal LSTM: forget and input gates that see the input alone, scaled to add up to one.

    f = sigmoid(W_f x_t)     i = sigmoid(W_i x_t)     c_t = g(W_h x_t)
    h_t = (f h_{t-1} + i c_t) / (f + i)               y = W_out h

with the g of the minimal GRU, or g(v) = v.

Source: Feng et al. 2024 ("Were RNNs all we needed?"), section 3.2 and appendix B.2, whose form of the
scaled gates is used: f / (f + i) = sigmoid(log f - log i), which never divides by zero. The states
start at zero and are scanned as they are, not in logarithms.

Shapes: B batch, L length, D width, N channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.contracts import State, require
from models.initialization import Dense
from models.mixers.min_gru import positive
from models.mixers.recurrence import ScannedMixer, accumulation_dtype
from models.scan import linear_scan


@dataclass(frozen=True, kw_only=True)
class MinLSTMConfig:
    hidden: int | None = None
    """Channels of the state; null: twice the width."""
    positive: bool = True
    """Candidates through g, which are positive; else linear ones."""

    def __post_init__(self) -> None:
        require(self.hidden is None or self.hidden >= 1, "hidden", "must be at least 1, or null")


class MinLSTM(ScannedMixer):
    """Minimal long short-term memory, two gates that see the input alone."""

    Config = MinLSTMConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"hidden": 7, "positive": False})

    def __init__(self, config: MinLSTMConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        self.hidden = config.hidden or 2 * width
        self.positive = config.positive
        self.forget_gate = Dense(width, self.hidden)
        self.input_gate = Dense(width, self.hidden)
        self.candidate = Dense(width, self.hidden)
        self.output = Dense(self.hidden, width)

    def log_decays(self, x: Tensor) -> Tensor:
        """Of every step, Float[B, L, N]."""
        dtype = accumulation_dtype(self.candidate.weight.dtype)
        forget, write = (F.logsigmoid(layer(x).to(dtype)) for layer in (self.forget_gate, self.input_gate))
        return F.logsigmoid(forget - write)

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        dtype = accumulation_dtype(self.candidate.weight.dtype)
        forget, write, candidate = (
            layer(x).to(dtype) for layer in (self.forget_gate, self.input_gate, self.candidate)
        )
        if self.positive:
            candidate = positive(candidate)
        odds = F.logsigmoid(forget) - F.logsigmoid(write)
        h = linear_scan(torch.sigmoid(odds), torch.sigmoid(-odds) * candidate, state, check=False)
        return self.output(h.to(x.dtype)), h[:, -1].clone()  # a view would keep all states
