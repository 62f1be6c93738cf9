"""The C++ kernels as differentiable functions of tensors on a CPU.

Shapes: B batch, L length, N channels.
"""

from __future__ import annotations

import ctypes
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.native.call import address, call, reason_against
from models.scan.gates import Gates

_run = partial(call, "scan")

ABSENT_GATE = 100.0
"""A logit whose sigmoid is 1, to rounding."""


def unavailable(device: torch.device) -> str | None:
    """Why this backend cannot be used on a device; None if it can."""
    if device.type != "cpu":
        return "runs on a CPU only"
    return _failure()


@cache
def _failure() -> str | None:
    """Builds, loads and tries the library."""
    reason = reason_against("scan")
    if reason is not None:
        return reason
    a, h = torch.full((1, 2, 1), 0.5), torch.empty(1, 2, 1)
    _run("scan_forward", (a, torch.ones(1, 2, 1), torch.ones(1, 1), h), *_sizes(a), False)
    if h.flatten().tolist() != [1.5, 1.75]:
        return "the built kernel computes wrong results on this machine"
    return None


# ----------------------------------------------------------------------------------- plain scans


def native_scan(a: Tensor, b: Tensor, h0: Tensor, *, reverse: bool = False) -> Tensor:
    """h_t = a_t h_{t-1} + b_t for a, b [B, L, ...] and h0 [B, ...]; backwards in time with `reverse`."""
    return _NativeScan.apply(a, b, h0, reverse)


class _NativeScan(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor, reverse: bool) -> Tensor:
        a, b, h0 = (x.contiguous().resolve_conj().resolve_neg() for x in (a, b, h0))
        h = torch.empty_like(b)
        _run("scan_forward", (a, b, h0, h), *_sizes(a), reverse)
        ctx.save_for_backward(a, h0, h)
        ctx.reverse = reverse
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor | None, ...]:
        a, h0, h = ctx.saved_tensors
        grad_h = grad_h.contiguous().resolve_conj().resolve_neg()
        grad_a, grad_b, grad_h0 = torch.empty_like(a), torch.empty_like(a), torch.empty_like(h0)
        _run("scan_backward", (a, h, h0, grad_h, grad_a, grad_b, grad_h0), *_sizes(a), ctx.reverse)
        return grad_a, grad_b, grad_h0, None


def _sizes(a: Tensor) -> tuple[int, int, int]:
    batch, length = a.shape[:2]
    return batch, length, a[0, 0].numel()


# ----------------------------------------------------------------------------------- gated scans


class _Logits(ctypes.Structure):
    """A gate's logits, [B, L, N] with neighbouring channels; `values` lies on the tensor's memory."""

    _fields_ = (("values", ctypes.c_void_p), ("row", ctypes.c_int64), ("step", ctypes.c_int64))

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits.data_ptr(), logits.stride(0), logits.stride(1))


class _Gated(ctypes.Structure):
    _fields_ = (
        ("x", ctypes.c_void_p),
        ("h0", ctypes.c_void_p),
        ("recurrence", _Logits),
        ("input", _Logits),
        ("log_decay", ctypes.c_void_p),
        ("phase", ctypes.c_void_p),
        ("smallest_scale", ctypes.c_double),
        ("normalize", ctypes.c_int32),
        ("constant", ctypes.c_int32),
    )


class _GatedGradients(ctypes.Structure):
    _fields_ = (
        ("x", ctypes.c_void_p),
        ("h0", ctypes.c_void_p),
        ("recurrence", _Logits),
        ("input", _Logits),
        ("log_decay", ctypes.c_void_p),
        ("phase", ctypes.c_void_p),
    )


def native_gated_scan(x: Tensor, h0: Tensor, gates: Gates) -> Tensor:
    """See `models.scan.gated_scan`; x and h0 are of one type, float32 or float64."""
    return _NativeGatedScan.apply(
        x,
        h0,
        gates.log_decay,
        gates.phase,
        gates.recurrence_logits,
        gates.input_logits,
        gates.normalize,
        gates.largest_slope,
    )


class _NativeGatedScan(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h0: Tensor,
        log_decay: Tensor,
        phase: Tensor | None,
        recurrence_logits: Tensor | None,
        input_logits: Tensor | None,
        normalize: bool,
        largest_slope: float,
    ) -> Tensor:
        x, h0, log_decay = x.contiguous(), h0.contiguous(), log_decay.contiguous()
        phase = None if phase is None else phase.contiguous()
        recurrence = _rows(recurrence_logits, x, log_decay)
        gate = _rows(input_logits, x, log_decay)
        h = torch.empty_like(x)
        ctx.save_for_backward(x, h0, log_decay, phase, recurrence, gate, h)
        ctx.absent = recurrence_logits is None, input_logits is None
        ctx.options = 0.5 / largest_slope, normalize, recurrence_logits is None
        _run(
            "gated_forward",
            (h, _gated(ctx.options, x, h0, log_decay, phase, recurrence, gate)),
            *x.shape[:2],
            log_decay.numel(),
        )
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor | None, ...]:
        x, h0, log_decay, phase, recurrence, gate, h = ctx.saved_tensors
        grad_h = grad_h.contiguous()
        (batch, length), channels = x.shape[:2], log_decay.numel()
        grad_x, grad_h0 = torch.empty_like(x), torch.empty_like(h0)
        # one tensor for both, as the logits themselves mostly are
        both = x.new_empty(batch, length, 2, channels)
        grad_recurrence, grad_gate = (
            x.new_empty(batch, 1, channels).expand(batch, length, channels) if absent else both[:, :, part]
            for part, absent in enumerate(ctx.absent)
        )
        gated = _gated(ctx.options, x, h0, log_decay, phase, recurrence, gate)
        sums = torch.zeros(2, batch, channels, dtype=torch.float64)
        out = _GatedGradients(
            grad_x.data_ptr(),
            grad_h0.data_ptr(),
            _Logits(grad_recurrence),
            _Logits(grad_gate),
            sums[0].data_ptr(),
            sums[1].data_ptr(),
        )
        _run("gated_backward", (h, grad_h, gated, out), batch, length, channels)
        grad_log_decay, grad_phase = sums.sum(dim=1).to(x.dtype)
        absent_recurrence, absent_gate = ctx.absent
        return (
            grad_x,
            grad_h0,
            grad_log_decay,
            None if phase is None else grad_phase,
            None if absent_recurrence else grad_recurrence,
            None if absent_gate else grad_gate,
            None,
            None,
        )


def _rows(logits: Tensor | None, x: Tensor, log_decay: Tensor) -> Tensor:
    """The logits with neighbouring channels; for an absent gate a row that stands for all."""
    if logits is None:
        return torch.full_like(log_decay, ABSENT_GATE).expand(*x.shape[:2], -1)
    return logits if logits.stride(2) == 1 else logits.contiguous()


def _gated(
    options: tuple[float, bool, bool],
    x: Tensor,
    h0: Tensor,
    log_decay: Tensor,
    phase: Tensor | None,
    recurrence: Tensor,
    gate: Tensor,
) -> _Gated:
    return _Gated(
        x.data_ptr(),
        h0.data_ptr(),
        _Logits(recurrence),
        _Logits(gate),
        log_decay.data_ptr(),
        address(phase),
        *options,
    )
