"""S5: one state space for all channels together, diagonal, found by a scan.

    h_t = exp(Lambda dt) h_{t-1} + (exp(Lambda dt) - 1) / Lambda B x_t,   y_t = 2 Re(C h_t) + D x_t
    output  GELU(y) * sigmoid(W GELU(y))

with a step size for each number of the state. Source: Smith, Warrington and Linderman 2023 (S5),
sections 3 and 4, appendix B. Eigenvalues start as those of HiPPO-N, the normal part of HiPPO-LegS, once
for each of J blocks; one of each conjugate pair is kept. The paper draws real B and C and turns them
into the eigenbasis of HiPPO-N, B~ = V* B, C~ = C V; as the columns of V are orthonormal and have real
and imaginary parts of equal length, B~ and C~ are drawn directly, from the same (normal) distribution.
Here Re Lambda = -exp(log_decay), which cannot turn positive, where the paper's code clips it.

Shapes: B batch, L length, D width, N real numbers in the state, M = N/2 conjugate pairs, J blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State, require
from models.initialization import Dense
from models.mixers.linear_system import as_real
from models.mixers.recurrence import accumulation_dtype
from models.mixers.state_space import as_complex, complex_normal, discretize, hippo_legs, log_uniform
from models.scan import backend_for, linear_scan


@dataclass(frozen=True, kw_only=True)
class S5Config:
    state: int | None = None
    """Real numbers in the state of one sequence; null: the width, or as many more as blocks need."""
    blocks: int = 1
    """HiPPO matrices on the diagonal at the start."""
    min_step: float = 1e-3
    max_step: float = 1e-1
    """Bounds of the initial step sizes, uniform in the logarithm."""
    gate: bool = True
    """The paper's weighted sigmoid gate at the output; else GELU alone."""

    def __post_init__(self) -> None:
        require(self.blocks >= 1, "blocks", f"must be at least 1, got {self.blocks}")
        fits = self.state is None or (self.state >= 1 and self.state % (2 * self.blocks) == 0)
        require(fits, "state", f"must be a multiple of 2 numbers for each of {self.blocks} blocks")
        require(self.min_step > 0, "min_step", f"must be above 0, got {self.min_step}")
        require(self.max_step >= self.min_step, "max_step", f"must be at least min_step, got {self.max_step}")


class S5(nn.Module):
    """Diagonal state space over all channels at once (Smith et al. 2023)."""

    Config = S5Config
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"state": 12, "blocks": 3, "gate": False})

    def __init__(self, config: S5Config, *, width: int, stride: int = 1) -> None:
        super().__init__()
        unit = 2 * config.blocks
        state = config.state or -(-width // unit) * unit
        pairs = state // 2
        frequency = hippo_legs(state // config.blocks).frequency
        self.log_step = nn.Parameter(log_uniform(pairs, config.min_step, config.max_step))
        self.log_decay = nn.Parameter(torch.full((pairs,), math.log(0.5)))
        self.frequency = nn.Parameter(frequency.float().repeat(config.blocks))
        self.b = nn.Parameter(complex_normal(pairs, width, variance=1 / width))
        self.c = nn.Parameter(complex_normal(width, pairs, variance=2 / state))
        self.direct = nn.Parameter(torch.randn(width))
        self.gate = Dense(width, width) if config.gate else None

    def forward(self, x: Tensor) -> Tensor:
        return self.resume(x, None)[0]

    def log_decays(self, x: Tensor) -> Tensor:
        """Of any step, Float[M], of each conjugate pair."""
        return self._discrete()[0].abs().log()

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, L, D] from a state (None: the start) -> Float[B, L, D] and the last state."""
        transition, b, c = self._discrete()
        driven = F.linear(x.to(b.dtype), b).to(b.dtype)
        driven = torch.view_as_complex(driven.unflatten(-1, (-1, 2)))
        h = linear_scan(transition.expand_as(driven), driven, state, check=False)
        y = F.linear(as_real(h), c) + self.direct * x
        y = F.gelu(y.to(x.dtype))
        if self.gate is not None:
            y = y * torch.sigmoid(self.gate(y))
        return y, h[:, -1]

    @property
    def scan_backend(self) -> str:
        return backend_for(self.log_step.device)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.resume(x.unsqueeze(1), state)
        return y.squeeze(1), state

    def initial_state(self, batch_size: int) -> Tensor:
        """One of each conjugate pair, complex [B, M]."""
        dtype = accumulation_dtype(self.log_step.dtype).to_complex()
        return torch.zeros(batch_size, len(self.log_step), dtype=dtype, device=self.log_step.device)

    def state_size(self, batch_size: int, length: int) -> int:
        return batch_size * self.initial_state(1).nbytes

    def ssm_parameters(self) -> list[nn.Parameter]:
        """Those that the original trains at a rate of 1e-3, whatever the rest's, without weight decay."""
        return [self.log_step, self.log_decay, self.frequency, self.b]

    def _discrete(self) -> tuple[Tensor, Tensor, Tensor]:
        """The transition, complex [M], and real matrices [N, D] into and [D, N] out of pairs of parts."""
        dtype = accumulation_dtype(self.log_step.dtype)
        eigenvalue = torch.complex(-self.log_decay.to(dtype).exp(), self.frequency.to(dtype))
        transition, gain = discretize(eigenvalue, self.log_step.to(dtype).exp(), "zoh")
        b = torch.view_as_real(gain.unsqueeze(-1) * as_complex(self.b))  # [M, D, 2]
        c = as_real(2 * as_complex(self.c).conj_physical())
        return transition, b.transpose(1, 2).flatten(0, 1), c
