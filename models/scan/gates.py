"""What, besides its input, an RG-LRU's recurrence depends on."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

LARGEST_SLOPE = 200.0
"""Bound on the derivative of the square root in the input's scale, Poolformer's; recurrentgemma's is 1000."""


class Gates(NamedTuple):
    """Shapes: B batch, L length, N channels. See `models.scan.gated_scan`."""

    log_decay: Tensor
    """[N], negative."""
    phase: Tensor | None = None
    """[N]; None: real channels."""
    recurrence_logits: Tensor | None = None
    """[B, L, N]; None: no gate, so that the decay is the same at every step."""
    input_logits: Tensor | None = None
    """[B, L, N]; None: no gate."""
    normalize: bool = True
    """Scale the input by sqrt(1 - |a|^2), which keeps the state's variance."""
    largest_slope: float = LARGEST_SLOPE
    """Bound on the derivative of that square root."""
