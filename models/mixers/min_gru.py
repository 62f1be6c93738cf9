"""The minimal GRU: gates that see the input alone, so that the recurrence is a linear scan.

    z_t = sigmoid(W_z x_t)      c_t = g(W_h x_t)      h_t = (1 - z_t) h_{t-1} + z_t c_t      y = W_out h

with g(v) = v + 1/2 for v >= 0 and sigmoid(v) below, which keeps the state positive, or g(v) = v.

Source: Feng et al. 2024 ("Were RNNs all we needed?"), section 3.1 and appendix B.2. The states start
at zero. Theirs are scanned in logarithms, which needs the positive g and in float32 loses three
digits and more over 16,000 steps; here they are scanned as they are.

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
from models.mixers.recurrence import ScannedMixer, accumulation_dtype
from models.scan import linear_scan


@dataclass(frozen=True, kw_only=True)
class MinGRUConfig:
    hidden: int | None = None
    """Channels of the state; null: twice the width."""
    positive: bool = True
    """Candidates through g, which are positive; else linear ones."""

    def __post_init__(self) -> None:
        require(self.hidden is None or self.hidden >= 1, "hidden", "must be at least 1, or null")


class MinGRU(ScannedMixer):
    """Minimal gated recurrent unit, one gate that sees the input alone."""

    Config = MinGRUConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"hidden": 7, "positive": False})

    def __init__(self, config: MinGRUConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        self.hidden = config.hidden or 2 * width
        self.positive = config.positive
        self.gate = Dense(width, self.hidden)
        self.candidate = Dense(width, self.hidden)
        self.output = Dense(self.hidden, width)

    def log_decays(self, x: Tensor) -> Tensor:
        """Of every step, Float[B, L, N]."""
        return F.logsigmoid(-self.gate(x).to(accumulation_dtype(self.gate.weight.dtype)))

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        dtype = accumulation_dtype(self.gate.weight.dtype)
        gate, candidate = self.gate(x).to(dtype), self.candidate(x).to(dtype)
        if self.positive:
            candidate = positive(candidate)
        h = linear_scan(torch.sigmoid(-gate), torch.sigmoid(gate) * candidate, state, check=False)
        return self.output(h.to(x.dtype)), h[:, -1].clone()  # a view would keep all states


def positive(x: Tensor) -> Tensor:
    """The activation g: continuous, increasing and above zero."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))
