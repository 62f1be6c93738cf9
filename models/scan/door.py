"""`linear_scan`: checks its arguments, reports its work and picks the backend.

Shapes: B batch, L length, ... any further axes (channels).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from harness.contracts import report_flops
from models.scan.chunked import chunked_scan

_HALF = (torch.bfloat16, torch.float16)


class Backend(NamedTuple):
    """A way to compute the scan, and whether it can on a device."""

    scan: Callable[[Tensor, Tensor, Tensor], Tensor]
    available: Callable[[torch.device], bool]


_BACKENDS: dict[str, Backend] = {  # the first available one is used
    "chunked": Backend(chunked_scan, lambda device: True),
}


def backend_for(device: torch.device | str) -> str:
    """Name of the backend that `linear_scan` uses on this device."""
    device = torch.device(device)
    return next(name for name, backend in _BACKENDS.items() if backend.available(device))


def linear_scan(a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
    """All states of the recurrence h_t = a_t h_{t-1} + b_t along the second axis.

    a, b: [B, L, ...], real or complex, L >= 1; they need not be contiguous. h0: [B, ...], zero by
    default. Returns h: [B, L, ...], whose last state is ``h[:, -1]``. Differentiable once in a, b
    and h0. Half-precision inputs are accumulated, and returned, in float32: a state must not lose
    what many small steps add up to. On the meta device only the shape is computed.

    Raises: ValueError naming the argument and what was expected of it.
    """
    if not (a.is_floating_point() or a.is_complex()):
        raise ValueError(f"a must be real or complex floating point, got {a.dtype}")
    if a.ndim < 2 or a.shape[1] == 0:
        raise ValueError(f"a must have shape [B, L, ...] with L >= 1, got {list(a.shape)}")
    _require_like("b", b, a, list(a.shape))
    if a.dtype in _HALF:
        a, b = a.float(), b.float()
    if h0 is None:
        h0 = b.new_zeros(b[:, 0].shape)
    elif h0.dtype in _HALF:
        h0 = h0.float()
    _require_like("h0", h0, a, list(a[:, 0].shape))

    report_flops((8 if a.is_complex() else 2) * a.numel())
    if a.device.type == "meta":
        return a * b  # right in shape, type and dependence; costs nothing
    return _BACKENDS[backend_for(a.device)].scan(a, b, h0)


def _require_like(name: str, value: Tensor, a: Tensor, shape: list[int]) -> None:
    if list(value.shape) != shape:
        raise ValueError(f"{name} must have shape {shape} to go with a, got {list(value.shape)}")
    if value.dtype != a.dtype or value.device != a.device:
        raise ValueError(
            f"{name} must be {a.dtype} on {a.device}, as a is, got {value.dtype} on {value.device}"
        )
