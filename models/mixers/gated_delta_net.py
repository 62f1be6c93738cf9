"""Gated DeltaNet: a matrix for each head that is corrected at one key at a time, and decays.

    [q, k, v] = SiLU(conv(W x))     q <- q / |q| / sqrt(K)     k <- k / |k|
    alpha_t = exp(-exp(A_log) softplus(W_a x + b))             beta_t = sigmoid(W_b x)
    S_t = alpha_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,       o_t = S_t^T q_t
    y = W_out (RMSNorm(o) SiLU(W_g x))

Source: Yang, Kautz and Hatamizadeh 2024, eq. 10 and section 3.3 (the chunked form), figure 1. With the
default widths a layer has about 6 D^2 parameters, as theirs has.

Shapes: B batch, L length, D width, H heads, K and V width of a head's keys and values, W kernel of the
convolution, C chunks, Q steps of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State, report_flops, require
from models.mixers.chunks import decays_between, in_chunks, without_autocast
from models.mixers.recurrence import RecurrentMixer, accumulation_dtype
from models.mixers.short_convolution import ShortConvolution
from models.mixers.step_size import step_bias

CHUNK = 64
EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class GatedDeltaNetConfig:
    heads: int = 4
    key: int | None = None
    """Width of a head's keys; null: all heads' keys together are 3/4 of the width, rounded down."""
    expand: int = 2
    """Width of a head's values, in widths of its keys."""
    kernel: int = 4
    """Steps that the convolutions of q, k and v see, the current one included."""

    def __post_init__(self) -> None:
        require(self.heads >= 1, "heads", f"must be at least 1, got {self.heads}")
        require(self.key is None or self.key >= 1, "key", "must be at least 1, or null")
        require(self.expand >= 1, "expand", f"must be at least 1, got {self.expand}")
        require(self.kernel >= 1, "kernel", f"must be at least 1, got {self.kernel}")


class GatedDeltaNet(RecurrentMixer):
    """Linear attention that overwrites what a key stands for, with a decay (gated delta rule)."""

    Config = GatedDeltaNetConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"heads": 2, "key": 5, "expand": 1, "kernel": 2})

    def __init__(self, config: GatedDeltaNetConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        self.heads = config.heads
        self.key = config.key or max(3 * width // (4 * config.heads), 1)
        self.value = config.expand * self.key
        keys, values = self.heads * self.key, self.heads * self.value
        self.input = nn.Linear(width, 2 * keys + values, bias=False)
        self.convolution = ShortConvolution(2 * keys + values, config.kernel, bias=False)
        self.decay = nn.Linear(width, self.heads, bias=False)
        self.strength = nn.Linear(width, self.heads, bias=False)
        self.gate = nn.Linear(width, values, bias=False)
        self.dt_bias = nn.Parameter(step_bias(self.heads, 1e-3, 1e-1))
        self.A_log = nn.Parameter(torch.log(torch.empty(self.heads).uniform_(1, 16)))
        self.norm = nn.RMSNorm(self.value, eps=EPSILON)
        self.output = nn.Linear(values, width, bias=False)

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """What the authors train without weight decay: the decay rates and their step sizes."""
        return [self.A_log, self.dt_bias]

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """From a state (None: the start): [B, W - 1, H(2K + V)] of the convolution, [B, H, K, V]."""
        window, S = (None, None) if state is None else state
        keys, values = self.heads * self.key, self.heads * self.value
        dtype = accumulation_dtype(self.A_log.dtype)
        mixed, window = self.convolution.resume(self.input(x), window)
        parts = F.silu(mixed).to(dtype).split((keys, keys, values), dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in parts)
        step = F.softplus(self.decay(x).to(dtype) + self.dt_bias.to(dtype))
        log_decay = -torch.exp(self.A_log.to(dtype)) * step
        strength = torch.sigmoid(self.strength(x).to(dtype))
        q = _unit(q) * self.key**-0.5
        o, S = gated_delta_rule(q, _unit(k), v, log_decay, strength, S)
        gate = self.gate(x).unflatten(-1, (self.heads, -1))
        y = self.norm(o.to(x.dtype)) * F.silu(gate)
        return self.output(y.flatten(-2)), (window, S)

    def initial_state(self, batch_size: int) -> State:
        shape, dtype = (self.heads, self.key, self.value), accumulation_dtype(self.A_log.dtype)
        S = self.A_log.new_zeros(batch_size, *shape, dtype=dtype)
        return self.convolution.initial_state(batch_size), S

    def state_size(self, batch_size: int, length: int) -> int:
        numbers = batch_size * self.heads * self.key * self.value
        itemsize = accumulation_dtype(self.A_log.dtype).itemsize
        return self.convolution.state_size(batch_size) + numbers * itemsize


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    strength: Tensor,
    S0: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """S_t = alpha_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T and o_t = S_t^T q_t for each head.

    q, k: [B, L, H, K], k of length at most 1; v: [B, L, H, V]; log_decay = log alpha and strength = beta:
    [B, L, H]; S0: [B, H, K, V], zero by default. Returns o [B, L, H, V] and the last S.

    Step t writes k_t u_t^T, with u_t = beta_t (v_t - alpha_t S_{t-1}^T k_t) what was missing at k_t. Within
    a chunk the u depend on each other and, linearly, on the S in front of it: a unit triangular system
    gives them as U - W S for all chunks at once, and only S has to go from chunk to chunk.
    """
    batch, length, heads, _ = q.shape
    S = v.new_zeros(batch, heads, k.shape[3], v.shape[3]) if S0 is None else S0
    if length == 1:
        return _single_step(q[:, 0], k[:, 0], v[:, 0], log_decay[:, 0], strength[:, 0], S)
    steps = min(chunk, length)
    q, k, v = (in_chunks(x, steps).transpose(2, 3) for x in (q, k, v))  # [B, C, H, Q, K or V]
    log_decay, strength = (in_chunks(x, steps).transpose(2, 3) for x in (log_decay, strength))
    with without_autocast(q.device):
        decay = decays_between(log_decay)
        since_start = torch.exp(log_decay.cumsum(-1)).unsqueeze(-1)
        beta = strength.unsqueeze(-1)
        system = beta * (k @ k.mT * decay)  # its diagonal counts as ones
        wanted = beta * torch.cat((v, since_start * k), dim=-1)
        report_flops(wanted.numel() * steps)  # the solution, which torch's counter does not see
        solved = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
        U, W = solved.split((v.shape[-1], k.shape[-1]), dim=-1)
        k_to_end = (k * decay[..., -1, :, None]).mT  # [B, C, H, K, Q]
        before, written = [], []
        for U_c, W_c, k_c, whole in zip(
            U.unbind(1), W.unbind(1), k_to_end.unbind(1), since_start[..., -1:, :].unbind(1), strict=True
        ):
            before.append(S)
            written.append(U_c - W_c @ S)
            S = whole * S + k_c @ written[-1]
        o = (since_start * q) @ torch.stack(before, 1) + (q @ k.mT * decay) @ torch.stack(written, 1)
    return o.transpose(2, 3).flatten(1, 2)[:, :length], S


def _single_step(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, strength: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    """The recurrence as it reads, without the axis of time in anything but the output."""
    q, k, v = q.unsqueeze(-1), k.unsqueeze(-1), v.unsqueeze(-2)  # columns, and a row
    S = torch.exp(log_decay)[..., None, None] * S
    missing = strength[..., None, None] * (v - (S * k).sum(-2, keepdim=True))
    S = S + k * missing
    return (S * q).sum(-2).unsqueeze(1), S


def _unit(x: Tensor) -> Tensor:
    """Vectors of length one; the zero vector stays."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)
