"""Copying the authors' arrays into a model of ours, and ours into their naming and layout."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import HarnessError
from models.original.arrays import arrays_of


def load_original(model: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Copies the authors' parameters into ours, keeping the precision of ours.

    Raises: HarnessError naming the arrays that are missing, left over, or of another shape.
    """
    correspondence = {theirs: (ours, read) for theirs, ours, read in arrays_of(model)}
    missing, extra = correspondence.keys() - arrays.keys(), arrays.keys() - correspondence.keys()
    if missing or extra:
        raise HarnessError(
            f"these are not the weights of this {type(model).__name__}: "
            f"missing {_some(missing)}; not used {_some(extra)}"
        )
    parameters = dict(model.named_parameters())
    values = {name: torch.empty(p.numel(), dtype=p.dtype) for name, p in parameters.items()}
    fills = {name: torch.zeros(p.numel(), dtype=torch.long) for name, p in parameters.items()}
    for theirs, (ours, read) in correspondence.items():
        shape = parameters[ours].shape
        position = read(torch.arange(shape.numel()).view(shape))  # in ours, of each element of theirs
        array = torch.as_tensor(np.asarray(arrays[theirs]), dtype=values[ours].dtype)
        if array.shape != position.shape:
            raise HarnessError(
                f"{theirs} has shape {list(array.shape)}; "
                f"this {type(model).__name__} needs {list(position.shape)}"
            )
        values[ours][position.flatten()] = array.flatten()
        fills[ours][position.flatten()] += 1
    unfilled = {name for name, count in fills.items() if not bool((count == 1).all())}
    if unfilled:
        raise HarnessError(f"the original has no weights for {_some(unfilled)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name].view(parameter.shape))


def to_original(model: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by our parameters' names (weights, gradients, averages) under the authors' names and layout."""
    return {theirs: read(values[ours]) for theirs, ours, read in arrays_of(model)}


def _some(names: set[str]) -> str:
    shown = sorted(names)[:5]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if shown else "none"
