"""The gated recurrence composed of torch operations: what the fused kernels must equal, on any device.

Shapes: B batch, L length, N channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from models.scan.chunked import chunked_scan
from models.scan.gates import LARGEST_SLOPE, Gates


def composed_gated_scan(x: Tensor, h0: Tensor, gates: Gates) -> Tensor:
    """See `models.scan.gated_scan`."""
    log_decay, phase = gates.log_decay, gates.phase
    if gates.recurrence_logits is not None:
        gate = torch.sigmoid(gates.recurrence_logits)
        log_decay = gate * log_decay
        phase = None if phase is None else gate * phase
    gain = None if gates.input_logits is None else torch.sigmoid(gates.input_logits)
    if gates.normalize:
        scale = input_scale(log_decay, gates.largest_slope)
        gain = scale if gain is None else gain * scale
    if phase is None:
        b = x if gain is None else gain * x
        return chunked_scan(torch.exp(log_decay).expand_as(b), b, h0)
    real, imaginary = x.unflatten(-1, (2, -1)).unbind(-2)
    if gain is not None:
        real, imaginary = gain * real, gain * imaginary
    b = torch.complex(real, imaginary)
    h = chunked_scan(
        _ComplexExponential.apply(log_decay, phase).expand_as(b), b, torch.complex(*h0.chunk(2, -1))
    )
    return torch.cat((h.real, h.imag), dim=-1)


def input_scale(log_decay: Tensor, largest_slope: float = LARGEST_SLOPE) -> Tensor:
    """sqrt(1 - |a|^2) of log |a|, with the derivative of the root bounded where |a| nears 1.

    -expm1(2 log |a|) instead of 1 - |a|^2 keeps every digit there; the latter cancels, and can
    even turn negative in float32.
    """
    return _InputScale.apply(log_decay, largest_slope)


class _InputScale(Function):
    @staticmethod
    def forward(ctx: Any, log_decay: Tensor, largest_slope: float) -> Tensor:
        scale = torch.expm1(2 * log_decay).neg_().sqrt_()
        ctx.save_for_backward(scale)
        ctx.smallest_scale = 0.5 / largest_slope
        return scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (scale,) = ctx.saved_tensors
        # d(1 - |a|^2) / d log |a| = -2 |a|^2, and d sqrt(s^2) / d(s^2) = 1 / (2 s)
        slope = 0.5 / scale.clamp(min=ctx.smallest_scale)
        return grad * slope * (2 * (scale * scale - 1)), None


class _ComplexExponential(Function):
    """exp(log_magnitude + i phase); torch.exp of a complex tensor takes three times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, log_magnitude: Tensor, phase: Tensor) -> Tensor:
        magnitude = torch.exp(log_magnitude)
        a = torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))
        ctx.save_for_backward(a)
        return a

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (a,) = ctx.saved_tensors
        product = grad * a.conj()
        return product.real, product.imag
