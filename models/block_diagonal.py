"""Several block-diagonal maps of the same vectors, found together.

    z[g, k] = v[k] W[g, k] + bias[g, k]   for each map g and block k

Shapes: B batch, L length, H inputs, G maps, N outputs of a map, K blocks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from harness.contracts import report_flops
from models.native.call import call, fits

CHUNK, LARGEST = 512, 256
"""Rows whose gradients the kernel sums for itself; largest block. As in block_diagonal.cpp."""


def block_diagonal(v: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """v: [B, L, H]; weight: [G, K, H/K, N/K]; bias: [G, N]. Returns [B, L, G, N].

    On a CPU by a kernel where there is a compiler (four times as fast), else as one einsum.
    """
    maps, _, inputs, outputs = weight.shape
    native = max(inputs, maps * outputs) <= LARGEST and fits("block_diagonal", v)
    if native or v.is_meta:  # where torch's counter sees nothing
        report_flops(2 * v.numel() * maps * outputs)
        return _Native.apply(v, weight, bias) if native else v.new_empty(*v.shape[:2], *bias.shape)
    blocks = v.unflatten(-1, (weight.shape[1], -1))
    return torch.einsum("blki,gkio->blgko", blocks, weight).flatten(-2) + bias


def each_map(z: Tensor) -> tuple[Tensor, ...]:
    """[B, L, G, N] as G views [B, L, N]: `unbind`, but gradients that lie together already are not copied.

    The kernel of the gated scan leaves them so.
    """
    return _EachMap.apply(z) if fits("block_diagonal", z) else z.unbind(2)


class _EachMap(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> tuple[Tensor, ...]:
        ctx.shape = z.shape
        return z.unbind(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return joined(grads, ctx.shape)


def joined(grads: tuple[Tensor, ...], shape: torch.Size) -> Tensor:
    """Stacked along the third axis, [B, L, G, N]: what they are views of, where they lie together already."""
    whole = grads[0]._base
    if whole is not None and whole.shape == shape and whole.is_contiguous():
        apart = shape[3] * whole.element_size()
        strides = whole.stride()[:2] + whole.stride()[3:]
        first = whole.data_ptr()
        if all(g.data_ptr() == first + n * apart and g.stride() == strides for n, g in enumerate(grads)):
            return whole
    return torch.stack(grads, dim=2)


class _Native(Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        v, weight, bias = v.contiguous(), weight.contiguous(), bias.contiguous()
        ctx.save_for_backward(v, weight)
        z = v.new_empty(*v.shape[:2], *bias.shape)
        call("block_diagonal", "forward", (z, v, weight, bias), v.shape[0] * v.shape[1], *weight.shape)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        v, weight = ctx.saved_tensors
        rows = v.shape[0] * v.shape[1]
        maps, blocks, inputs, outputs = weight.shape
        grad_v = torch.empty_like(v)
        # a sum for each chunk of rows: whoever computes them, they are added up in one order
        chunks = -(-rows // CHUNK), blocks
        grad_weight = v.new_zeros(*chunks, inputs, maps, outputs)
        grad_bias = v.new_zeros(*chunks, maps, outputs)
        operands = (grad_v, grad_z.contiguous(), v, weight, grad_weight, grad_bias)
        call("block_diagonal", "backward", operands, rows, *weight.shape)
        grad_bias = grad_bias.sum(0).transpose(0, 1).flatten(1)
        return grad_v, grad_weight.sum(0).permute(2, 0, 1, 3), grad_bias
