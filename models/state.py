"""What layers carry from step to step: tensors in any nesting of tuples, lists and dicts.

Shapes: B batch, L length, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from harness.contracts import State


def map_tensors(function: Callable[[Tensor], Tensor], state: State) -> State:
    """The same nesting around what the function makes of each tensor; all else stays as it is."""
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, dict):
        return {key: map_tensors(function, part) for key, part in state.items()}
    if isinstance(state, list | tuple):
        parts = [map_tensors(function, part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    return state


def tensors_of(state: State) -> list[Tensor]:
    """All tensors, in the order in which `map_tensors` meets them."""
    found: list[Tensor] = []
    map_tensors(lambda tensor: found.append(tensor) or tensor, state)  # type: ignore[func-returns-value]
    return found


def resume(layer: Any, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Continue a layer for the steps of Float[B, L, D].

    The state that comes back keeps no more memory than its own: a layer may return the last step of
    all that it has computed as a view, which would keep the rest.
    """
    y, state = layer.resume(x, state)
    return y, map_tensors(_owned, state)


def _owned(tensor: Tensor) -> Tensor:
    own = tensor.numel() * tensor.element_size()
    return tensor.clone() if tensor.untyped_storage().nbytes() > own else tensor
