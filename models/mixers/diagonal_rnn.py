"""A diagonal real linear RNN beside a direct path, averaged.

    h_t = a h_{t-1} + sqrt(1 - a^2) W_in u_t,   a = sigmoid(logit),   y = (W_direct u + W_out h) / 2

Source: the `rnn` recurrence of the Poolformer code.

Shapes: B batch, L length, D width, N channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State, require
from models.initialization import Dense
from models.mixers.recurrence import ScannedMixer, accumulation_dtype
from models.scan import gated_scan


@dataclass(frozen=True, kw_only=True)
class DiagonalRNNConfig:
    hidden: int | None = None
    """Channels of the state; null: twice the width."""
    min_decay: float = 0.9
    max_decay: float = 0.99
    normalize_input: bool = True
    """Scale the input by sqrt(1 - a^2), which keeps the state's variance."""

    def __post_init__(self) -> None:
        require(self.hidden is None or self.hidden >= 1, "hidden", "must be at least 1, or null")
        require(0 < self.min_decay < 1, "min_decay", f"must lie in (0, 1), got {self.min_decay}")
        upper = self.min_decay <= self.max_decay < 1
        require(upper, "max_decay", f"must lie in [min_decay, 1), got {self.max_decay}")


class DiagonalRNN(ScannedMixer):
    """Real diagonal linear recurrence averaged with a direct path."""

    Config = DiagonalRNNConfig

    def __init__(self, config: DiagonalRNNConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        self.hidden = config.hidden or 2 * width
        self.normalize_input = config.normalize_input
        self.direct = Dense(width, width)
        self.input = Dense(width, self.hidden)
        decay = torch.empty(self.hidden).uniform_(config.min_decay, config.max_decay)
        self.decay_logit = nn.Parameter(torch.logit(decay))
        self.output = Dense(self.hidden, width)

    def log_decays(self, x: Tensor) -> Tensor:
        """Of any step, Float[N]."""
        return F.logsigmoid(self.decay_logit.to(accumulation_dtype(self.decay_logit.dtype)))

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = gated_scan(
            self.input(x),
            state,
            log_decay=self.log_decays(x),
            normalize=self.normalize_input,
            check=False,
        )
        return (self.direct(x) + self.output(h.to(x.dtype))) / 2, h[:, -1]
