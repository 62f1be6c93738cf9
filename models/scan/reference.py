"""The scan as its definition reads, one step after another: what every backend is tested against."""

from __future__ import annotations

import torch
from torch import Tensor


def reference_scan(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    """h_t = a_t h_{t-1} + b_t for a, b [B, L, ...] and h0 [B, ...] (zero by default)."""
    h = torch.zeros_like(b[:, 0]) if h0 is None else h0
    states = []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = a_t * h + b_t
        states.append(h)
    return torch.stack(states, dim=1)
