"""What the recurrent mixers share: the decay on a ring, its normaliser, and the state's bookkeeping.

Shapes: B batch, L length, D width, N channels of the state (N = hidden/2 when they are complex).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from harness.contracts import State, require
from models.scan import linear_scan


@dataclass(frozen=True, kw_only=True)
class RingConfig:
    """A diagonal recurrence whose decays start on a ring |a| in [min_radius, max_radius] (Orvieto et al.)."""

    hidden: int | None = None
    """Real numbers in the state of one sequence; null: twice the width."""
    complex: bool = True
    """Complex decays, two real numbers a channel; else real ones."""
    c: float = 8.0
    """Factor on log |a|."""
    min_radius: float = 0.9
    max_radius: float = 0.99
    max_phase: float = 0.1
    """Largest initial arg a, as a fraction of pi."""
    adaptive_phase: bool = False
    """Multiply the initial phases by the number of samples between two steps of the level."""
    normalize_input: bool = True
    """Scale the input by sqrt(1 - |a|^2), which keeps the state's variance."""

    def __post_init__(self) -> None:
        require(self.hidden is None or self.hidden >= 1, "hidden", "must be at least 1, or null")
        even = not self.complex or self.hidden is None or self.hidden % 2 == 0
        require(even, "hidden", f"must be even for complex channels, got {self.hidden}")
        require(self.c > 0, "c", f"must be above 0, got {self.c}")
        require(0 < self.min_radius < 1, "min_radius", f"must lie in (0, 1), got {self.min_radius}")
        upper = self.min_radius <= self.max_radius < 1
        require(upper, "max_radius", f"must lie in [min_radius, 1), got {self.max_radius}")
        require(self.max_phase >= 0, "max_phase", f"must not be negative, got {self.max_phase}")


class RingDecay(nn.Module):
    """The parameters of the decay: log |a| = -c softplus(rate), arg a = phase; both of shape [N]."""

    def __init__(self, config: RingConfig, channels: int, stride: int) -> None:
        super().__init__()
        self.c = config.c
        squares = config.min_radius**2, config.max_radius**2
        log_radius = 0.5 * torch.log(torch.empty(channels).uniform_(*squares) + 1e-8)
        self.rate = nn.Parameter(torch.log(torch.expm1(-log_radius)))  # softplus(rate) = -log radius
        self.phase = None
        if config.complex:
            largest = math.pi * config.max_phase * (stride if config.adaptive_phase else 1)
            self.phase = nn.Parameter(torch.empty(channels).uniform_(0, largest))

    def forward(self) -> tuple[Tensor, Tensor | None]:
        """(log |a|, arg a or None), at least in float32."""
        dtype = accumulation_dtype(self.rate.dtype)
        phase = None if self.phase is None else self.phase.to(dtype)
        return -self.c * F.softplus(self.rate.to(dtype)), phase


def recurrence(
    x: Tensor,
    state: Tensor | None,
    *,
    log_decay: Tensor,
    phase: Tensor | None = None,
    gain: Tensor | None = None,
    normalize: bool = True,
) -> Tensor:
    """h_t = a_t h_{t-1} + sqrt(1 - |a_t|^2) gain_t x_t with a = exp(log_decay + i phase).

    x: [B, L, N], or with a phase [B, L, 2N]: real parts of all channels, then imaginary ones.
    log_decay (negative), phase, gain: broadcast to [B, L, N]. state: [B, N]. Returns h: [B, L, N].
    """
    x = x.to(log_decay.dtype)
    if normalize:
        scale = _InputScale.apply(log_decay)
        gain = scale if gain is None else gain * scale
    if phase is None:
        a = torch.exp(log_decay)
        b = x if gain is None else gain * x
    else:
        a = _ComplexExponential.apply(log_decay, phase)
        real, imaginary = x.unflatten(-1, (2, -1)).unbind(-2)
        if gain is not None:
            real, imaginary = gain * real, gain * imaginary
        b = torch.complex(real, imaginary)
    return linear_scan(a.expand_as(b), b, state)


def as_real(h: Tensor) -> Tensor:
    """Complex [..., N] as real [..., 2N], each channel's parts side by side (no copy); real as it is."""
    return torch.view_as_real(h).flatten(-2) if h.is_complex() else h


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """States and decays are never held in less than float32."""
    return torch.promote_types(dtype, torch.float32)


class _InputScale(Function):
    """sqrt(1 - |a|^2) of log |a|, with d sqrt bounded by 200 where |a| nears 1.

    -expm1(2 log |a|) instead of 1 - |a|^2 keeps every digit there; the latter cancels, and can
    even turn negative in float32.
    """

    LARGEST_SLOPE = 200.0

    @staticmethod
    def forward(ctx: Any, log_decay: Tensor) -> Tensor:
        scale = torch.expm1(2 * log_decay).neg_().sqrt_()
        ctx.save_for_backward(scale)
        return scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (scale,) = ctx.saved_tensors
        # d(1 - |a|^2) / d log |a| = -2 |a|^2, and d sqrt(s^2) / d(s^2) = 1 / (2 s)
        slope = 0.5 / scale.clamp(min=0.5 / _InputScale.LARGEST_SLOPE)
        return grad * slope * (2 * (scale * scale - 1))


class _ComplexExponential(Function):
    """exp(log_magnitude + i phase); torch.exp of a complex tensor takes three times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, log_magnitude: Tensor, phase: Tensor) -> Tensor:
        magnitude = torch.exp(log_magnitude)
        a = torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))
        ctx.save_for_backward(a)
        return a

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (a,) = ctx.saved_tensors
        product = grad * a.conj()
        return product.real, product.imag


class RecurrentMixer(nn.Module):
    """A mixer that is one recurrence: everything follows from `resume`."""

    channels: int
    complex: bool

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, L, D] from a state [B, N] (None: the start) -> Float[B, L, D] and the last state."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.resume(x, None)[0]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.resume(x.unsqueeze(1), state)
        return y.squeeze(1), state

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, self.channels, dtype=self._dtype, device=self._like.device)

    def state_size(self, batch_size: int, length: int) -> int:
        return batch_size * self.channels * self._dtype.itemsize

    @property
    def _like(self) -> Tensor:
        return next(self.parameters())

    @property
    def _dtype(self) -> torch.dtype:
        real = accumulation_dtype(self._like.dtype)
        return real.to_complex() if self.complex else real
