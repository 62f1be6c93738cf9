"""Negative log-likelihood in bits. Shapes: B batch, L length, V vocabulary."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def token_bits(logits: Tensor, tokens: Tensor) -> Tensor:
    """-log2 p(token) of each token: Float[B, L, V], Long[B, L] -> Float[B, L], at least float32."""
    if logits.dtype in {torch.bfloat16, torch.float16}:
        logits = logits.float()
    nats = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none")
    return nats.view_as(tokens) / math.log(2)


def valid(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Bool[B, L]: true where a token is not padding."""
    return torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]


def mean_bits(logits: Tensor, tokens: Tensor, lengths: Tensor, *, among: Tensor | None = None) -> Tensor:
    """The training loss: bits of all true tokens of the batch, divided by their number.

    Not a mean of the rows' means. What the model says about padding does not enter, nor does its
    gradient, whatever it is. Of a part of a batch: divided by the whole batch's number, `among`, so
    that the parts' losses add up to the whole's.
    """
    bits = token_bits(logits, tokens).masked_fill(~valid(tokens, lengths), 0.0)
    return bits.sum() / (lengths.sum() if among is None else among)
