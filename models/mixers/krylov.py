"""Impulse responses of systems whose transition is diagonal plus rank one, by taking the steps.

    y_l = c . T^l b,   T x = e x - (w . x) q

Vectors are real, with the parts of complex numbers side by side, and e x is the product of complex
numbers. A step takes O(N), one after another, which is slow in torch and fast in a kernel: a thousand
steps of N = 64 take a sixth of the time of squaring T, with gradients.

Shapes: D channels, N real numbers in a state, L steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.native.call import call

LANES, CHUNK = 8, 128
"""Channels side by side, and steps between the states that are kept. As in krylov.cpp."""


class Recurrence(NamedTuple):
    """x <- T x + u b, y = c . x: each Float[D, N]."""

    e: Tensor
    w: Tensor
    q: Tensor
    b: Tensor
    c: Tensor

    def response(self, length: int) -> Tensor:
        """y: Float[D, L]. On a CPU, in single or double precision.

        Raises: CannotBuild
        """
        return _Steps.apply(*self, length)


class _Steps(Function):
    @staticmethod
    def forward(ctx: Any, e: Tensor, w: Tensor, q: Tensor, b: Tensor, c: Tensor, length: int) -> Tensor:
        e, w, q, b, c = (x.contiguous() for x in (e, w, q, b, c))
        channels, size = b.shape
        kept = None
        if any(ctx.needs_input_grad):
            kept = b.new_empty(-(-channels // LANES), -(-length // CHUNK), size, LANES)
            ctx.save_for_backward(e, w, q, c, kept)
        y = b.new_empty(channels, length)
        call("krylov", "forward", (y, kept, e, w, q, b, c), channels, size, length)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        e, w, q, c, kept = ctx.saved_tensors
        gradients = tuple(torch.empty_like(c) for _ in range(5))
        call("krylov", "backward", (*gradients, grad.contiguous(), kept, e, w, q, c), *c.shape, grad.shape[1])
        return (*gradients, None)
