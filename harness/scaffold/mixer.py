"""template_name: every channel forgets at its own rate.

    h_t = a ⊙ h_{t-1} + (1 - a) ⊙ in(x_t),    a = sigmoid(memory) in (0, 1)
    y_t = out(h_t)

Everything below is yours to change. `harness check template_name.py` says whether it still keeps the
laws and still learns inside a Poolformer.

Shapes: B batch, L length, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from harness.contracts import require
from harness.registry import register


@register("mixers", "template_name")
class TemplateName(nn.Module):
    """Every channel forgets at its own rate (the line that `harness list mixers` shows)."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        slowest: float = 0.99
        """The largest decay at the start."""

        def __post_init__(self) -> None:
            require(0 < self.slowest < 1, "slowest", f"must lie in (0, 1), got {self.slowest}")

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"slowest": 0.9})
    """Configurations that `harness check` looks at."""

    def __init__(self, config: Config, *, width: int, stride: int) -> None:
        super().__init__()
        self.width = width
        self.memory = nn.Parameter(torch.logit(torch.linspace(0.1, config.slowest, width)))
        self.input = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Float[B, L, D] -> Float[B, L, D]; output t sees inputs up to and including t."""
        return self.resume(x, None)[0]

    def resume(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next L steps after a state (None: the start), and the state after them."""
        state = self.initial_state(len(x)) if state is None else state
        hidden = []
        for one in self.input(x).unbind(1):  # slow and plain; `models.scan.linear_scan` is fast
            state = self._remember(one, state)
            hidden.append(state)
        return self.output(torch.stack(hidden, dim=1)), state

    def initial_state(self, batch_size: int) -> Tensor:
        return self.memory.new_zeros(batch_size, self.width)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Float[B, D] -> Float[B, D]."""
        state = self._remember(self.input(x), state)
        return self.output(state), state

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        return batch_size * self.width * self.memory.element_size()

    def _remember(self, x: Tensor, state: Tensor) -> Tensor:
        kept = self.memory.sigmoid()
        return kept * state + (1 - kept) * x
