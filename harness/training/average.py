"""The averaged copy of the weights that every evaluation uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """A detached copy of every parameter by name; a shared parameter appears once."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@torch.no_grad()
def move_average(average: list[Tensor], weights: list[Tensor], decay: float) -> None:
    """average <- decay * average + (1 - decay) * weights, in place, in the same order.

    Interpolated from the average's side, so that a weight that does not move is left bit-identical.
    """
    torch._foreach_lerp_(average, weights, 1.0 - decay)


@contextmanager
def evaluating(model: nn.Module, weights: Mapping[str, Tensor] | None = None) -> Iterator[nn.Module]:
    """The model in evaluation mode and with these weights inside the block, as it was after it."""
    was_training = {module: module.training for module in model.modules()}
    own = copy_weights(model) if weights else {}
    load_weights(model, weights or {})
    try:
        yield model.eval()
    finally:
        load_weights(model, own)
        for module, training in was_training.items():
            module.training = training


@torch.no_grad()
def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies values into the parameters of these names, which stay the same tensors."""
    parameters = dict(model.named_parameters())
    for name, value in weights.items():
        parameters[name].copy_(value)
