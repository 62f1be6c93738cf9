"""What the recurrent mixers share: the decay on a ring and the state's bookkeeping.

A state is real, [B, H]; when its channels are complex, all real parts come first, then all
imaginary ones.

Shapes: B batch, L length, D width, H hidden, N channels of the state (H/2 when they are complex).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State, require
from models.scan import backend_for


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
    ring_of: Literal["base", "decay"] = "base"
    """What starts on the ring: |a| before the factor c is applied (the authors' code), or |a| itself,
    at an open gate (the papers: Orvieto et al.; De et al. 2024, section 2.4)."""
    normalize_input: bool = True
    """Scale the input by sqrt(1 - |a|^2), which keeps the state's variance."""
    scan: str | None = None
    """Backend of the scan; null: the fastest that this device has."""

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
        if config.ring_of == "decay":
            log_radius = log_radius / config.c
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


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """States and decays are never held in less than float32."""
    return torch.promote_types(dtype, torch.float32)


class RecurrentMixer(nn.Module):
    """A mixer that is one recurrence: everything follows from `resume`."""

    hidden: int
    """Real numbers in the state of one sequence."""

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, L, D] from a state [B, H] (None: the start) -> Float[B, L, D] and the last state."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.resume(x, None)[0]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.resume(x.unsqueeze(1), state)
        return y.squeeze(1), state

    def initial_state(self, batch_size: int) -> Tensor:
        like = next(self.parameters())
        return like.new_zeros(batch_size, self.hidden, dtype=accumulation_dtype(like.dtype))

    def state_size(self, batch_size: int, length: int) -> int:
        return batch_size * self.hidden * accumulation_dtype(next(self.parameters()).dtype).itemsize


class ScannedMixer(RecurrentMixer):
    """One whose recurrence is a scan of `models.scan`."""

    scan: str | None = None
    """Backend asked for; None: the fastest that the device has."""

    @property
    def scan_backend(self) -> str:
        return backend_for(next(self.parameters()).device, self.scan)
