"""`linear_scan` and `gated_scan`: check their arguments, report their work and pick the backend.

Shapes: B batch, L length, N channels, ... any further axes (channels).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from harness.contracts import only_counted, report_flops
from models.scan import native
from models.scan.chunked import chunked_scan
from models.scan.composed import composed_gated_scan
from models.scan.gates import LARGEST_SLOPE, Gates
from models.scan.triton_gated import triton_gated_scan
from models.scan.triton_scan import triton_linear_scan
from models.scan.triton_support import unavailable as no_triton

_HALF = (torch.bfloat16, torch.float16)
_REAL = (torch.float32, torch.float64, *_HALF)


class LinearScan(Protocol):
    def __call__(self, a: Tensor, b: Tensor, h0: Tensor, *, reverse: bool = False) -> Tensor: ...


class Backend(NamedTuple):
    """A way to compute the scans, and why it cannot on a device (None: it can)."""

    unavailable: Callable[[torch.device], str | None]
    linear: LinearScan
    gated: Callable[[Tensor, Tensor, Gates], Tensor]
    widens: bool = False
    """Whether `gated` takes half-precision inputs as they are and widens them as it loads them."""


def _triton_gated(x: Tensor, h0: Tensor, gates: Gates) -> Tensor:
    return triton_gated_scan(x, h0, **gates._asdict())


_BACKENDS: dict[str, Backend] = {  # the first available one is used
    "triton": Backend(no_triton, triton_linear_scan, _triton_gated, widens=True),
    "native": Backend(native.unavailable, native.native_scan, native.native_gated_scan),
    "chunked": Backend(lambda device: None, chunked_scan, composed_gated_scan),
}


def backends(device: torch.device | str) -> dict[str, str | None]:
    """Every backend, the fastest first, with the reason why it cannot be used on a device, or None."""
    device = torch.device(device)
    return {name: backend.unavailable(device) for name, backend in _BACKENDS.items()}


def backend_for(device: torch.device | str, name: str | None = None) -> str:
    """Name of the backend that scans on this device use: the one asked for, or the fastest there is.

    Raises: ValueError for one that is unknown or cannot be used here, with the reason.
    """
    device = torch.device(device)
    if name is None:
        return next(name for name, backend in _BACKENDS.items() if backend.unavailable(device) is None)
    if name not in _BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(_BACKENDS)}, got {name!r}")
    reason = _BACKENDS[name].unavailable(device)
    if reason is not None:
        raise ValueError(f"the backend {name!r} cannot be used here: {reason}")
    return name


def linear_scan(
    a: Tensor,
    b: Tensor,
    h0: Tensor | None = None,
    *,
    reverse: bool = False,
    backend: str | None = None,
    check: bool = True,
) -> Tensor:
    """All states of the recurrence h_t = a_t h_{t-1} + b_t along the second axis.

    a, b: [B, L, ...], real or complex, L >= 1; they need not be contiguous. h0: [B, ...], zero by
    default. Returns h: [B, L, ...], whose last state is ``h[:, -1]``; with `reverse`, time runs from
    the end, h_t = a_t h_{t+1} + b_t, and the last state is ``h[:, 0]``. Differentiable once in a, b
    and h0. Half-precision inputs are accumulated, and returned, in float32: a state must not lose
    what many small steps add up to. Where work is only counted, the shape is all that is right.

    `check` reads a and b once more, to refuse |a| > 1 and what is not a number. Layers whose decays
    are bounded by construction do without: their numbers break only when a training diverges, which
    is the training's to say.

    Raises: ValueError naming the argument and what was expected of it.
    """
    if not (a.is_complex() or a.dtype in _REAL):
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
    if check and not only_counted(a):
        _require_numbers(b=b, h0=h0)
        largest = a.detach().abs().amax().item()
        if not largest <= 1 + 4 * torch.finfo(a.dtype).eps:
            raise ValueError(f"a must have |a| <= 1 throughout, got {largest:.6g}")

    report_flops((8 if a.is_complex() else 2) * a.numel())
    if only_counted(a):
        return a * b  # right in shape, type and dependence; costs nothing
    return _BACKENDS[backend_for(a.device, backend)].linear(a, b, h0, reverse=reverse)


def gated_scan(
    x: Tensor,
    h0: Tensor | None = None,
    *,
    log_decay: Tensor,
    phase: Tensor | None = None,
    recurrence_logits: Tensor | None = None,
    input_logits: Tensor | None = None,
    normalize: bool = True,
    largest_slope: float = LARGEST_SLOPE,
    backend: str | None = None,
    check: bool = True,
) -> Tensor:
    """All states of the RG-LRU's recurrence, its gates included, along the second axis.

        r = sigmoid(recurrence_logits), i = sigmoid(input_logits), each 1 where absent
        a = exp(r (log_decay + i phase)),  h_t = a_t h_{t-1} + sqrt(1 - |a_t|^2) i_t x_t

    x: [B, L, N], or with a phase [B, L, 2N]: the real parts of all channels, then the imaginary ones;
    h0 [B, N] or [B, 2N] and the result are laid out alike. logits: [B, L, N]; log_decay (negative),
    phase: [N]. The square root is 1 without `normalize`. States, and the result, are at least
    float32. Differentiable once in every tensor. `check`: as for `linear_scan`.

    Sources: De et al. 2024 (Griffin), eq. 1 to 4; its complex form in the recurrentgemma code.
    Raises: ValueError naming the argument and what was expected of it.
    """
    if x.dtype not in _REAL:
        raise ValueError(f"x must be real floating point, got {x.dtype}")
    if x.ndim != 3 or x.shape[1] == 0:
        raise ValueError(f"x must have shape [B, L, N] with L >= 1, got {list(x.shape)}")
    batch, length, width = x.shape
    if log_decay.ndim != 1 or width != log_decay.numel() * (1 if phase is None else 2):
        kind = "real, as there is no phase" if phase is None else "twice as many numbers in x"
        raise ValueError(f"log_decay must have shape [N] ({kind}), got {list(log_decay.shape)} for {width}")
    channels = log_decay.numel()
    if phase is not None and list(phase.shape) != [channels]:
        raise ValueError(f"phase must have shape [{channels}], as log_decay has, got {list(phase.shape)}")
    for name, logits in (("recurrence_logits", recurrence_logits), ("input_logits", input_logits)):
        if logits is not None and list(logits.shape) != [batch, length, channels]:
            raise ValueError(f"{name} must have shape {[batch, length, channels]}, got {list(logits.shape)}")
    if h0 is not None and list(h0.shape) != [batch, width]:
        raise ValueError(f"h0 must have shape {[batch, width]} to go with x, got {list(h0.shape)}")
    dtype = torch.promote_types(x.dtype, torch.float32)
    wide = [value.to(dtype) if value is not None else None for value in (log_decay, phase)]
    h0 = x.new_zeros(batch, width, dtype=dtype) if h0 is None else h0.to(dtype)
    assert wide[0] is not None
    if check and not only_counted(x):
        _require_numbers(
            x=x, h0=h0, phase=phase, recurrence_logits=recurrence_logits, input_logits=input_logits
        )
        largest = log_decay.detach().amax().item()
        if not largest <= 0:
            raise ValueError(f"log_decay must not be above 0, got {largest:.6g}")

    report_flops((8 if phase is not None else 2) * batch * length * channels)
    if only_counted(x):
        return x.to(dtype).clone()  # right in shape and type; costs nothing
    chosen = _BACKENDS[backend_for(x.device, backend)]
    if not chosen.widens:
        x = x.to(dtype)
        recurrence_logits, input_logits = (
            None if z is None else z.to(dtype) for z in (recurrence_logits, input_logits)
        )
    gates = Gates(wide[0], wide[1], recurrence_logits, input_logits, normalize, largest_slope)
    return chosen.gated(x, h0, gates)


def _require_numbers(**tensors: Tensor | None) -> None:
    for name, value in tensors.items():
        if value is not None and value.detach().isnan().any():
            raise ValueError(f"{name} must be numbers, got NaN in its {list(value.shape)}")


def _require_like(name: str, value: Tensor, a: Tensor, shape: list[int]) -> None:
    if list(value.shape) != shape:
        raise ValueError(f"{name} must have shape {shape} to go with a, got {list(value.shape)}")
    if value.dtype != a.dtype or value.device != a.device:
        raise ValueError(
            f"{name} must be {a.dtype} on {a.device}, as a is, got {value.dtype} on {value.device}"
        )
