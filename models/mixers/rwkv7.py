"""RWKV-7 ("Goose"), its time mixing: a matrix for each head, with a decay and a correction for each channel.

    x^s_t = x_t + mu^s (x_{t-1} - x_t)                  for s in r, w, k, v, a, g: the input, shifted a little
    r = W_r x^r      k = W_k x^k      v = W_v x^v      g = G_2 sigmoid(G_1 x^g)
    w = exp(-exp(-1/2) sigmoid(w_0 + W_2 tanh(W_1 x^w)))            decay, in (0.545, 1)
    a = sigmoid(a_0 + A_2 A_1 x^a)                                  how much is corrected
    v <- v + (v' - v) sigmoid(v_0 + V_2 V_1 x^v)                    v' of the first layer, in all others
    c = k * kappa / |k * kappa|      k <- k (1 + alpha (a - 1))
    S_t = diag(w_t) S_{t-1} - (c_t a_t) (c_t^T S_{t-1}) + k_t v_t^T                for each head
    y = W_o (g * (GroupNorm(S_t^T r_t) + (r_t . rho k_t) v_t))

Source: Peng et al. 2025 (arXiv 2503.14456), section 3 and appendix, and the authors' code (RWKV-LM, RWKV-v7),
whose initial values these are. Their state is this S transposed.

Shapes: B batch, L length, D width, H heads, K = D/H width of a head (V for its values), C chunks, Q steps of
a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State, report_flops, require
from models.mixers.chunks import in_chunks, without_autocast
from models.mixers.recurrence import RecurrentMixer, accumulation_dtype

CHUNK = 32
"""Decays of a chunk multiply to at least exp(-0.61 * 32) = 4e-9, of which float32 bears the inverse."""
SLOWEST = -math.exp(-0.5)
"""The logarithm of the smallest decay of a step."""
NORM_EPSILON = 1e-5
"""Times the width of a head, in the norm of its output."""
MIXED = ("receptance", "decay", "key", "value", "rate", "gate")
"""What sees a mixture of this input and the one before, and the exponents of its initial share."""
EXPONENTS = (0.2, 0.9, 0.7, 0.7, 0.9, 0.2)


@dataclass(frozen=True, kw_only=True)
class RWKV7Config:
    head: int | None = None
    """Width of a head; null: the divisor of the width nearest to 64, in ratio."""
    decay_rank: int | None = None
    rate_rank: int | None = None
    value_rank: int | None = None
    gate_rank: int | None = None
    """Ranks of the maps that make the decay, the rate of correction, the share of the first layer's values
    and the gate; null: 2.5, 2.5, 1.7 and 5 roots of the width, in multiples of 32, at most the width."""

    def __post_init__(self) -> None:
        for name in ("head", "decay_rank", "rate_rank", "value_rank", "gate_rank"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "must be at least 1, or null")


class RWKV7(RecurrentMixer):
    """RWKV-7's time mixing: linear attention with decays and corrections by channel."""

    Config = RWKV7Config
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"head": 4, "decay_rank": 3, "rate_rank": 2, "gate_rank": 5},
    )

    def __init__(
        self, config: RWKV7Config, *, width: int, stride: int = 1, layer: int = 0, layers: int = 1
    ) -> None:
        """layer: of how many, from 0; the others blend the values of the first into theirs."""
        super().__init__()
        self.head = _head(config, width)
        self.heads = width // self.head
        decay_rank, rate_rank, value_rank, gate_rank = (
            given or min(max(32, 32 * round(roots * width**0.5 / 32)), width)
            for given, roots in (
                (config.decay_rank, 2.5),
                (config.rate_rank, 2.5),
                (config.value_rank, 1.7),
                (config.gate_rank, 5.0),
            )
        )
        place = torch.arange(width) / width
        left = 1 - layer / layers  # from 1 down
        shares = torch.stack([1 - place ** (exponent * left) for exponent in EXPONENTS])
        self.share = nn.Parameter(shares)
        self.receptance = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        line = torch.arange(width) / max(width - 1, 1)
        zigzag = _zigzag(self.head).repeat(self.heads)
        depth = layer / max(layers - 1, 1)
        decay = -5.5 + 6 * line ** (1 + depth**0.3) + 2.5 * zigzag
        self.decay = LowRank(width, decay_rank, torch.tanh, decay)
        self.rate = LowRank(width, rate_rank, None, -0.19 + 0.3 * zigzag + 0.4 * (line - 0.5))
        self.blend = LowRank(width, value_rank, None, 0.73 - 0.4 * (line - 0.5)) if layer else None
        self.gate = LowRank(width, gate_rank, torch.sigmoid, None)
        self.removed_key = nn.Parameter(0.71 - 0.1 * (line - 0.5))
        self.rate_in_key = nn.Parameter(torch.full((width,), 1.02))
        self.bonus = nn.Parameter(torch.full((self.heads, self.head), -0.04))
        self.norm_weight = nn.Parameter(torch.full((self.heads, self.head), ((1 + layer) / layers) ** 0.7))
        self.norm_bias = nn.Parameter(torch.zeros(self.heads, self.head))
        for linear, gain in ((self.receptance, 1.0), (self.key, 0.1), (self.value, 1.0)):
            nn.init.orthogonal_(linear.weight, gain=gain)
        nn.init.zeros_(self.output.weight)

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """What the authors train without weight decay: all but the four square maps."""
        square = {id(layer.weight) for layer in (self.receptance, self.key, self.value, self.output)}
        return [parameter for parameter in self.parameters() if id(parameter) not in square]

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """From a state (None: the start): the last input Float[B, D], and S [B, H, K, K]."""
        return self.mix(x, state, None)[:2]

    def mix(self, x: Tensor, state: State, first: Tensor | None) -> tuple[Tensor, State, Tensor]:
        """As `resume`, with the first layer's values Float[B, L, D] (None in it); returns its own, too."""
        before, S = (None, None) if state is None else state
        before, last = shifted(x, before)
        change = before - x
        r, w, k, v, a, g = (x + change * share for share in self.share)
        r, k, value = self.receptance(r), self.key(k), self.value(v)
        if self.blend is not None:
            assert first is not None
            value = value + (first - value) * torch.sigmoid(self.blend(v))
        a = torch.sigmoid(self.rate(a))
        removed = F.normalize(self._heads(k * self.removed_key), dim=-1)
        k = self._heads(k * (1 + (a - 1) * self.rate_in_key))
        log_decay = SLOWEST * torch.sigmoid(self.decay(w))
        r, log_decay, values, a = (self._heads(part) for part in (r, log_decay, value, a))
        o, S = generalized_delta_rule(r, log_decay, k, values, -removed, removed * a, S)
        o = F.layer_norm(o, o.shape[-1:], eps=NORM_EPSILON * self.head) * self.norm_weight + self.norm_bias
        o = o + (r * k * self.bonus).sum(-1, keepdim=True) * values
        y = o.flatten(-2).to(x.dtype) * self.gate(g)
        return self.output(y), (last, S), value

    def _heads(self, x: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, H, K] in at least float32."""
        return x.to(accumulation_dtype(self.bonus.dtype)).unflatten(-1, (self.heads, self.head))

    def initial_state(self, batch_size: int) -> State:
        dtype = accumulation_dtype(self.bonus.dtype)
        last = self.bonus.new_zeros(batch_size, self.heads * self.head, dtype=dtype)
        return last, self.bonus.new_zeros(batch_size, self.heads, self.head, self.head, dtype=dtype)

    def state_size(self, batch_size: int, length: int) -> int:
        itemsize = accumulation_dtype(self.bonus.dtype).itemsize
        return batch_size * self.heads * self.head * (1 + self.head) * itemsize


class LowRank(nn.Module):
    """bias + W_2 f(W_1 x); zero but for the bias at first."""

    def __init__(
        self, width: int, rank: int, activation: Callable[[Tensor], Tensor] | None, bias: Tensor | None
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.activation = activation
        nn.init.zeros_(self.down.weight)
        nn.init.orthogonal_(self.up.weight, gain=0.1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.down(x)
        y = self.up(inner if self.activation is None else self.activation(inner))
        return y if self.bias is None else y + self.bias


def shifted(x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """[B, L, D] one step later, after an input [B, D] (None: zeros); and the last of these inputs."""
    first = x.new_zeros(len(x), 1, x.shape[-1]) if before is None else before.to(x.dtype).unsqueeze(1)
    last = x[:, -1].to(accumulation_dtype(x.dtype), copy=True)  # a view would keep all
    return torch.cat((first, x[:, :-1]), dim=1), last


def generalized_delta_rule(
    r: Tensor,
    log_decay: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    S0: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """S_t = diag(w_t) S_{t-1} + b_t (a_t^T S_{t-1}) + k_t v_t^T and o_t = S_t^T r_t for each head.

    r, log_decay = log w, k, a, b: [B, L, H, K], w at least exp(-0.61); v: [B, L, H, V]; S0: [B, H, K, V],
    zero by default. Returns o [B, L, H, V] and the last S.

    Step t writes b_t u_t^T + k_t v_t^T, with u_t = S_{t-1}^T a_t. With W_t the product of the decays of a
    chunk up to t, S_t / W_t is a sum: the u depend on each other, and linearly on the S in front of the
    chunk, through products of a_t W_{t-1} with b_s / W_s and k_s / W_s. A unit triangular system gives them
    for all chunks at once, and only S has to go from chunk to chunk.
    """
    batch, length, heads, _ = k.shape
    S = v.new_zeros(batch, heads, k.shape[3], v.shape[3]) if S0 is None else S0
    if length == 1:
        return _single_step(r[:, 0], log_decay[:, 0], k[:, 0], v[:, 0], a[:, 0], b[:, 0], S)
    steps = min(chunk, length)
    r, log_decay, k, v, a, b = (
        in_chunks(x, steps).transpose(2, 3) for x in (r, log_decay, k, v, a, b)
    )  # [B, C, H, Q, K or V]
    with without_autocast(r.device):
        sums = log_decay.cumsum(-2)
        whole = sums[..., -1:, :]
        a, r = a * torch.exp(sums - log_decay), r * torch.exp(sums)
        written = torch.cat((b, k), dim=-2)  # [B, C, H, 2Q, K], before their division by W
        inverse = torch.exp(-sums).repeat(1, 1, 1, 2, 1)
        scaled = (written * inverse).mT
        to_end = (written * torch.exp(whole - sums).repeat(1, 1, 1, 2, 1)).mT
        by_b, by_k = (a @ scaled).split(steps, dim=-1)
        wanted = torch.cat((by_k.tril(-1) @ v, a), dim=-1)
        report_flops(wanted.numel() * steps)  # the solution, which torch's counter does not see
        solved = torch.linalg.solve_triangular(-by_b, wanted, upper=False, unitriangular=True)
        U, A = solved.split((v.shape[-1], k.shape[-1]), dim=-1)
        # S goes through a chunk by one matrix and one sum, so that the loop is one operation a chunk
        through = torch.diag_embed(torch.exp(whole).squeeze(-2)) + to_end[..., :steps] @ A
        added = to_end @ torch.cat((U, v), dim=-2)
        before = []
        for through_c, added_c in zip(through.unbind(1), added.unbind(1), strict=True):
            before.append(S)
            S = added_c + through_c @ S
        fronts = torch.stack(before, 1)
        values = torch.cat((U + A @ fronts, v), dim=-2)
        seen = torch.ones(steps, steps, dtype=torch.bool, device=r.device).tril().repeat(1, 2)
        read = (r @ scaled).masked_fill(~seen, 0)
        o = r @ fronts + read @ values
    return o.transpose(2, 3).flatten(1, 2)[:, :length], S


def _single_step(
    r: Tensor, log_decay: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    """The recurrence as it reads, without the axis of time in anything but the output."""
    r, log_decay, k, a, b = (x.unsqueeze(-1) for x in (r, log_decay, k, a, b))  # columns
    u = (S * a).sum(-2, keepdim=True)
    S = torch.exp(log_decay) * S + b * u + k * v.unsqueeze(-2)
    return (S * r).sum(-2).unsqueeze(1), S


def _head(config: RWKV7Config, width: int) -> int:
    if config.head is None:
        sizes = (size for size in range(1, width + 1) if width % size == 0)
        return min(sizes, key=lambda size: abs(math.log(size / 64)))
    require(width % config.head == 0, "head", f"must divide the width, {width}, got {config.head}")
    return config.head


def _zigzag(size: int) -> Tensor:
    """From -1 to 1 over a head, flat in the middle."""
    line = torch.linspace(-1, 1, size) if size > 1 else torch.zeros(1)
    return line * line.abs()
