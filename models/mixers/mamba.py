"""Mamba: a gated block around a selective state space, of which the input sets step size and maps.

    [v, z] = W_in x          u = SiLU(conv(v))          [d, B, C] = W_x u
    delta = softplus(W_d d + b)                          A = -exp(A_log)
    h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t     y_t = W_out ((C_t . h_t + D u_t) SiLU(z_t))

Source: Gu and Dao 2023, algorithm 2 (S6), figure 3 and section 3.6; the names of the parameters are
those of the authors' package mamba_ssm, whose weights load as they are. The block holds its own gate
and expansion, about 6 D^2 parameters.

Shapes: B batch, L length, D width, E channels (expanded width), N states a channel, R rank, K kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State, require
from models.mixers.recurrence import RecurrentMixer, accumulation_dtype
from models.mixers.short_convolution import ShortConvolution
from models.mixers.step_size import require_steps, step_bias
from models.scan.selective import selective_backend_for, selective_backends, selective_scan


@dataclass(frozen=True, kw_only=True)
class MambaConfig:
    expand: int = 2
    """Channels, in widths."""
    state: int = 16
    """Numbers that a channel remembers."""
    kernel: int = 4
    """Steps that the convolution in front sees, the current one included."""
    rank: int | None = None
    """Rank of the step sizes' map; null: a sixteenth of the width, rounded up."""
    min_step: float = 1e-3
    max_step: float = 1e-1
    """Between these the step sizes start, log-uniformly."""
    bias: bool = False
    """Biases of the first and the last map."""
    convolution_bias: bool = True
    scan: str | None = None
    """Backend of the scan: mamba-ssm, triton, native or lanes; null: the first that this device has."""

    def __post_init__(self) -> None:
        require(self.expand >= 1, "expand", f"must be at least 1, got {self.expand}")
        require(self.state >= 1, "state", f"must be at least 1, got {self.state}")
        require(self.kernel >= 1, "kernel", f"must be at least 1, got {self.kernel}")
        require(self.rank is None or self.rank >= 1, "rank", "must be at least 1, or null")
        require_steps(self.min_step, self.max_step)
        known = self.scan is None or self.scan in selective_backends("cpu")
        require(known, "scan", f"must be null or one of {', '.join(selective_backends('cpu'))}")


class Mamba(RecurrentMixer):
    """Gated selective state space with diagonal decays (S6)."""

    Config = MambaConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {
            "expand": 1,
            "state": 5,
            "kernel": 1,
            "rank": 3,
            "bias": True,
            "convolution_bias": False,
            "scan": "lanes",
        },
    )

    def __init__(self, config: MambaConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        channels, states = config.expand * width, config.state
        self.scan = config.scan
        self.rank = config.rank or math.ceil(width / 16)
        self.in_proj = nn.Linear(width, 2 * channels, bias=config.bias)
        self.conv1d = ShortConvolution(channels, config.kernel, bias=config.convolution_bias)
        self.x_proj = nn.Linear(channels, self.rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(self.rank, channels)
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        self.dt_proj.bias = nn.Parameter(step_bias(channels, config.min_step, config.max_step))
        rates = torch.arange(1, states + 1, dtype=torch.float32)
        self.A_log = nn.Parameter(torch.log(rates).repeat(channels, 1))
        self.D = nn.Parameter(torch.ones(channels))
        self.out_proj = nn.Linear(channels, width, bias=config.bias)

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """What the authors train without weight decay: the decay rates and the direct path."""
        return [self.A_log, self.D]

    def log_decays(self, x: Tensor) -> Tensor:
        """Of every step, Float[B, L, E N]."""
        dtype = accumulation_dtype(self.A_log.dtype)
        u = F.silu(self.conv1d.resume(self.in_proj(x).chunk(2, dim=-1)[0], None)[0])
        delta = F.linear(self.x_proj(u)[..., : self.rank], self.dt_proj.weight).to(dtype)
        step = F.softplus(delta + self.dt_proj.bias.to(dtype))
        return (-step.unsqueeze(-1) * torch.exp(self.A_log.to(dtype))).flatten(2)

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """From a state (None: the start): Float[B, K - 1, E] of the convolution, Float[B, E, N]."""
        window, h = (None, None) if state is None else state
        v, z = self.in_proj(x).chunk(2, dim=-1)
        v, window = self.conv1d.resume(v, window)
        u = F.silu(v)
        states = self.A_log.shape[1]
        d, B, C = self.x_proj(u).split((self.rank, states, states), dim=-1)
        A = -torch.exp(self.A_log.to(accumulation_dtype(self.A_log.dtype)))
        # the scan adds the bias, in full precision: small steps are what memory is made of
        y, h = selective_scan(
            u,
            F.linear(d, self.dt_proj.weight),
            A,
            B,
            C,
            self.D,
            z,
            h,
            delta_bias=self.dt_proj.bias,
            backend=self.scan,
        )
        return self.out_proj(y.to(x.dtype)), (window, h)

    def initial_state(self, batch_size: int) -> State:
        dtype = accumulation_dtype(self.A_log.dtype)
        h = self.A_log.new_zeros(batch_size, *self.A_log.shape, dtype=dtype)
        return self.conv1d.initial_state(batch_size), h

    def state_size(self, batch_size: int, length: int) -> int:
        itemsize = accumulation_dtype(self.A_log.dtype).itemsize
        return self.conv1d.state_size(batch_size) + batch_size * self.A_log.numel() * itemsize

    @property
    def scan_backend(self) -> str:
        return selective_backend_for(self.A_log.device, self.scan, self.A_log.dtype)

    @staticmethod
    def kernels() -> dict[str, str | None]:
        """Of the scan on this machine's fastest device."""
        reasons = selective_backends("cuda" if torch.cuda.is_available() else "cpu")
        return {f"selective scan {name}": reason for name, reason in reasons.items()}
