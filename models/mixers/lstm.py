"""Long short-term memory, torch's own: the classical recurrence, one step after the other.

    [i, f, o] = sigmoid(W x_t + U h_{t-1} + b)      g = tanh(W_g x_t + U_g h_{t-1} + b_g)
    c_t = f c_{t-1} + i g                           h_t = o tanh(c_t)
    y = h, or W_out h where the state is not as wide as x

Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000, in
the form of torch.nn.LSTM. With parameters in bfloat16 torch rounds the state to bfloat16 at every step;
it has no kernel with a wider state. Under autocast everything stays in the parameters' type.

Shapes: B batch, L length, D width, N channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from harness.contracts import State, only_counted, report_flops, require
from models.initialization import Dense
from models.mixers.chunks import without_autocast
from models.mixers.recurrence import RecurrentMixer


@dataclass(frozen=True, kw_only=True)
class LSTMConfig:
    hidden: int | None = None
    """Channels of the state; null: the width."""
    forget_bias: float = 1.0
    """Initial bias of the forget gate: above zero, a state is kept until there is a reason against it."""

    def __post_init__(self) -> None:
        require(self.hidden is None or self.hidden >= 1, "hidden", "must be at least 1, or null")


class LSTM(RecurrentMixer):
    """Long short-term memory, sequential in time."""

    Config = LSTMConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"hidden": 5, "forget_bias": 0.0})

    def __init__(self, config: LSTMConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        self.hidden = config.hidden or width
        self.recurrence = nn.LSTM(width, self.hidden, batch_first=True)
        self.output = nn.Identity() if self.hidden == width else Dense(self.hidden, width)
        forget = slice(self.hidden, 2 * self.hidden)
        biases: Any = self.recurrence.bias_ih_l0, self.recurrence.bias_hh_l0
        with torch.no_grad():  # torch adds them up
            for bias, value in zip(biases, (config.forget_bias, 0.0), strict=True):
                bias[forget] = value

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """From a state (None: the start): h and c, Float[B, N] each."""
        if only_counted(x):  # torch takes its loop apart on the meta device: 20 ms a step
            report_flops(8 * x[..., 0].numel() * self.hidden * (x.shape[2] + self.hidden))
            h = x.new_zeros(*x.shape[:2], self.hidden)
            return self.output(h), (h[:, -1], h[:, -1])
        given = None if state is None else tuple(part.unsqueeze(0) for part in state)
        with without_autocast(x.device):
            h, last = self.recurrence(x.to(next(self.parameters()).dtype), given)
        return self.output(h).to(x.dtype), tuple(part[0] for part in last)

    def initial_state(self, batch_size: int) -> State:
        zeros = next(self.parameters()).new_zeros
        return zeros(batch_size, self.hidden), zeros(batch_size, self.hidden)

    def state_size(self, batch_size: int, length: int) -> int:
        return 2 * batch_size * self.hidden * next(self.parameters()).element_size()
