"""S4: a structured state space whose matrix is normal plus low-rank, in Hurwitz form.

    h'(s) = A h(s) + B u(s),   y(s) = C h(s),   A = Lambda - p p*
    bilinear, with step dt:    h_t = (I - dt/2 A)^-1 ((I + dt/2 A) h_{t-1} + dt B u_t),   y_t = C h_t

Source: Gu, Goel and Ré 2022 (S4); A = Lambda - p p* from Goel et al. 2022 (SaShiMi), section 4.2.
Each channel is a system of its own. C stays what it says at every length: the C (I - A^L) of the
paper, which its code trains in the place of C, is derived from it where it is needed.

The kernel K_l = C A^l B of the discrete A is found in one of two ways, which agree to rounding:

* `powers`: by squaring A, see `linear_system`; O(N^3 log L + N L) a channel, all in matrix products.
* `cauchy`: the paper's algorithm 1: its generating function at the roots of unity, four Cauchy
  products O(N L), and an inverse FFT. It needs A^L too.

Shapes: B batch, L length, D width, N real numbers in the state of a channel, S systems (A, B).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from harness.contracts import require
from models.mixers.cauchy import ContinuousSystem, generating_function
from models.mixers.linear_system import DenseSystem, as_real
from models.mixers.recurrence import accumulation_dtype
from models.mixers.state_space import (
    StateSpace,
    StateSpaceConfig,
    StateSpaceMixer,
    as_complex,
    complex_normal,
    hippo_legs,
    log_uniform,
)


@dataclass(frozen=True, kw_only=True)
class S4Config(StateSpaceConfig):
    systems: int | None = None
    """Different (A, B), shared in turn by the channels; null: one for each channel."""
    algorithm: Literal["powers", "cauchy"] = "powers"
    """How the kernel is computed, not what it is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.state % 2 == 0, "state", f"must be even, got {self.state}")
        require(self.systems is None or self.systems >= 1, "systems", "must be at least 1, or null")


class S4(StateSpaceMixer):
    """Structured state space, normal plus low-rank (Gu et al. 2022), SaShiMi's mixer."""

    Config = S4Config
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"state": 8},
        {"state": 4, "systems": 1, "algorithm": "cauchy", "glu": False},
    )

    def __init__(self, config: S4Config, *, width: int, stride: int = 1) -> None:
        super().__init__(NormalPlusLowRankSpace(config, width), width=width, glu=config.glu)


LARGEST_INITIAL_B = 2.0
"""The original cuts B there, at initialisation: that of HiPPO-LegS would reach 41 for N = 64."""


class NormalPlusLowRankSpace(StateSpace):
    """A system with A = Lambda - p p* for each channel.

    log_step: [D], log_decay and frequency: [S, N/2], Lambda = -exp(log_decay) - i frequency, of each
    pair the one below the real axis, as in the original; p, b: [S, N/2, 2] and c: [D, N/2, 2], real
    and imaginary parts.
    """

    def __init__(self, config: S4Config, width: int) -> None:
        super().__init__()
        pairs, systems = config.state // 2, config.systems or width
        divides = width % systems == 0
        require(divides, "systems", f"must divide the width, {width}, got {systems}")
        self.algorithm = config.algorithm
        legs = hippo_legs(config.state)
        self.log_step = nn.Parameter(log_uniform(width, config.min_step, config.max_step))
        self.log_decay = nn.Parameter(torch.full((systems, pairs), math.log(0.5)))
        self.frequency = nn.Parameter(legs.frequency.float().repeat(systems, 1))
        self.p = nn.Parameter(_real(legs.p).repeat(systems, 1, 1))
        self.b = nn.Parameter(_real(legs.b.clamp(max=LARGEST_INITIAL_B)).repeat(systems, 1, 1))
        self.c = nn.Parameter(complex_normal(width, pairs))

    def kernel(self, length: int) -> Tensor:
        if self.algorithm == "powers":
            return self.system().kernel(length)
        spectrum = generating_function(length, self.continuous(), self.truncated_c(length))
        return torch.fft.irfft(spectrum, n=length)

    def system(self) -> DenseSystem:
        """With real and imaginary parts of the state as numbers of their own."""
        now = self.continuous()
        pairs = now.b.shape[1]
        basis = torch.eye(2 * pairs, dtype=now.step.dtype, device=now.step.device)
        basis = torch.view_as_complex(basis.view(-1, 1, pairs, 2))
        transition = as_real(2 * _solve(basis, now) - basis).transpose(0, 1)
        b = as_real(_solve(now.step * now.b, now))
        return DenseSystem(transition, b, as_real(2 * as_complex(self.c).conj_physical()))

    def advance(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """In O(N) a channel: (I - dt/2 A)^-1 (I + dt/2 A) = 2 (I - dt/2 A)^-1 - I."""
        now = self.continuous()
        h = torch.view_as_complex(state.unflatten(-1, (-1, 2)))
        h = 2 * _solve(h + now.step / 2 * now.b * x.unsqueeze(-1), now) - h
        return _twice_real_part(as_complex(self.c).conj_physical(), h), as_real(h)

    def truncated_c(self, length: int) -> Tensor:
        """C~ = C (I - A^L) for the discrete A, with which the kernel ends after L steps: complex [D, N/2]."""
        system = self.system()
        row = system.c - system.after(system.c, length, transposed=True)
        return torch.view_as_complex(row.squeeze(1).unflatten(-1, (-1, 2))).conj_physical() / 2

    def initial_state(self, batch_size: int) -> Tensor:
        """Float[B, D, N]: real and imaginary parts, side by side, of one of each conjugate pair."""
        width, pairs, _ = self.c.shape
        dtype = accumulation_dtype(self.c.dtype)
        return torch.zeros(batch_size, width, 2 * pairs, dtype=dtype, device=self.c.device)

    def ssm_parameters(self) -> list[nn.Parameter]:
        return [self.log_step, self.log_decay, self.frequency, self.p, self.b]

    def continuous(self) -> ContinuousSystem:
        dtype = accumulation_dtype(self.log_step.dtype)
        eigenvalue = torch.complex(-self.log_decay.to(dtype).exp(), -self.frequency.to(dtype))
        shared = (eigenvalue, as_complex(self.p), as_complex(self.b))
        repeats = len(self.log_step) // len(eigenvalue)
        step = self.log_step.to(dtype).exp().unsqueeze(-1)
        return ContinuousSystem(step, *(x.repeat(repeats, 1) for x in shared))


def _solve(r: Tensor, system: ContinuousSystem) -> Tensor:
    """(I - dt/2 (Lambda - p p*))^-1 r for r [..., D, N/2], by the Woodbury identity."""
    half = system.step / 2
    inverse = 1 / (1 - half * system.eigenvalue)
    r, q = inverse * r, inverse * system.p
    half = half.squeeze(-1)
    scale = half / (1 + half * _twice_real_part(system.p, q))
    return r - (scale * _twice_real_part(system.p, r)).unsqueeze(-1) * q


def _twice_real_part(x: Tensor, y: Tensor) -> Tensor:
    """x* y over both of each conjugate pair, [..., N/2] -> real [...]."""
    return 2 * (as_real(x) * as_real(y)).sum(-1)


def _real(x: Tensor) -> Tensor:
    """Real numbers as parts of complex ones, side by side."""
    return torch.stack((x, torch.zeros_like(x)), dim=-1).float()
