"""Mamba-2: a gated block around a state space with one scalar decay a head, in matrix products.

    [z, x, B, C, d] = W_in u       [x, B, C] <- SiLU(conv([x, B, C]))       delta = softplus(d + b)
    h_t = exp(-delta_t exp(A_log)) h_{t-1} + delta_t x_t B_t^T,   a P x N matrix for each head
    y_t = h_t C_t + D x_t          out = W_out RMSNorm(y SiLU(z))

Source: Dao and Gu 2024, section 6 (the SSD algorithm) and figure 6; the names of the parameters are
those of the authors' package mamba_ssm, whose weights load as they are.

Shapes: B batch, L length, D width, H heads, P channels of a head, G groups of heads that share B and C,
M heads of a group, N states a channel, K kernel, C chunks, Q steps of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State, require
from models.mixers.chunks import decays_between, in_chunks, without_autocast
from models.mixers.recurrence import RecurrentMixer, accumulation_dtype
from models.mixers.short_convolution import ShortConvolution
from models.mixers.step_size import require_steps, step_bias
from models.scan import linear_scan
from models.scan.choice import choose
from models.scan.official_mamba import no_chunk_scan, official_chunk_scan

CHUNK = 64
"""Steps of a chunk: one row of scores is then about as wide as the vectors that they weigh."""
EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class Mamba2Config:
    expand: int = 2
    """Channels of all heads, in widths."""
    head: int | None = None
    """Channels of a head; null: 64, or the next smaller number that divides the channels."""
    state: int = 128
    """Numbers that a channel remembers."""
    groups: int = 1
    """Groups of heads with maps B and C of their own."""
    kernel: int = 4
    """Steps that the convolution in front sees, the current one included."""
    min_step: float = 1e-3
    max_step: float = 1e-1
    """Between these the step sizes start, log-uniformly."""
    min_rate: float = 1.0
    max_rate: float = 16.0
    """Between these the decay rates exp(A_log) start, uniformly."""
    bias: bool = False
    """Biases of the first and the last map."""
    convolution_bias: bool = True
    scan: str | None = None
    """Backend of the recurrence: mamba-ssm or products; null: the first of these that this device has."""

    def __post_init__(self) -> None:
        require(self.expand >= 1, "expand", f"must be at least 1, got {self.expand}")
        require(self.head is None or self.head >= 1, "head", "must be at least 1, or null")
        require(self.state >= 1, "state", f"must be at least 1, got {self.state}")
        require(self.groups >= 1, "groups", f"must be at least 1, got {self.groups}")
        require(self.kernel >= 1, "kernel", f"must be at least 1, got {self.kernel}")
        require_steps(self.min_step, self.max_step)
        require(self.min_rate > 0, "min_rate", f"must be above 0, got {self.min_rate}")
        upper = self.max_rate >= self.min_rate
        require(upper, "max_rate", f"must be at least min_rate, {self.min_rate}, got {self.max_rate}")
        known = self.scan is None or self.scan in duality_backends("cpu")
        require(known, "scan", f"must be null or one of {', '.join(duality_backends('cpu'))}")


class Mamba2(RecurrentMixer):
    """Gated state space with one decay a head, computed in matrix products (SSD)."""

    Config = Mamba2Config
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"state": 16},
        {
            "head": 4,
            "state": 5,
            "groups": 2,
            "kernel": 3,
            "bias": True,
            "convolution_bias": False,
            "scan": "products",
        },
    )

    def __init__(self, config: Mamba2Config, *, width: int, stride: int = 1) -> None:
        super().__init__()
        channels = config.expand * width
        self.scan = config.scan
        self.head = _head(config, channels)
        self.heads, self.groups, self.states = channels // self.head, config.groups, config.state
        divides = self.heads % config.groups == 0
        require(divides, "groups", f"must divide the {self.heads} heads, got {config.groups}")
        self.maps = config.groups * config.state
        self.in_proj = nn.Linear(width, 2 * channels + 2 * self.maps + self.heads, bias=config.bias)
        convolved = channels + 2 * self.maps
        self.conv1d = ShortConvolution(convolved, config.kernel, bias=config.convolution_bias)
        self.dt_bias = nn.Parameter(step_bias(self.heads, config.min_step, config.max_step))
        rates = torch.empty(self.heads).uniform_(config.min_rate, config.max_rate)
        self.A_log = nn.Parameter(torch.log(rates))
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = GatedRMSNorm(channels, groups=config.groups)
        self.out_proj = nn.Linear(channels, width, bias=config.bias)

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """What the authors train without weight decay: step sizes, decay rates and the direct path."""
        return [self.dt_bias, self.A_log, self.D]

    def log_decays(self, x: Tensor) -> Tensor:
        """Of every step, Float[B, L, H], one a head."""
        dtype = accumulation_dtype(self.A_log.dtype)
        d = self.in_proj(x)[..., -self.heads :]
        step = F.softplus(d.to(dtype) + self.dt_bias.to(dtype))
        return -torch.exp(self.A_log.to(dtype)) * step

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """From a state (None: the start): Float[B, K - 1, HP + 2GN] of the convolution, [B, H, P, N]."""
        window, h = (None, None) if state is None else state
        channels, dtype = self.heads * self.head, accumulation_dtype(self.A_log.dtype)
        z, v, d = self.in_proj(x).split((channels, channels + 2 * self.maps, self.heads), dim=-1)
        v, window = self.conv1d.resume(v, window)
        u, B, C = F.silu(v).split((channels, self.maps, self.maps), dim=-1)
        u = u.unflatten(-1, (self.heads, self.head))
        B, C = (maps.unflatten(-1, (self.groups, self.states)) for maps in (B, C))
        step = F.softplus(d.to(dtype) + self.dt_bias.to(dtype))
        A = -torch.exp(self.A_log.to(dtype))
        if self._by_official_kernel(x):
            h = self._zero_state(len(x)) if h is None else h
            y, h = official_chunk_scan(u, step, A, B, C, h)
            u, y = u.to(dtype), y.to(dtype)
        else:
            u, B, C = (part.to(dtype) for part in (u, B, C))
            y, h = state_space_duality(u * step.unsqueeze(-1), A * step, B, C, h)
        y = torch.addcmul(y, u, self.D.to(dtype).unsqueeze(-1))
        y = self.norm(y.flatten(-2), z.to(dtype))
        return self.out_proj(y.to(x.dtype)), (window, h)

    def initial_state(self, batch_size: int) -> State:
        return self.conv1d.initial_state(batch_size), self._zero_state(batch_size)

    def _zero_state(self, batch_size: int) -> Tensor:
        shape, dtype = (self.heads, self.head, self.states), accumulation_dtype(self.A_log.dtype)
        return self.A_log.new_zeros(batch_size, *shape, dtype=dtype)

    def state_size(self, batch_size: int, length: int) -> int:
        numbers = batch_size * self.heads * self.head * self.states
        itemsize = accumulation_dtype(self.A_log.dtype).itemsize
        return self.conv1d.state_size(batch_size) + numbers * itemsize

    def _by_official_kernel(self, x: Tensor) -> bool:
        if x.device.type == "meta":
            return False
        chosen = choose(duality_backends(x.device, self.A_log.dtype), self.scan)
        return chosen == "mamba-ssm" and x.shape[1] > 1

    @property
    def scan_backend(self) -> str:
        return choose(duality_backends(self.A_log.device, self.A_log.dtype), self.scan)

    @staticmethod
    def kernels() -> dict[str, str | None]:
        """Of the recurrence on this machine's fastest device."""
        reasons = duality_backends("cuda" if torch.cuda.is_available() else "cpu")
        return {f"state space duality {name}": reason for name, reason in reasons.items()}


def duality_backends(device: torch.device | str, dtype: torch.dtype = torch.float32) -> dict[str, str | None]:
    """The authors' kernels and plain torch, each with the reason why not on a device, or None."""
    official = no_chunk_scan(torch.device(device))
    if dtype == torch.float64:
        official = official or "it computes in float32"
    return {"mamba-ssm": official, "products": None}


def state_space_duality(
    x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, h0: Tensor | None = None, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """h_t = exp(log_decay_t) h_{t-1} + x_t B_t^T and y_t = h_t C_t for each head.

    x: [B, L, H, P]; log_decay: [B, L, H]; B, C: [B, L, G, N]; h0: [B, H, P, N], zero by default.
    Returns y [B, L, H, P] and the last h. Within a chunk outputs are those of masked attention with
    the scores C_i . B_j; a scan over the chunks carries the states between them.
    """
    batch, length, heads, _ = x.shape
    groups = B.shape[2]
    if h0 is None:
        h0 = x.new_zeros(batch, heads, x.shape[3], B.shape[3])
    if length == 1:
        return _single_step(x[:, 0], log_decay[:, 0], B[:, 0], C[:, 0], h0)
    steps = min(chunk, length)
    x, log_decay, B, C = (in_chunks(tensor, steps) for tensor in (x, log_decay, B, C))
    with without_autocast(x.device):
        x = x.unflatten(3, (groups, -1)).permute(0, 1, 3, 4, 2, 5)  # [B, C, G, M, Q, P]
        log_decay = log_decay.unflatten(3, (groups, -1)).permute(0, 1, 3, 4, 2)  # [B, C, G, M, Q]
        B, C = (maps.transpose(2, 3).unsqueeze(3) for maps in (B, C))  # [B, C, G, 1, Q, N]
        decay = decays_between(log_decay)
        within = (C @ B.mT * decay) @ x
        ends = ((x * decay[..., -1, :, None]).mT @ B).flatten(2, 3)  # from a zero start, [B, C, H, P, N]
        since_start = torch.exp(log_decay.cumsum(-1))
        whole = since_start[..., -1].flatten(2)[..., None, None]
        states = linear_scan(whole.expand_as(ends), ends, h0, check=False)
        before = torch.cat((h0.unsqueeze(1), states[:, :-1]), dim=1).unflatten(2, (groups, -1))
        y = within + since_start.unsqueeze(-1) * (C @ before.mT)
    y = y.permute(0, 1, 4, 2, 3, 5).flatten(3, 4).flatten(1, 2)
    return y[:, :length], states[:, -1].clone()  # a view would keep the states of all chunks


def _single_step(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence as it reads, without the axis of time in anything but the output."""
    sharing = x.shape[1] // B.shape[1]
    B, C = (maps.repeat_interleave(sharing, dim=1).unsqueeze(-2) for maps in (B, C))  # [B, H, 1, N]
    h = torch.exp(log_decay)[..., None, None] * h + x.unsqueeze(-1) * B
    return (h * C).sum(-1).unsqueeze(1), h


class GatedRMSNorm(nn.Module):
    """RMSNorm(y SiLU(z)), each group of channels by itself."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        gated = (y * F.silu(z)).unflatten(-1, (self.groups, -1))
        return F.rms_norm(gated, gated.shape[-1:], eps=EPSILON).flatten(-2) * self.weight


def _head(config: Mamba2Config, channels: int) -> int:
    if config.head is None:
        return next(size for size in range(min(64, channels), 0, -1) if channels % size == 0)
    divides = channels % config.head == 0
    require(divides, "head", f"must divide the {channels} channels, got {config.head}")
    return config.head
