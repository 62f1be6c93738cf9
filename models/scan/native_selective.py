"""The selective scan on a CPU by a C++ kernel (models/native/selective.cpp), forward and backward.

Shapes: B batch, L length, D channels, N states a channel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.native.call import call, reason_against

BLOCK, KEEP = 32, 32
"""Channels of a task, and steps between two states that are kept. As in selective.cpp."""


def unavailable(device: torch.device) -> str | None:
    """Why this backend cannot be used on a device; None if it can."""
    return "runs on a CPU only" if device.type != "cpu" else reason_against("selective")


def native_selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    """y [B, L, D] and the last state [B, D, N]; all of one type, float32 or float64."""
    y, last = _Native.apply(u, delta, A.T, B, C, h0.transpose(1, 2))
    return y, last.transpose(1, 2)


class _Native(Function):
    """For A [N, D] and h0 [B, N, D]: the channels are neighbours in memory."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor
    ) -> tuple[Tensor, Tensor]:
        operands = [x.contiguous() for x in (u, delta, A, B, C)]
        (batch, length, channels), states = u.shape, len(A)
        kept = u.new_empty(batch, -(-length // KEEP), states, channels)
        y, state = torch.empty_like(operands[0]), h0.clone(memory_format=torch.contiguous_format)
        sizes = batch, length, channels, states
        call("selective", "selective_forward", (y, state, kept, *operands), *sizes)
        ctx.save_for_backward(*operands, kept)
        ctx.sizes = sizes
        return y, state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_state: Tensor) -> tuple[Tensor, ...]:
        u, delta, A, B, C, kept = ctx.saved_tensors
        batch, _, channels, states = ctx.sizes
        grad_u, grad_delta = torch.empty_like(u), torch.empty_like(delta)
        # a sum for each task: whoever computes them, they are added up in one order
        blocks = -(-channels // BLOCK)
        grad_B, grad_C = B.new_empty(blocks, *B.shape), C.new_empty(blocks, *C.shape)
        grad_A = torch.zeros(batch, states, channels, dtype=torch.float64)
        grad_state = grad_state.clone(memory_format=torch.contiguous_format)
        gradients = grad_u, grad_delta, grad_A, grad_B, grad_C, grad_state
        call(
            "selective",
            "selective_backward",
            (grad_y.contiguous(), kept, u, delta, A, B, C, *gradients),
            *ctx.sizes,
        )
        return grad_u, grad_delta, grad_A.sum(0).to(A.dtype), grad_B.sum(0), grad_C.sum(0), grad_state
