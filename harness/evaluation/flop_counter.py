"""Counts multiplications and additions while something runs, or is followed on the meta device."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop

from harness.contracts import counting_flops

aten = torch.ops.aten

FORMULAS = {**flop_registry, aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop}
"""Torch's own, of matrix products, convolutions and attention, and one for the kernel that it forgot."""


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
        formula = FORMULAS.get(func._overloadpacket)
        if formula is None and torch.is_inference_mode_enabled():
            with self:  # an operation made of others, which only come apart here in this mode
                if (result := func.decompose(*args, **kwargs)) is not NotImplemented:
                    return result
        result = func(*args, **kwargs)
        if formula is not None:
            self.count += formula(*args, **kwargs, out_val=result)
        return result
