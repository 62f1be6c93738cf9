"""The selective scan as one Triton kernel each way, with the step sizes, the direct path and the gate.

    delta = softplus(x + bias), or x      h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t
    y_t = (C_t . h_t + D u_t) silu(z_t)

Of memory it moves what it is given, what it returns, and one state for each tile of time, which is
all that is kept for the backward pass beside the inputs. Kernels and gradients:
triton_selective_kernels.py. Layout of the work: triton_support.py.

Shapes: B batch, L length, D channels, N states a channel, T tiles of time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.scan.triton_support import Tile, launch, rows

BLOCK = 8
"""Channels of a program: 32 bytes of float32, the least that memory hands over at once."""
NUMBERS = 1024
"""Of a tile, for each step of its chunks: 8 a thread. With chunks of 2 steps they leave just enough
registers to the backward kernel (254 of the 255 that an H100's thread can have, at 16 states)."""


def selective_tile(states: int, steps: int) -> tuple[Tile, int]:
    """The tile for N states a channel with chunks of so many steps, and N as a power of two."""
    padded = 1 << (states - 1).bit_length()
    block = max(1, min(BLOCK, NUMBERS // padded))
    return Tile(chunks=min(32, max(1, NUMBERS // (block * padded))), steps=steps, channels=block), padded


def triton_selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    h0: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """y [B, L, D] and the last state [B, D, N], in float32 or, where u or A is, in float64.

    u, delta, z: [B, L, D]; A: [D, N]; B, C: [B, L, N]; D, bias: [D]; h0: [B, D, N], None for zero.
    Sequences may be of half precision, and views. Without bias delta is the step size.
    """
    dtype = torch.promote_types(torch.promote_types(u.dtype, torch.float32), A.dtype)
    h0 = u.new_zeros(len(u), *A.shape, dtype=dtype) if h0 is None else h0
    A, h0 = A.to(dtype).contiguous(), h0.to(dtype).contiguous()
    D, bias = (None if row is None else row.to(dtype).contiguous() for row in (D, bias))
    return _SelectiveScan.apply(u, delta, A, B, C, D, z, bias, h0)


class _SelectiveScan(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor | None) -> tuple[Tensor, Tensor]:
        from models.scan.triton_selective_kernels import selective_forward

        u, delta, A, B, C, D, z, bias, h0 = inputs
        assert u is not None and A is not None and h0 is not None
        tile, padded = _tile(A)
        tiles = -(-u.shape[1] // (tile.chunks * tile.steps))
        starts = h0.new_empty(len(u), tiles, *A.shape) if any(ctx.needs_input_grad) else None
        y, last = h0.new_empty(u.shape), torch.empty_like(h0)
        ctx.save_for_backward(u, delta, A, B, C, D, z, bias, starts)
        arrays, strides = _with_strides(u, delta, B, C, z)
        inputs = *arrays[:2], A, *arrays[2:4], D, arrays[4], bias, h0
        _launch(selective_forward, tile, padded, u.shape[1], h0, *inputs, y, last, starts, *strides)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> tuple[Tensor | None, ...]:
        from models.scan.triton_selective_kernels import selective_backward

        u, delta, A, B, C, D, z, bias, starts = ctx.saved_tensors
        tile, padded = _tile(A)
        grad_u, grad_delta, grad_z = (_empty_like(x) for x in (u, delta, z))
        # shares of sequences, and of blocks of channels, are added up in an order that does not vary
        blocks = -(-A.shape[0] // tile.channels)
        share_B, share_C = (A.new_empty(len(u), blocks, *B.shape[1:]) for _ in "BC")
        shares = [None if row is None else row.new_empty(len(u), *row.shape) for row in (A, D, bias)]
        grad_h0 = A.new_empty(len(u), *A.shape)
        arrays, strides = _with_strides(u, delta, B, C, z, grad_y)
        inputs = *arrays[:2], A, *arrays[2:4], D, arrays[4], bias, starts, arrays[5], grad_last.contiguous()
        outputs = grad_u, grad_delta, shares[0], share_B, share_C, shares[1], grad_z, shares[2], grad_h0
        _launch(selective_backward, tile, padded, u.shape[1], grad_h0, *inputs, *outputs, *strides)
        grad_A, grad_D, grad_bias = (None if share is None else share.sum(0) for share in shares)
        grad_B, grad_C = share_B.sum(1).to(B.dtype), share_C.sum(1).to(C.dtype)
        return grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_z, grad_bias, grad_h0


def _tile(A: Tensor) -> tuple[Tile, int]:
    return selective_tile(A.shape[1], steps=2 if A.dtype == torch.float32 else 1)


def _with_strides(*arrays: Tensor | None) -> tuple[list[Tensor | None], list[int]]:
    """The arrays, the last axis without gaps, and how far apart their sequences and their steps are."""
    found = [None if array is None else rows(array) for array in arrays]
    return found, [stride for x in found for stride in ((0, 0) if x is None else x.stride()[:2])]


def _empty_like(x: Tensor | None) -> Tensor | None:
    return None if x is None else torch.empty_like(x, memory_format=torch.contiguous_format)


def _launch(
    kernel: Any, tile: Tile, padded: int, length: int, state: Tensor, *arguments: Tensor | int | None
) -> None:
    channels, states = state.shape[1:]
    options = {"S": padded, "TERMS": 8 if state.dtype == torch.float32 else 17}
    launch(kernel, state, channels, tile, length, channels, states, *arguments, **options)
