"""The scan as one Triton kernel each way: a, b and h cross the memory bus once.

Kernels and equations: triton_kernels.py. Layout of the work: triton_support.py.

Shapes: B batch, L length, N channels, ... any further axes (channels).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.scan.triton_support import available, launch, rows, tile_for

__all__ = ["available", "triton_linear_scan"]


def triton_linear_scan(a: Tensor, b: Tensor, h0: Tensor, reverse: bool = False) -> Tensor:
    """h_t = a_t h_{t-1} + b_t for a, b [B, L, ...] and h0 [B, ...], in single or double precision.

    They may be real or complex, and expanded or otherwise not contiguous. In reverse time runs from
    the last step to the first, h_t = a_t h_{t+1} + b_t, and h0 is the state after the last.
    """
    shape = *b.shape[:2], math.prod(b.shape[2:])
    h = _LinearScan.apply(a.reshape(shape), b.reshape(shape), h0.reshape(shape[0], shape[2]), reverse)
    return h.view(b.shape)


class _LinearScan(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor, reverse: bool) -> Tensor:
        from models.scan.triton_kernels import linear_forward

        h = torch.empty(b.shape, dtype=b.dtype, device=b.device)
        ctx.reverse = reverse
        ctx.save_for_backward(a, h0, h)
        a, b = _floats(a), _floats(b)
        strides = *a.stride()[:2], *b.stride()[:2]
        _launch(linear_forward, h, a, b, _floats(h0).contiguous(), _floats(h), *strides, backwards=reverse)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        from models.scan.triton_kernels import linear_backward

        a, h0, h = ctx.saved_tensors
        grad_b = torch.empty_like(h)
        grad_a = torch.empty_like(h) if ctx.needs_input_grad[0] else None
        decays, grads = _floats(a), _floats(grad_h)
        arrays = decays, _floats(h0).contiguous(), _floats(h), grads
        outputs = None if grad_a is None else _floats(grad_a), _floats(grad_b)
        strides = *decays.stride()[:2], *grads.stride()[:2]
        _launch(linear_backward, h, *arrays, *outputs, *strides, backwards=not ctx.reverse)
        first = -1 if ctx.reverse else 0
        grad_h0 = a[:, first].conj() * grad_b[:, first] if ctx.needs_input_grad[2] else None
        return grad_a, grad_b, grad_h0, None


def _floats(x: Tensor) -> Tensor:
    """x with neighbouring channels next to each other, complex [..., N] as pairs of floats, [..., 2N]."""
    x = rows(x.resolve_conj())
    return torch.view_as_real(x).flatten(-2) if x.is_complex() else x


def _launch(kernel: Any, h: Tensor, *arguments: Tensor | int | None, backwards: bool) -> None:
    length, channels = h.shape[1:]
    columns = 2 * channels if h.is_complex() else channels
    tile = tile_for(channels, steps=8 if h.element_size() <= 8 else 4)
    options = {"BACKWARDS": backwards, "COMPLEX": h.is_complex()}
    launch(kernel, h, channels, tile, length, columns, *arguments, **options)
