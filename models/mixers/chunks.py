"""Time in chunks: for recurrences that become matrix products inside a chunk.

Shapes: B batch, L length, C chunks, Q steps of a chunk, ... any further axes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor


def in_chunks(x: Tensor, steps: int) -> Tensor:
    """[B, L, ...] -> [B, C, Q, ...] with Q = `steps`; zeros fill the last chunk."""
    padding = -x.shape[1] % steps
    if padding:
        x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, padding))
    return x.unflatten(1, (-1, steps))


def decays_between(log_decay: Tensor) -> Tensor:
    """Products of the decays of steps j + 1 to i of a chunk: [..., Q] -> [..., Q (i), Q (j)], 0 for j > i.

    They are differences of sums of logarithms, formed in float64: in float32 what lies before both
    steps cancels, and takes five digits with it.
    """
    steps = log_decay.shape[-1]
    sums = log_decay.double().cumsum(-1)
    between = (sums.unsqueeze(-1) - sums.unsqueeze(-2)).to(log_decay.dtype)
    future = torch.ones(steps, steps, dtype=torch.bool, device=log_decay.device).triu(1)
    return between.masked_fill(future, -torch.inf).exp()


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Matrix products of float32 stay in float32: they make states, which add up over many steps."""
    if not torch.amp.is_autocast_available(device.type):  # the meta device
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
