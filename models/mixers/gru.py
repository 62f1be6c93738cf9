"""The gated recurrent unit, torch's own: the classical recurrence, one step after the other.

    [r, z] = sigmoid(W x_t + U h_{t-1} + b)      c = tanh(W_c x_t + r (U_c h_{t-1} + d) + b_c)
    h_t = (1 - z) c + z h_{t-1}                  y = h, or W_out h where the state is not as wide as x

Source: Cho et al. 2014, in the form of torch.nn.GRU. In bfloat16 torch rounds the state to bfloat16
at every step; it has no kernel with a wider state.

Shapes: B batch, L length, D width, N channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from harness.contracts import State, only_counted, report_flops, require
from models.initialization import Dense
from models.mixers.recurrence import RecurrentMixer


@dataclass(frozen=True, kw_only=True)
class GRUConfig:
    hidden: int | None = None
    """Channels of the state; null: the width."""

    def __post_init__(self) -> None:
        require(self.hidden is None or self.hidden >= 1, "hidden", "must be at least 1, or null")


class GRU(RecurrentMixer):
    """Gated recurrent unit, sequential in time."""

    Config = GRUConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"hidden": 5})

    def __init__(self, config: GRUConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        self.hidden = config.hidden or width
        self.recurrence = nn.GRU(width, self.hidden, batch_first=True)
        self.output = nn.Identity() if self.hidden == width else Dense(self.hidden, width)

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if only_counted(x):  # torch takes its loop apart on the meta device: 20 ms a step
            report_flops(6 * x[..., 0].numel() * self.hidden * (x.shape[2] + self.hidden))
            h = x.new_zeros(*x.shape[:2], self.hidden)
            return self.output(h), h[:, -1]
        h, last = self.recurrence(x, None if state is None else state.unsqueeze(0))
        return self.output(h), last[0]

    def initial_state(self, batch_size: int) -> Tensor:
        return next(self.parameters()).new_zeros(batch_size, self.hidden)

    def state_size(self, batch_size: int, length: int) -> int:
        return batch_size * self.hidden * next(self.parameters()).element_size()
