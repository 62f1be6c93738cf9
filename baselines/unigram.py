"""The floor of floors: every token drawn from one histogram, whatever came before.

Shapes: B batch, L length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from harness.contracts import require


@dataclass(frozen=True, kw_only=True)
class UnigramConfig:
    smoothing: float = 1.0
    """Added to each token's count (Laplace's rule of succession at 1)."""

    def __post_init__(self) -> None:
        require(self.smoothing > 0, "smoothing", f"must be above 0, got {self.smoothing}")


class Unigram(nn.Module):
    """Histogram of tokens, without memory; counted, not trained."""

    Config = UnigramConfig
    complexity: ClassVar[tuple[str, str]] = ("V", "V")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    counts: Tensor

    def __init__(self, config: UnigramConfig, vocab_size: int = 256) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("counts", torch.zeros(vocab_size, dtype=torch.long))

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Count (tokens Long[B, L], true lengths Long[B]) afresh; padding does not count.

        Raises: ValueError for a token outside the vocabulary.
        """
        counts = torch.zeros_like(self.counts)
        for tokens, lengths in batches:
            clip_tokens = tokens[torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]]
            found = torch.bincount(clip_tokens, minlength=len(counts))
            if len(found) > len(counts):
                raise ValueError(f"token {len(found) - 1} is outside the vocabulary of {len(counts)}")
            counts += found.to(counts.device)
        self.counts.copy_(counts)

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> log-probabilities Float[B, L, V], the same at every position."""
        return self._log_probabilities().expand(*tokens.shape, -1)

    def initial_state(self, batch_size: int) -> int:
        """The batch size: there is nothing to remember."""
        return batch_size

    def step(self, token: Tensor | None, state: int) -> tuple[Tensor, int]:
        """-> log-probabilities Float[B, V]."""
        return self._log_probabilities().expand(state, -1), state

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes: none."""
        return 0

    def _log_probabilities(self) -> Tensor:
        smoothed = self.counts.double() + self.config.smoothing
        return (smoothed / smoothed.sum()).log().float()
