"""Parameters, and multiplications and additions a token, counted without running anything."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness import configuration
from harness.contracts import counting_flops
from harness.errors import HarnessError

log = logging.getLogger("harness")


def build_on_meta(spec: Any, *, vocab_size: int) -> nn.Module:
    """The model without memory for its weights.

    One that cannot be built or run like that is built on the CPU, and a warning says so; counting
    it then costs a real forward pass. Raises: ConfigError, PluginError.
    """
    found = configuration.resolve("models", spec)
    try:
        with torch.device("meta"):
            model = found.cls(found.config, vocab_size=vocab_size)
        _forward(model, length=2)
    except HarnessError:
        raise
    except Exception as error:
        log.warning(
            "%s cannot run on torch's meta device (%s); counting it on the CPU takes longer",
            found.name,
            str(error).partition("\n")[0],
        )
        return found.cls(found.config, vocab_size=vocab_size)
    return model


def count_parameters(model: nn.Module) -> int:
    """Real numbers: shared tensors count once, a complex one counts twice."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())


def flops_per_token(model: nn.Module, length: int) -> float:
    """Multiplications plus additions of a forward pass over `length` tokens, divided by `length`.

    Torch counts matrix products, convolutions and attention (the masked half of its square
    included); to these comes what layers report themselves (`contracts.report_flops`). Elementwise
    work is not counted. Runs on the model's own device.
    """
    with (
        sdpa_kernel(SDPBackend.MATH),  # torch counts nothing in its fused attention on a CPU
        FlopCounterMode(display=False) as counter,
        counting_flops() as reported,
    ):
        _forward(model, length)
    return (counter.get_total_flops() + reported.count) / length


@torch.no_grad()
def _forward(model: nn.Module, length: int) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    model(torch.zeros(1, length, dtype=torch.long, device=device))
