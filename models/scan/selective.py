"""`selective_scan`, Mamba's recurrence, whose step sizes, input and output maps vary in time.

    h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t        y_t = C_t . h_t + D u_t,  times silu(z_t)

Source: Gu and Dao 2023, algorithm 2. It checks its arguments, reports its work and picks the backend:

    mamba-ssm   the authors' CUDA kernel, where their package is installed
    triton      our kernel for CUDA
    native      our kernel for a CPU with a C++ compiler
    lanes       plain torch, on any device

Shapes: B batch, L length, D channels, N states a channel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.contracts import only_counted, report_flops
from models.scan.choice import choose
from models.scan.laned import laned_scan
from models.scan.native_selective import native_selective_scan
from models.scan.native_selective import unavailable as no_native
from models.scan.official_mamba import no_selective_scan, official_selective_scan
from models.scan.triton_selective import triton_selective_scan
from models.scan.triton_support import unavailable as no_triton


class Operands(NamedTuple):
    """What a backend is given; without bias delta is the step size, else softplus(delta + bias) is."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    bias: Tensor | None
    h0: Tensor | None


class Backend(NamedTuple):
    """A way to compute y and the last state, and why it cannot on a device (None: it can)."""

    unavailable: Callable[[torch.device], str | None]
    scan: Callable[..., tuple[Tensor, Tensor]]
    double: bool = True
    """Whether it computes in float64, too."""


def selective_backends(device: torch.device | str) -> dict[str, str | None]:
    """Every backend, the first choice first, with the reason why it cannot be used on a device, or None."""
    device = torch.device(device)
    return {name: backend.unavailable(device) for name, backend in _BACKENDS.items()}


def selective_backend_for(
    device: torch.device | str, name: str | None = None, dtype: torch.dtype = torch.float32
) -> str:
    """Name of the backend that `selective_scan` uses: the one asked for, or the first that can.

    Raises: ValueError for one that is unknown or cannot be used here, with the reason.
    """
    reasons = selective_backends(device)
    if dtype == torch.float64:
        reasons |= {name: "it computes in float32" for name, known in _BACKENDS.items() if not known.double}
    return choose(reasons, name)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    h0: Tensor | None = None,
    *,
    delta_bias: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The outputs y [B, L, D] and the last state [B, D, N].

    u, z: [B, L, D]; delta: [B, L, D], positive, or with a bias anything, the step size then being
    softplus(delta + delta_bias); A: [D, N], negative; B, C: [B, L, N]; D, delta_bias: [D]; h0:
    [B, D, N], zero by default. Differentiable once in all of them (of mamba-ssm's last state: only
    where h0 is given). All is computed, and returned, in at least float32, also inside
    `torch.autocast`.

    Raises: ValueError naming the argument and what was expected of it, or the backend that is missing.
    """
    _check(u, A, delta=delta, B=B, C=C, D=D, z=z, h0=h0, delta_bias=delta_bias)
    # delta A, delta u B, the recurrence and the product with C
    report_flops(6 * u.numel() * A.shape[1])
    operands = Operands(u, delta, A, B, C, D, z, delta_bias, h0)
    if only_counted(u):  # where shapes are all that counts
        return _in_torch(_single_step, operands)
    chosen = _BACKENDS[selective_backend_for(u.device, backend, torch.promote_types(u.dtype, A.dtype))]
    if u.shape[1] == 1:  # nothing to scan
        return _in_torch(_single_step, operands)
    y, last = chosen.scan(*operands)
    return y.to(last.dtype), last


def _check(u: Tensor, A: Tensor, **others: Tensor | None) -> None:
    if u.ndim != 3 or u.shape[1] == 0 or not u.is_floating_point():
        found = f"{u.dtype} of shape {list(u.shape)}"
        raise ValueError(f"u must be real floating point of shape [B, L, D] with L >= 1, got {found}")
    batch, length, channels = u.shape
    if A.ndim != 2 or len(A) != channels:
        raise ValueError(f"A must have shape [{channels}, N] to go with u, got {list(A.shape)}")
    states = A.shape[1]
    row, maps, state = [channels], [batch, length, states], [batch, channels, states]
    expected = {"D": row, "delta_bias": row, "B": maps, "C": maps, "h0": state}
    for name, value in others.items():
        shape = expected.get(name, list(u.shape))
        if value is not None and list(value.shape) != shape:
            raise ValueError(f"{name} must have shape {shape} to go with u and A, got {list(value.shape)}")


Recurrence = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""u, step sizes, A, B, C and h0, all of one type -> C_t . h_t and the last state."""


def _in_torch(recurrence: Recurrence, operands: Operands) -> tuple[Tensor, Tensor]:
    """All around a recurrence that is given one type, in at least float32."""
    u, delta, A, B, C, D, z, bias, h0 = operands
    dtype = torch.promote_types(torch.promote_types(u.dtype, A.dtype), torch.float32)
    u, delta, A, B, C = (x.to(dtype) for x in (u, delta, A, B, C))
    step = delta if bias is None else F.softplus(delta + bias.to(dtype))
    h0 = u.new_zeros(len(u), *A.shape) if h0 is None else h0.to(dtype)
    y, last = recurrence(u, step, A, B, C, h0)
    y = y if D is None else torch.addcmul(y, u, D.to(dtype))
    return (y if z is None else y * F.silu(z.to(dtype))), last


def _native(*operands: Tensor | None) -> tuple[Tensor, Tensor]:
    return _in_torch(native_selective_scan, Operands(*operands))  # type: ignore[arg-type]


def _lanes(*operands: Tensor | None) -> tuple[Tensor, Tensor]:
    return _in_torch(laned_scan, Operands(*operands))  # type: ignore[arg-type]


def _single_step(
    u: Tensor, step: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    size = step[:, 0, :, None]
    h = torch.exp(size * A) * h0 + (size * u[:, 0, :, None]) * B[:, 0, None]
    return (h * C[:, 0, None]).sum(-1).unsqueeze(1).expand_as(u), h


_BACKENDS: dict[str, Backend] = {  # the first available one is used
    "mamba-ssm": Backend(no_selective_scan, official_selective_scan, double=False),
    "triton": Backend(no_triton, triton_selective_scan),
    "native": Backend(no_native, _native),
    "lanes": Backend(lambda device: None, _lanes),
}
