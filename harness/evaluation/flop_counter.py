"""Counts multiplications and additions while something runs, or is followed on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from math import prod
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.contracts import counting_flops

aten = torch.ops.aten

Formula = Callable[..., int]
"""Of an operation's arguments, and its result as `out_val`."""


def _product(left: Tensor, right: Tensor, *_: Any, out_val: Tensor) -> int:
    """(…, M, K) by (…, K, N)."""
    return 2 * out_val.numel() * left.shape[-1]


def _product_and_sum(added: Tensor, left: Tensor, right: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    return _product(left, right, out_val=out_val)


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool = False,
    *_: Any,
    out_val: Tensor,
    **__: Any,
) -> int:
    """Every tap of the kernel at every place of the output, of the input where it is transposed."""
    places = prod((x if transposed else out_val).shape[2:])
    return 2 * len(x) * places * weight.numel()


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """The whole square, its masked half included: (B, H, Q, D) by (B, H, K, D), and by (B, H, K, E)."""
    return 2 * prod(query.shape[:3]) * key.shape[2] * (query.shape[3] + value.shape[3])


FORMULAS: dict[Any, Formula] = {
    aten.mm: _product,
    aten.bmm: _product,
    aten.addmm: _product_and_sum,
    aten.baddbmm: _product_and_sum,
    aten.convolution: _convolution,
    aten._convolution: _convolution,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
    aten._scaled_dot_product_cudnn_attention: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}
"""What nearly all models are made of. Torch has the same formulas, and imports Triton with them: a third of
the time, and of the memory, of planning a suite."""

RARE = ("attention", "conv", "_mm")
"""In the names of the other operations that torch has formulas for."""


def formula_of(operation: Any) -> Formula | None:
    """How an operation is counted; None: it is not."""
    if operation in FORMULAS:
        return FORMULAS[operation]
    if any(word in operation.__name__ for word in RARE):
        from torch.utils.flop_counter import flop_registry

        return flop_registry.get(operation)
    return None


class FlopCounter:
    """``with FlopCounter() as counter: model(tokens)``, then `counter.total`.

    Torch's formulas (the masked half of attention's square included) and what layers report
    themselves (`contracts.report_flops`); elementwise work is not counted.
    """

    def __init__(self) -> None:
        self._products = _Products()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._reported = self._stack.enter_context(counting_flops())
        self._stack.enter_context(self._products)
        return self

    def __exit__(self, *reason: Any) -> None:
        self._stack.close()

    @property
    def total(self) -> float:
        return self._products.count + self._reported.count


class _Products(TorchDispatchMode):
    """torch.utils.flop_counter.FlopCounterMode, without the import of torch's compiler (two seconds)."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nobody compiles while counting

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = formula_of(func._overloadpacket)
        if formula is None and torch.is_inference_mode_enabled():
            with self:  # an operation made of others, which only come apart here in this mode
                if (result := func.decompose(*args, **kwargs)) is not NotImplemented:
                    return result
        result = func(*args, **kwargs)
        if formula is not None:
            self.count += formula(*args, **kwargs, out_val=result)
        return result
