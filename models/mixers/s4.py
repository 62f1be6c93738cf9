"""S4: a structured state space whose matrix is normal plus low-rank, in Hurwitz form.

    h'(s) = A h(s) + B u(s),   y(s) = C h(s),   A = Lambda - p p*
    bilinear, with step dt:    h_t = (I - dt/2 A)^-1 ((I + dt/2 A) h_{t-1} + dt B u_t),   y_t = C h_t

Source: Gu, Goel and Ré 2022 (S4); A = Lambda - p p* from Goel et al. 2022 (SaShiMi), section 4.2.
Each channel is a system of its own. C stays what it says at every length: the C (I - A^L) of the
paper, which its code trains in the place of C, is derived from it where it is needed.

The discrete A is diagonal plus rank one as well, by the Woodbury identity: with M = (I - dt/2 Lambda)^-1

    A' = 2 (I - dt/2 A)^-1 - I = (2 M - I) - 2 sigma (M p) (p* M),   sigma = dt/2 / (1 + dt/2 p* M p)

The kernel K_l = C A'^l B' is found in one of three ways, which agree to rounding:

* `steps`: by taking them, see `krylov`; O(N L) a channel.
* `powers`: by squaring A', see `linear_system`; O(N^3 log L + N L) a channel, all in matrix products.
* `cauchy`: the paper's algorithm 1: its generating function at the roots of unity, four Cauchy
  products O(N L), and an inverse FFT. It needs A'^L too.

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
from models.mixers.krylov import Recurrence
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
from models.native.call import fits

Algorithm = Literal["steps", "powers", "cauchy"]
STEPS_UP_TO = 2
"""So many times N^2 steps are faster taken than made of powers; 8192 for N = 64 (on one core; any width)."""


@dataclass(frozen=True, kw_only=True)
class S4Config(StateSpaceConfig):
    systems: int | None = None
    """Different (A, B), shared in turn by the channels; null: one for each channel."""
    algorithm: Algorithm | None = None
    """How the kernel is computed, not what it is; null: in the fastest way for its length. `steps` needs a
    CPU and a compiler."""

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
        self._memory: tuple[tuple[Tensor, ...], Recurrence] | None = None

    @property
    def scan_backend(self) -> str:
        """The kernel's algorithm; one too long for `steps` is made of powers all the same."""
        return self.algorithm or ("steps" if fits("krylov", self.log_step) else "powers")

    def kernel(self, length: int) -> Tensor:
        algorithm = self.algorithm or self._fastest(length)
        if algorithm == "steps":
            return self.recurrence().response(length)
        if algorithm == "powers":
            return self.system().kernel(length)
        spectrum = generating_function(length, self.continuous(), self.truncated_c(length))
        return torch.fft.irfft(spectrum, n=length)

    def _fastest(self, length: int) -> Algorithm:
        short = length <= STEPS_UP_TO * (2 * self.c.shape[1]) ** 2
        return "steps" if short and fits("krylov", self.log_step) else "powers"

    def recurrence(self) -> Recurrence:
        """The discrete system, with real and imaginary parts of the state side by side."""
        now = self.continuous()
        half = now.step / 2
        inverse = 1 / (1 - half * now.eigenvalue)
        q, w = inverse * now.p, inverse.conj() * now.p
        scale = half / (1 + half * _twice_real_part(now.p, q).unsqueeze(-1))
        b = inverse * now.b
        b = now.step * (b - scale * _twice_real_part(now.p, b).unsqueeze(-1) * q)
        vectors = (2 * inverse - 1, 2 * w, 2 * scale * q, b, 2 * as_complex(self.c).conj_physical())
        return Recurrence(*map(as_real, vectors))

    def system(self) -> DenseSystem:
        """The same as matrices: of rows, so that the transition is the transpose."""
        now = self.recurrence()
        size = now.b.shape[1]
        basis = torch.eye(size, dtype=now.e.dtype, device=now.e.device).view(-1, 1, size)
        diagonal = as_real(_complex(basis) * _complex(now.e)).transpose(0, 1)
        transition = diagonal - now.w.unsqueeze(2) * now.q.unsqueeze(1)
        return DenseSystem(transition, now.b, now.c)

    def advance(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """In O(N) a channel."""
        now = self._remembered()
        rank_one = (state * now.w).sum(-1, keepdim=True) * now.q
        state = as_real(_complex(state) * _complex(now.e)) - rank_one + x.unsqueeze(-1) * now.b
        return (state * now.c).sum(-1), state

    def _remembered(self) -> Recurrence:
        """`recurrence`, kept from step to step while the parameters stay what they are.

        Told by their values: a weight may be replaced in ways that leave no other trace. On a GPU,
        where that would be waiting for it at every step, and for gradients it is found anew.
        """
        parameters = (self.log_step, self.log_decay, self.frequency, self.p, self.b, self.c)
        if torch.is_grad_enabled() or self.c.device.type != "cpu":
            return self.recurrence()
        if self._memory is None or not all(map(_same, parameters, self._memory[0])):
            self._memory = tuple(p.clone() for p in parameters), self.recurrence()
        return self._memory[1]

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


def _twice_real_part(x: Tensor, y: Tensor) -> Tensor:
    """x* y over both of each conjugate pair, [..., N/2] -> real [...]."""
    return 2 * (as_real(x) * as_real(y)).sum(-1)


def _same(x: Tensor, y: Tensor) -> bool:
    return x.dtype == y.dtype and torch.equal(x, y)


def _complex(x: Tensor) -> Tensor:
    """The inverse of `as_real`, no copy."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def _real(x: Tensor) -> Tensor:
    """Real numbers as parts of complex ones, side by side."""
    return torch.stack((x, torch.zeros_like(x)), dim=-1).float()
