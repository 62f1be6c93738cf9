"""mLSTM: long short-term memory with a matrix for a state and exponential gates.

    [u, z] = W_up x          c = SiLU(conv(u))          q, k: block-diagonal maps of c;  v: of u
    i_t = w_i . [q, k, v] + b_i          f_t = sigmoid(w_f . [q, k, v] + b_f)          for each head
    C_t = f_t C_{t-1} + exp(i_t) k_t v_t^T / sqrt(K)          n_t = f_t n_{t-1} + exp(i_t) k_t / sqrt(K)
    h_t = C_t^T q_t / max(|n_t . q_t|, 1)
    y = W_down ((GroupNorm(h) + s * c) * SiLU(z))

Source: Beck et al. 2024 (xLSTM, arXiv 2405.04517), section 2.3, and their code (NX-AI/xlstm), from which the
block around it and the initial values are.

C and n are kept as C exp(-m) and n exp(-m) with m_t = max(log f_t + m_{t-1}, i_t), so that no gate
overflows. h does not depend on m, so no gradient flows through it; only the last guard against a division
by zero, 1e-6 on the scaled denominator (the original adds it, here it is a lower bound), is relative to it.

Shapes: B batch, L length, D width, E channels, H heads, K = E/H width of a head, W kernel of the
convolution; where a C stands after the B, C chunks of Q steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State, require
from models.block_diagonal import block_diagonal, each_map
from models.mixers.chunks import in_chunks, without_autocast
from models.mixers.recurrence import RecurrentMixer, accumulation_dtype
from models.mixers.short_convolution import ShortConvolution

CHUNK = 64
EPSILON = 1e-6
NORM_EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class MLSTMConfig:
    heads: int = 4
    expand: int = 2
    """Channels, in widths."""
    kernel: int = 4
    """Steps that the convolution in front of q and k sees, the current one included."""
    block: int = 4
    """Channels that the maps of q, k and v mix."""

    def __post_init__(self) -> None:
        for name in ("heads", "expand", "kernel", "block"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")


class MLSTM(RecurrentMixer):
    """Long short-term memory with a matrix memory, in matrix products (xLSTM's mLSTM)."""

    Config = MLSTMConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"heads": 2, "expand": 1, "kernel": 1, "block": 2},
    )

    def __init__(
        self, config: MLSTMConfig, *, width: int, stride: int = 1, output_deviation: float | None = None
    ) -> None:
        """output_deviation: initial standard deviation of the last map; None: that of a single block."""
        super().__init__()
        channels, self.heads = config.expand * width, config.heads
        for name in ("heads", "block"):
            value = getattr(config, name)
            message = f"must divide the {channels} channels ({config.expand} x width), got {value}"
            require(channels % value == 0, name, message)
        self.up = nn.Linear(width, 2 * channels, bias=False)
        self.convolution = ShortConvolution(channels, config.kernel)
        shape = channels // config.block, config.block, config.block
        self.query_and_key = nn.Parameter(torch.empty(2, *shape))
        self.value = nn.Parameter(torch.empty(1, *shape))
        self.gates = nn.Linear(3 * channels, 2 * self.heads)  # i of all heads, then f
        self.norm = nn.Parameter(torch.ones(channels))
        self.skip = nn.Parameter(torch.ones(channels))
        self.down = nn.Linear(channels, width, bias=False)
        for weight in (self.up.weight, self.query_and_key, self.value):
            small_init_(weight, width)
        nn.init.normal_(self.down.weight, std=output_deviation or 2 / math.sqrt(width))
        nn.init.zeros_(self.gates.weight)
        with torch.no_grad():
            self.gates.bias[: self.heads].normal_(std=0.1)
            self.gates.bias[self.heads :] = torch.linspace(3, 6, self.heads)

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """From a state (None: the start): [B, W - 1, E] of the convolution, [B, H, K, K + 1], [B, H]."""
        window, memory = (None, None) if state is None else (state[0], state[1:])
        dtype = accumulation_dtype(self.skip.dtype)
        u, z = self.up(x).chunk(2, dim=-1)
        c, window = self.convolution.resume(u, window)
        c = F.silu(c)
        q, k = _apart(c, self.query_and_key)
        (v,) = _apart(u, self.value)
        gates = self.gates(torch.cat((q, k, v), dim=-1)).to(dtype)
        log_input, forget = gates.chunk(2, dim=-1)
        q, k, v = (part.to(dtype).unflatten(-1, (self.heads, -1)) for part in (q, k, v))
        k = k / math.sqrt(k.shape[-1])
        h, memory = matrix_memory(q, k, v, log_input, F.logsigmoid(forget), memory)
        h = F.layer_norm(h, h.shape[-1:], eps=NORM_EPSILON).flatten(-2) * self.norm
        y = (h.to(x.dtype) + self.skip * c) * F.silu(z)
        return self.down(y), (window, *memory)

    def initial_state(self, batch_size: int) -> State:
        width = len(self.skip) // self.heads
        dtype = accumulation_dtype(self.skip.dtype)
        C = self.skip.new_zeros(batch_size, self.heads, width, width + 1, dtype=dtype)
        m = self.skip.new_zeros(batch_size, self.heads, dtype=dtype)
        return self.convolution.initial_state(batch_size), C, m

    def state_size(self, batch_size: int, length: int) -> int:
        width = len(self.skip) // self.heads
        numbers = batch_size * self.heads * (width * (width + 1) + 1)
        itemsize = accumulation_dtype(self.skip.dtype).itemsize
        return self.convolution.state_size(batch_size) + numbers * itemsize


def matrix_memory(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_input: Tensor,
    log_forget: Tensor,
    state: tuple[Tensor, Tensor] | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """C_t = f_t C_{t-1} + exp(i_t) k_t v_t^T, n_t alike, h_t = C_t^T q_t / max(|n_t . q_t|, 1) for each head.

    q, k: [B, L, H, K]; v: [B, L, H, V]; log_input = i and log_forget = log f: [B, L, H]; state: C with n as a
    last column, [B, H, K, V + 1], and m, [B, H], such that C exp(m) is what the equations say; zero by
    default. Returns h [B, L, H, V] and the last state.

    Within a chunk h is masked attention with the scores q_i . k_j; between chunks C goes in one sum.
    """
    length = k.shape[1]
    v = F.pad(v, (0, 1), value=1.0)
    C, m = state if state is not None else _nothing(k, v)
    stabilizer = _stabilizer(log_input, log_forget, m)
    if length == 1:
        h, C = _single_step(
            q[:, 0], k[:, 0], v[:, 0], log_input[:, 0], log_forget[:, 0], C, m, stabilizer[:, 0]
        )
        return h, (C, stabilizer[:, 0])
    steps = min(chunk, length)
    q, k, v = (in_chunks(x, steps).transpose(2, 3) for x in (q, k, v))  # [B, C, H, Q, K or V + 1]
    # steps that only fill the last chunk write nothing and forget nothing
    filling = -length % steps
    log_input = F.pad(log_input, (0, 0, 0, filling), value=-math.inf)
    filled = torch.cat((stabilizer, stabilizer[:, -1:].expand(-1, filling, -1)), dim=1)
    log_input, maxima = (in_chunks(x, steps).transpose(2, 3) for x in (log_input, filled))  # [B, C, H, Q]
    sums = in_chunks(log_forget, steps).transpose(2, 3).double().cumsum(-1)  # [B, C, H, Q]
    between = (sums.unsqueeze(-1) - sums.unsqueeze(-2)).to(v.dtype)  # in float32 five digits would cancel
    since_start = sums.to(v.dtype)
    ends = maxima[..., -1]  # [B, C, H]
    before = torch.cat((m.unsqueeze(1), ends[:, :-1]), dim=1)
    with without_autocast(q.device):
        log_weights = between + log_input.unsqueeze(-2)
        future = torch.ones(steps, steps, dtype=torch.bool, device=q.device).triu(1)
        weights = (log_weights - maxima.unsqueeze(-1)).masked_fill(future, -math.inf).exp()
        to_end = torch.exp(between[..., -1, :] + log_input - ends.unsqueeze(-1))
        written = (k * to_end.unsqueeze(-1)).mT @ v  # [B, C, H, K, V + 1]
        kept = torch.exp(since_start[..., -1] + before - ends)[..., None, None]
        found = []
        for kept_c, written_c in zip(kept.unbind(1), written.unbind(1), strict=True):
            found.append(C)
            C = kept_c * C + written_c
        fresh = torch.exp(since_start + before.unsqueeze(-1) - maxima)
        read = (fresh.unsqueeze(-1) * q) @ torch.stack(found, 1) + (q @ k.mT * weights) @ v
    h = _normalized(read, maxima).transpose(2, 3).flatten(1, 2)[:, :length]
    return h, (C, stabilizer[:, -1].clone())


def _nothing(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    batch, _, heads, width = k.shape
    return v.new_zeros(batch, heads, width, v.shape[-1]), v.new_zeros(batch, heads)


@torch.no_grad()
def _stabilizer(log_input: Tensor, log_forget: Tensor, m: Tensor) -> Tensor:
    """m_t = max(log f_t + m_{t-1}, i_t) for all steps: [B, L, H].

    With F_t the sum of log f up to t it is F_t + max(m_0, max_{s <= t} (i_s - F_s)); in float64, as F grows
    with the length.
    """
    sums = log_forget.double().cumsum(1)
    largest = torch.cummax(log_input.double() - sums, dim=1).values
    return (sums + torch.maximum(largest, m.double().unsqueeze(1))).to(log_input.dtype)


def _normalized(sums: Tensor, maxima: Tensor) -> Tensor:
    """C^T q / max(|n . q|, 1) from both, side by side, and scaled by exp(-m): [..., V + 1] -> [..., V]."""
    values, normalizer = sums[..., :-1], sums[..., -1:].abs()
    smallest = torch.exp(-maxima).clamp_min(EPSILON).unsqueeze(-1)
    return values / torch.maximum(normalizer, smallest)


def _single_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_input: Tensor,
    log_forget: Tensor,
    C: Tensor,
    before: Tensor,
    after: Tensor,
) -> tuple[Tensor, Tensor]:
    """The recurrence as it reads, without the axis of time in anything but the output."""
    kept = torch.exp(log_forget + before - after)[..., None, None]
    written = torch.exp(log_input - after)[..., None, None]
    C = kept * C + written * (k.unsqueeze(-1) * v.unsqueeze(-2))
    sums = (C * q.unsqueeze(-1)).sum(-2)
    return _normalized(sums, after).unsqueeze(1), C


def small_init_(weight: Tensor, width: int) -> None:
    """In place: normal with variance 2 / (5 D) (Nguyen and Salazar 2019)."""
    nn.init.normal_(weight, std=math.sqrt(2 / (5 * width)))


def _apart(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    """Block-diagonal maps without a bias, [B, L, E] -> as many of [B, L, E]."""
    bias = weight.new_zeros(len(weight), x.shape[-1])
    return each_map(block_diagonal(x, weight.to(x.dtype), bias.to(x.dtype)))
