"""S4D: the structured state space with a diagonal matrix.

    h'(s) = Lambda h(s) + B u(s),   y(s) = Re(C h(s)),   a kernel  K_l = 2 Re sum_n C_n a_n^l gain_n B_n

Source: Gu, Gupta, Goel and Ré 2022, "On the parameterization and initialization of diagonal state
space models". Initial eigenvalues, n = 0, 1, ... over N/2 conjugate pairs:

    lin:  -1/2 + i pi n            inv:  -1/2 + i N/pi (N/(2n+1) - 1)
    legs: those of S4's normal part, -1/2 + i mu_n
    real: -(n+1) over N real ones, without a factor 2

The product of a Vandermonde matrix (a_n^l) with C is taken in blocks of about sqrt(L), see `linear_system`.

Shapes: B batch, L length, D width, N real numbers in the state of a channel, M numbers stored of it
(N/2 complex ones, or N real ones).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from harness.contracts import require
from models.mixers.linear_system import DiagonalSystem, as_real
from models.mixers.recurrence import accumulation_dtype
from models.mixers.state_space import (
    Discretization,
    StateSpace,
    StateSpaceConfig,
    StateSpaceMixer,
    as_complex,
    complex_normal,
    discretize,
    hippo_legs,
    log_uniform,
)

Initialization = Literal["lin", "inv", "legs", "real"]


@dataclass(frozen=True, kw_only=True)
class S4DConfig(StateSpaceConfig):
    initialization: Initialization = "lin"
    """Of the eigenvalues; real: they stay real."""
    discretization: Discretization = "zoh"

    def __post_init__(self) -> None:
        super().__post_init__()
        even = self.initialization == "real" or self.state % 2 == 0
        require(even, "state", f"must be even for complex eigenvalues, got {self.state}")


class S4D(StateSpaceMixer):
    """Structured state space with a diagonal matrix (Gu et al. 2022)."""

    Config = S4DConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"state": 8},
        {"initialization": "inv", "discretization": "bilinear", "glu": False},
        {"state": 6, "initialization": "legs"},
        {"state": 3, "initialization": "real"},
    )

    def __init__(self, config: S4DConfig, *, width: int, stride: int = 1) -> None:
        super().__init__(DiagonalSpace(config, width), width=width, glu=config.glu)


class DiagonalSpace(StateSpace):
    """A system with a diagonal matrix for each channel.

    log_step: [D], log_decay and, of complex ones, frequency: [D, M], Lambda = -exp(log_decay) + i frequency;
    b, c: real and imaginary parts, [D, M, 2], or real, [D, M].
    """

    def __init__(self, config: S4DConfig, width: int) -> None:
        super().__init__()
        self.discretization = config.discretization
        self.log_step = nn.Parameter(log_uniform(width, config.min_step, config.max_step))
        if config.initialization == "real":
            rate = torch.arange(1, config.state + 1, dtype=torch.float32)
            self.log_decay = nn.Parameter(rate.log().repeat(width, 1))
            self.frequency = None
            self.b = nn.Parameter(torch.ones(width, config.state))
            self.c = nn.Parameter(torch.randn(width, config.state))
        else:
            pairs = config.state // 2
            frequency = _frequencies(config.initialization, config.state)
            self.log_decay = nn.Parameter(torch.full((width, pairs), math.log(0.5)))
            self.frequency = nn.Parameter(frequency.float().repeat(width, 1))
            self.b = nn.Parameter(torch.tensor([1.0, 0.0]).repeat(width, pairs, 1))
            self.c = nn.Parameter(complex_normal(width, pairs))

    def system(self) -> DiagonalSystem:
        return DiagonalSystem(*self._discrete())

    def advance(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        transition, b, c = self._discrete()
        state = transition * state + b * x.unsqueeze(-1)
        return (as_real(state) * as_real(c.conj_physical())).sum(-1), state

    def log_decays(self) -> Tensor:
        return self._discrete()[0].abs().log().flatten()

    def initial_state(self, batch_size: int) -> Tensor:
        """One of each conjugate pair, complex [B, D, N/2]; real [B, D, N] where they are."""
        dtype = accumulation_dtype(self.log_decay.dtype)
        dtype = dtype if self.frequency is None else dtype.to_complex()
        return torch.zeros(batch_size, *self.log_decay.shape, dtype=dtype, device=self.log_decay.device)

    def ssm_parameters(self) -> list[nn.Parameter]:
        frequency = [] if self.frequency is None else [self.frequency]
        return [self.log_step, self.log_decay, *frequency, self.b]

    def _discrete(self) -> tuple[Tensor, Tensor, Tensor]:
        """The transition, and the rows b and c with y = Re(h c^T), [D, M] each."""
        dtype = accumulation_dtype(self.log_step.dtype)
        step, decay = self.log_step.to(dtype).exp().unsqueeze(-1), self.log_decay.to(dtype).exp()
        if self.frequency is None:
            transition, gain = discretize(-decay, step, self.discretization)
            return transition, gain * self.b.to(dtype), self.c.to(dtype)
        eigenvalue = torch.complex(-decay, self.frequency.to(dtype))
        transition, gain = discretize(eigenvalue, step, self.discretization)
        return transition, gain * as_complex(self.b), 2 * as_complex(self.c)


def _frequencies(initialization: Initialization, state: int) -> Tensor:
    if initialization == "legs":
        return hippo_legs(state).frequency
    n = torch.arange(state // 2, dtype=torch.float64)
    return math.pi * n if initialization == "lin" else state / math.pi * (state / (2 * n + 1) - 1)
