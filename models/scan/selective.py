"""`selective_scan`, Mamba's recurrence, whose step sizes, input and output maps vary in time.

    h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t        y_t = C_t . h_t + D u_t,  times silu(z_t)

Source: Gu and Dao 2023, algorithm 2. A backend computes C_t . h_t; the rest is done here.

Shapes: B batch, L length, D channels, N states a channel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.contracts import report_flops
from models.scan.laned import laned_scan

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Backend(NamedTuple):
    """A way to compute C_t . h_t and the last state, and why it cannot on a device (None: it can)."""

    unavailable: Callable[[torch.device], str | None]
    scan: Scan


def selective_backend_for(device: torch.device | str) -> str:
    """Name of the backend that `selective_scan` uses on this device."""
    device = torch.device(device)
    return next(name for name, backend in _BACKENDS.items() if backend.unavailable(device) is None)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The outputs y [B, L, D] and the last state [B, D, N].

    u, z: [B, L, D]; delta: [B, L, D], positive; A: [D, N], negative; B, C: [B, L, N]; D: [D];
    h0: [B, D, N], zero by default. Differentiable once in all of them. All is computed, and
    returned, in at least float32, also inside `torch.autocast`.

    Raises: ValueError naming the argument and what was expected of it.
    """
    _check(u, A, delta=delta, B=B, C=C, D=D, z=z, h0=h0)
    dtype = torch.promote_types(u.dtype, torch.float32)
    u, delta, A, B, C = (x.to(dtype) for x in (u, delta, A, B, C))
    h0 = u.new_zeros(len(u), *A.shape) if h0 is None else h0.to(dtype)
    # delta A, delta u B, the recurrence and the product with C
    report_flops(6 * u.numel() * A.shape[1])
    if u.shape[1] == 1 or u.device.type == "meta":  # on the meta device shapes are all that counts
        y, last = _single_step(u, delta, A, B, C, h0)
    else:
        y, last = _BACKENDS[selective_backend_for(u.device)].scan(u, delta, A, B, C, h0)
    if D is not None:
        y = torch.addcmul(y, u, D.to(dtype))
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y, last


def _check(u: Tensor, A: Tensor, **others: Tensor | None) -> None:
    if u.ndim != 3 or u.shape[1] == 0 or not u.is_floating_point():
        found = f"{u.dtype} of shape {list(u.shape)}"
        raise ValueError(f"u must be real floating point of shape [B, L, D] with L >= 1, got {found}")
    batch, length, channels = u.shape
    if A.ndim != 2 or len(A) != channels:
        raise ValueError(f"A must have shape [{channels}, N] to go with u, got {list(A.shape)}")
    states = A.shape[1]
    maps, state = [batch, length, states], [batch, channels, states]
    expected = {"D": [channels], "B": maps, "C": maps, "h0": state}
    for name, value in others.items():
        shape = expected.get(name, list(u.shape))
        if value is not None and list(value.shape) != shape:
            raise ValueError(f"{name} must have shape {shape} to go with u and A, got {list(value.shape)}")


def _single_step(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    step = delta[:, 0, :, None]
    h = torch.exp(step * A) * h0 + (step * u[:, 0, :, None]) * B[:, 0, None]
    return (h * C[:, 0, None]).sum(-1).unsqueeze(1).expand_as(u), h


_BACKENDS: dict[str, Backend] = {  # the first available one is used
    "lanes": Backend(lambda device: None, laned_scan),
}
