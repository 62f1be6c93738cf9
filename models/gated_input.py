"""What an RG-LRU's recurrence reads: v = W u + b, and the logits of its gates, block-diagonal maps of v.

Fused, some rows at a time are mapped and read by the gates while they are in the caches.

Shapes: B batch, L length, D width, H width of v, G gates, N channels, K blocks.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.block_diagonal import LARGEST, block_diagonal, each_map, joined
from models.native.call import MULTIPLE, call, fits


def gated_input(u: Tensor, linear: nn.Linear, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """u: [B, L, D]; weight: [G, K, H/K, N/K]; bias: [G, N].

    Returns v: [B, L, H], and the logits of each gate: [B, L, N].
    On a CPU by a kernel where there is a compiler and the widths fill its vectors.
    """
    gates, _, inputs, outputs = weight.shape
    fills = linear.in_features % MULTIPLE == linear.out_features % MULTIPLE == 0
    known = u.dtype == linear.weight.dtype == weight.dtype and max(inputs, gates * outputs) <= LARGEST
    if not (fills and known and fits("gated_input", u)):
        v = linear(u)
        return v, *each_map(block_diagonal(v, weight, bias))
    return _Native.apply(u, linear.weight, linear.bias, weight, bias)


class _Native(Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, linear: Tensor, linear_bias: Tensor, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, ...]:
        u, linear, weight = u.contiguous(), linear.contiguous(), weight.contiguous()
        v = u.new_empty(*u.shape[:2], len(linear))
        z = u.new_empty(*u.shape[:2], *bias.shape)
        operands = (v, z, u, linear, linear_bias.contiguous(), weight, bias.contiguous())
        call("gated_input", "forward", operands, *_sizes(u, weight))
        ctx.save_for_backward(u, v, linear, weight)
        ctx.logits = z.shape
        return v, *z.unbind(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_v: Tensor, *grads: Tensor) -> tuple[Tensor, ...]:
        u, v, linear, weight = ctx.saved_tensors
        maps, blocks, inputs, outputs = weight.shape
        parts = linear.numel(), len(linear), weight.numel(), maps * blocks * outputs
        rows, *sizes = _sizes(u, weight)
        grad_u, grads_of_weights = u.new_empty(u.shape), u.new_empty(sum(parts))
        grad_z = joined(grads, ctx.logits)
        operands = (grad_u, grads_of_weights, grad_v.contiguous(), grad_z, u, v, linear, weight)
        call("gated_input", "backward", operands, rows, *sizes)
        of_linear, of_linear_bias, of_weight, of_bias = grads_of_weights.split(parts)
        return (
            grad_u,
            of_linear.view(linear.shape),
            of_linear_bias,
            of_weight.view(blocks, inputs, maps, outputs).permute(2, 0, 1, 3),
            of_bias.view(blocks, maps, outputs).transpose(0, 1).flatten(1),
        )


def _sizes(u: Tensor, weight: Tensor) -> tuple[int, ...]:
    return u.shape[0] * u.shape[1], u.shape[2], *weight.shape
