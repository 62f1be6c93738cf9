"""template_name: a leaky memory of the tokens so far, read by a small perceptron.

    h_t = a ⊙ h_{t-1} + (1 - a) ⊙ table[x_{t-1}],    a = sigmoid(memory) in (0, 1)
    logits_t = head(h_t)

Everything below is yours to change. `harness check template_name.py` says whether it still keeps the
laws and still learns.

Shapes: B batch, L length, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import require
from harness.registry import register


@register("models", "template_name")
class TemplateName(nn.Module):
    """A leaky memory of the tokens so far (the line that `harness list models` shows)."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 64

        def __post_init__(self) -> None:
            require(self.width >= 1, "width", f"must be at least 1, got {self.width}")

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"width": 16},)
    """Small configurations that `harness check` looks at."""

    def __init__(self, config: Config, *, vocab_size: int) -> None:
        super().__init__()
        self.width = config.width
        self.start = vocab_size  # a token of its own before the first one
        self.table = nn.Embedding(vocab_size + 1, config.width)
        self.memory = nn.Parameter(torch.linspace(-2, 4, config.width))  # a from 0.12 to 0.98
        self.head = nn.Sequential(
            nn.Linear(config.width, 2 * config.width), nn.GELU(), nn.Linear(2 * config.width, vocab_size)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V]; position t sees the tokens before t alone."""
        previous = F.pad(tokens[:, :-1], (1, 0), value=self.start)
        state, hidden = self.initial_state(len(tokens)), []
        for x in self.table(previous).unbind(1):  # slow and plain; `models.scan.linear_scan` is fast
            state = self._remember(x, state)
            hidden.append(state)
        return self.head(torch.stack(hidden, dim=1))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.memory.new_zeros(batch_size, self.width)

    def step(self, token: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor]:
        """The previous token Long[B] (None at the start) -> logits Float[B, V] of the next."""
        if token is None:
            token = torch.full((len(state),), self.start, device=state.device)
        state = self._remember(self.table(token), state)
        return self.head(state), state

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        return batch_size * self.width * self.memory.element_size()

    def _remember(self, x: Tensor, state: Tensor) -> Tensor:
        kept = self.memory.sigmoid()
        return kept * state + (1 - kept) * x
