"""Parameters, and multiplications and additions a token, counted without running anything."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from harness import configuration
from harness.contracts import counting_flops
from harness.errors import HarnessError

log = logging.getLogger("harness")

_with_memory: WeakKeyDictionary[nn.Module, Callable[[], nn.Module]] = WeakKeyDictionary()
"""How to build a model again, on the CPU, that was built on the meta device."""


def build_on_meta(spec: Any, *, vocab_size: int) -> nn.Module:
    """The model without memory for its weights; with it, and a warning, where that cannot be.

    Raises: ConfigError, PluginError
    """
    found = configuration.resolve("models", spec)

    def build() -> nn.Module:
        return found.cls(found.config, vocab_size=vocab_size)

    try:
        with torch.device("meta"), _WithoutDrawing():
            model = build()
    except HarnessError:
        raise
    except Exception as error:
        _warn(found.name, error)
        return build()
    _with_memory[model] = build
    return model


class _WithoutDrawing(TorchFunctionMode):
    """Leaves out drawing initial values on the meta device, where there are none.

    Torch would work out there what drawing does, in Python that takes two seconds to import.
    """

    DRAWS = (Tensor.uniform_, Tensor.normal_, Tensor.exponential_, Tensor.bernoulli_, Tensor.erfinv_)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.DRAWS and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def count_parameters(model: nn.Module) -> int:
    """Real numbers: shared tensors count once, a complex one counts twice."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())


def flops_per_token(model: nn.Module, length: int) -> float:
    """Multiplications plus additions of a forward pass over `length` tokens, divided by `length`.

    Torch counts matrix products, convolutions and attention (the masked half of its square
    included); to these comes what layers report themselves (`contracts.report_flops`). Elementwise
    work is not counted. Runs on the model's own device; one from `build_on_meta` whose forward pass
    needs values is built and run on the CPU, and a warning says so.
    """
    try:
        return _count(model, length)
    except HarnessError:
        raise
    except Exception as error:
        if model not in _with_memory:
            raise
        _warn(type(model).__name__, error)
        return _count(_with_memory[model](), length)


@torch.no_grad()
def _count(model: nn.Module, length: int) -> float:
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    with (
        sdpa_kernel(SDPBackend.MATH),  # torch counts nothing in its fused attention on a CPU
        FlopCounterMode(display=False) as counter,
        counting_flops() as reported,
    ):
        model(torch.zeros(1, length, dtype=torch.long, device=device))
    return (counter.get_total_flops() + reported.count) / length


def _warn(name: str, error: Exception) -> None:
    reason = str(error).partition("\n")[0]
    log.warning("%s does not work on torch's meta device (%s); counting it takes a real run", name, reason)
