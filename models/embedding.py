"""From token values to vectors: the fixed sinusoidal embedding of the paper and its alternatives.

Shapes: ... any axes of tokens, V vocabulary, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.initialization import Dense

EmbeddingName = Literal["sinusoidal", "table", "mlp"]


class SinusoidalEmbedding(nn.Module):
    """cos and sin of the token's *value* at geometric frequencies; nothing is learned.

    Value v maps to [cos(v w_0) .. cos(v w_{D/2-1}), sin(v w_0) .. sin(v w_{D/2-1})] with
    w_k = 10000^(-k / (D/2)), for D even.
    """

    table: Tensor

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.vocab_size, self.width = vocab_size, width
        self.register_buffer("table", torch.empty(vocab_size, width), persistent=False)
        self._fill()

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.table)

    def _exact_table(self) -> Tensor:
        half = self.width // 2
        with torch.device("cpu"):
            frequency = torch.exp(-math.log(10_000) / half * torch.arange(half, dtype=torch.float64))
            angle = torch.arange(self.vocab_size, dtype=torch.float64)[:, None] * frequency
        return torch.cat((angle.cos(), angle.sin()), dim=-1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Whatever a module is moved or cast to, the table is exact there: it is computed again."""
        super()._apply(fn, recurse)
        self._fill()
        return self

    def _fill(self) -> None:
        if not self.table.is_meta:  # where a table may be larger than any memory
            self.table = self._exact_table().to(self.table)


class TableEmbedding(nn.Embedding):
    """A learned vector for each token, variance 1/D at the start."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.embedding_dim**-0.5)


class ScalarEmbedding(nn.Module):
    """A linear map of the token's value, scaled to [-1, 1): the reference's "mlp" input."""

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.linear = Dense(1, width)
        nn.init.normal_(self.linear.bias, std=0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        value = tokens.to(self.linear.weight.dtype) * (2 / self.vocab_size) - 1
        return self.linear(value.unsqueeze(-1))


def build_embedding(name: EmbeddingName, vocab_size: int, width: int) -> nn.Module:
    """A module that maps Long[...] to Float[..., D]."""
    classes: dict[EmbeddingName, Callable[[int, int], nn.Module]] = {
        "sinusoidal": SinusoidalEmbedding,
        "table": TableEmbedding,
        "mlp": ScalarEmbedding,
    }
    return classes[name](vocab_size, width)
