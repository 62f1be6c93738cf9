"""Activations that are computed again in the backward pass, so that they need not be kept for it.

A part of a network keeps its inputs alone, and runs once more when its gradients are wanted (Chen et
al. 2016, "Training deep nets with sublinear memory cost"): one more forward pass for the memory of
all parts but one. A recurrent network can be cut in time as well: what a chunk needs of those
before it is their state.

Shapes: B batch, L length, C steps of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harness.contracts import State
from models.state import map_tensors, tensors_of


def recomputed(call: Callable[..., Any], *inputs: State) -> Any:
    """call(*inputs), exact in value and gradient; random numbers are the same ones the second time."""
    if not torch.is_grad_enabled():
        return call(*inputs)

    def from_tensors(*tensors: Tensor) -> Any:
        left = iter(tensors)
        return call(*map_tensors(lambda _: next(left), inputs))

    return checkpoint(from_tensors, *tensors_of(inputs), use_reentrant=False)


def recomputed_in_chunks(
    resume: Callable[[Tensor, State], tuple[Tensor, State]], x: Tensor, state: State, length: int
) -> Tensor:
    """All outputs of resume(x, state) for x [B, L, ...], found in chunks of `length` steps.

    Kept for the backward pass are the states between chunks: memory O(C + L/C times the state).
    """
    outputs = []
    for chunk in x.split(length, dim=1):
        y, state = recomputed(resume, chunk, state)
        outputs.append(y)
    return torch.cat(outputs, dim=1)
