"""Rotary positions (Su et al. 2021, eq. 15): pairs of channels turn by an angle that grows with the position.

Shapes: L length, E width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotation(first: int, length: int, width: int, base: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of position / base^(2i/E), Float[L, E/2], in `like`'s type and on its device.

    The angles are found in float64: at step 10,000 one in float32 is wrong by a thousandth.
    """
    half = width // 2
    if like.is_meta:  # counting needs shapes alone, and the first arange there imports for two seconds
        return like.new_empty(length, half), like.new_empty(length, half)
    exponent = torch.arange(half, dtype=torch.float64, device=like.device) / half
    position = torch.arange(first, first + length, dtype=torch.float64, device=like.device)
    angle = position[:, None] * base**-exponent
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)
