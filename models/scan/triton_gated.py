"""The RG-LRU's recurrence and its gates as one Triton kernel each way.

    r = sigmoid(recurrence_logits),  i = sigmoid(input_logits),  a = exp(r (log_decay + i phase))
    h_t = a_t h_{t-1} + sqrt(1 - |a_t|^2) i_t x_t

As separate operations the gates alone move some ten arrays of the state's size; here x and the
logits are read, and h is written. Backward, the gates are found again from the same arrays.
Kernels and gradients: triton_gated_kernels.py. Layout of the work: triton_support.py.

Shapes: B batch, L length, N channels, M numbers of a state: N, or 2N where channels are complex,
the real parts of all, then the imaginary ones.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.scan.triton_support import available, launch, rows, tile_for

__all__ = ["available", "triton_gated_scan"]


def triton_gated_scan(
    x: Tensor,
    h0: Tensor,
    *,
    log_decay: Tensor,
    phase: Tensor | None,
    recurrence_logits: Tensor | None,
    input_logits: Tensor | None,
    normalize: bool,
    largest_slope: float,
) -> Tensor:
    """All states h [B, L, M], in float32 or, where x or log_decay is, in float64.

    x: [B, L, M]. h0: [B, M]. log_decay (not above 0), phase: [N]; without a phase decays are real.
    Logits: [B, L, N], or None for a gate that is open. x and logits may be of half precision, and
    views. normalize: scale the input by sqrt(1 - |a|^2), the root's derivative at most largest_slope.
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, torch.float32), log_decay.dtype)
    log_decay, h0 = log_decay.to(dtype).contiguous(), h0.to(dtype).contiguous()
    phase = None if phase is None else phase.to(dtype).contiguous()
    return _GatedScan.apply(
        x, recurrence_logits, input_logits, log_decay, phase, h0, normalize, largest_slope
    )


class _GatedScan(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        recurrence_logits: Tensor | None,
        input_logits: Tensor | None,
        log_decay: Tensor,
        phase: Tensor | None,
        h0: Tensor,
        normalize: bool,
        largest_slope: float,
    ) -> Tensor:
        from models.scan.triton_gated_kernels import gated_forward

        h = torch.empty(x.shape, dtype=h0.dtype, device=x.device)
        ctx.options = {"NORMALIZE": normalize, "SMALLEST_SCALE": 0.5 / largest_slope}
        ctx.save_for_backward(x, recurrence_logits, input_logits, log_decay, phase, h0, h)
        inputs, strides = _with_strides(x, recurrence_logits, input_logits)
        arrays = *inputs, log_decay, phase, h0, h
        _launch(gated_forward, h, len(log_decay), *arrays, *strides, NORMALIZE=normalize)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor | None, ...]:
        from models.scan.triton_gated_kernels import gated_backward

        x, recurrence_logits, input_logits, log_decay, phase, h0, h = ctx.saved_tensors
        inputs, strides = _with_strides(x, recurrence_logits, input_logits, grad_h)
        grads = [_empty_like(array) for array in (x, recurrence_logits, input_logits)]
        # the decay's are found for each sequence, in an order that does not vary, and then added up
        shares = [None if row is None else row.new_empty(len(x), len(row)) for row in (log_decay, phase)]
        grad_h0 = torch.empty_like(h0)
        arrays = *inputs[:3], log_decay, phase, h0, h, inputs[3], *grads, *shares, grad_h0
        _launch(gated_backward, h, len(log_decay), *arrays, *strides, **ctx.options)
        totals = [None if share is None else share.sum(0) for share in shares]
        return *grads, *totals, grad_h0, None, None


def _with_strides(*arrays: Tensor | None) -> tuple[list[Tensor | None], list[int]]:
    """The arrays, channels next to each other, and how far apart their sequences and their steps are."""
    found = [None if array is None else rows(array) for array in arrays]
    return found, [stride for x in found for stride in ((0, 0) if x is None else x.stride()[:2])]


def _empty_like(x: Tensor | None) -> Tensor | None:
    return None if x is None else torch.empty_like(x, memory_format=torch.contiguous_format)


def _launch(kernel: Any, h: Tensor, channels: int, *arguments: Tensor | int | None, **options: Any) -> None:
    single = h.dtype == torch.float32
    terms = 11 if single else 20
    series = tuple(1 / math.factorial(k) for k in range(terms, 0, -1))
    tile = tile_for(channels, steps=4 if single else 2)
    options |= {"SERIES": series, "TERMS": terms}
    launch(kernel, h, channels, tile, h.shape[1], channels, *arguments, **options)
