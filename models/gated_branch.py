"""The gated branch of a residual block, from its normed input to its sum with the block's input.

    x + W_o (y GELU(W_g u + b_g)) + b_o,   where y is given or W_l u + b_l

Fused, some rows at a time go through all products while they are in the caches, and a block is one
operation instead of ten.

Shapes: B batch, L length, D width, M width of the branch.
"""

from __future__ import annotations

from math import prod
from typing import Any

from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.native.call import MULTIPLE, call, fits

LARGEST = 256
"""Width beyond which weights and rows do not fit into the caches together."""


def fits_gated_branch(u: Tensor, gate: nn.Linear, output: nn.Linear, y: Tensor | None = None) -> bool:
    """Whether the kernel can compute this branch: on a CPU, all in one full precision, with biases and
    with widths that fill its vectors."""
    widths = gate.in_features, gate.out_features
    if any(width % MULTIPLE or width > LARGEST for width in widths):
        return False
    operands = (gate.weight, gate.bias, output.weight, output.bias, u if y is None else y)
    alike = all(operand is not None and operand.dtype == u.dtype for operand in operands)
    return alike and fits("gated_branch", u)


def gated_branch(
    u: Tensor,
    gate: nn.Linear,
    output: nn.Linear,
    *,
    layer: nn.Linear | None = None,
    y: Tensor | None = None,
    x: Tensor | None = None,
) -> Tensor:
    """u, x (if it is added) and the result: [..., D]; y: [..., M], or `layer` that finds it from u.

    Of widths, types and devices that `fits_gated_branch` says yes to. GELU is of the tanh form.
    """
    weights = (gate.weight, gate.bias, output.weight, output.bias)
    own = (None, None) if layer is None else (layer.weight, layer.bias)
    return _Native.apply(x, u, y, *own, *weights)


class _Native(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor | None, u: Tensor, y: Tensor | None, *weights: Tensor | None) -> Tensor:
        layer, layer_bias, gate, gate_bias, output, output_bias = (
            None if w is None else w.contiguous() for w in weights
        )
        assert gate is not None
        x, u = None if x is None else x.contiguous(), u.contiguous()
        g = u.new_empty(*u.shape[:-1], len(gate))
        given = y is not None
        y = y.contiguous() if y is not None else g.new_empty(g.shape)
        out = u.new_empty(u.shape)
        operands = (out, y, g, x, u, layer, layer_bias, gate, gate_bias, output, output_bias)
        call("gated_branch", "forward", operands, *_sizes(u, g))
        ctx.save_for_backward(u, y, g, layer, gate, output)
        ctx.given, ctx.added = given, x is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, y, g, layer, gate, output = ctx.saved_tensors
        grad = grad.contiguous()
        rows, width, branch = _sizes(u, g)
        parts = (branch, width), (branch,), (branch, width), (branch,), (width, branch), (width,)
        counts = [prod(shape) for shape in parts]
        grads = u.new_empty(sum(counts))
        grad_u, grad_y = u.new_empty(u.shape), y.new_empty(y.shape) if ctx.given else None
        operands = (grad_u, grad_y, grads, grad, u, y, g, layer, gate, output)
        call("gated_branch", "backward", operands, rows, width, branch)
        found: list[Tensor | None] = [
            part.view(shape) for part, shape in zip(grads.split(counts), parts, strict=True)
        ]
        if ctx.given:
            found[:2] = None, None
        return grad if ctx.added else None, grad_u, grad_y, *found


def _sizes(u: Tensor, g: Tensor) -> tuple[int, int, int]:
    return u.shape[:-1].numel(), u.shape[-1], g.shape[-1]
