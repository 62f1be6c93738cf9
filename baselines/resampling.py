"""Fewer steps and as many again, by attention between two rates: Hourglass's shortening and upsampling.

    shorten    s = mean or linear map of each group of k steps      s <- s + A(s; x)      s <- s + MLP(s)
    prolong    u = each z_j k times over, or a linear map to k      u <- u + x + A(u + x; z)      + MLP(u)

where A(q; m) is causal attention of the steps q to the steps m at the other rate (kind "attention"; the
kinds "plain" and "linear" have neither it nor the MLP). All positions are counted at the finer rate.

Source: Nawrot et al. 2022 (Hourglass, arXiv 2110.13711), sections 2.2 and 2.3, and its authors' code
(google/trax, layers/research/resampling.py).

Shapes: B batch, M coarse steps, k steps of a group, D width, H heads, d = D/H, Q queries, S keys.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.decoder_stack import Branch, Rotation, SwiGLU, rotate
from baselines.local_attention import QUERIES, attend
from models.dropout import Dropout
from models.rotary import rotation

ResamplingKind = Literal["plain", "linear", "attention"]

Memory = tuple[Tensor, int, int]
"""Keys (turned) and values in sight, Float[2, B, H, S, d], and how many keys and queries there were."""


class RateAttention(Branch):
    """Softmax attention of queries every a steps to keys every b steps, none of them later than the query."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        query_stride: int,
        query_offset: int,
        key_stride: int,
        rope_base: float,
        window: int | None,
    ) -> None:
        """window: steps before the query, itself included, in which it sees keys (None: all)."""
        super().__init__()
        self.heads, self.rope_base, self.window = heads, rope_base, window
        self.query_stride, self.query_offset, self.key_stride = query_stride, query_offset, key_stride
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def initial_state(self, batch_size: int) -> Memory:
        width = self.output.in_features
        return self.output.weight.new_empty(2, batch_size, self.heads, 0, width // self.heads), 0, 0

    def forward(self, x: Tensor, memory: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        """Queries Float[B, Q, D] and new keys Float[B, S, D], perhaps none -> Float[B, Q, D] and state."""
        past, keys, queries = state
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        start = queries * self.query_stride + self.query_offset
        query = rotate(query, self._angles(start, self.query_stride, query))
        key, value = self.key_value(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        key = rotate(key, self._angles(keys * self.key_stride, self.key_stride, key))
        first = (keys - past.shape[3]) * self.key_stride  # time of the oldest key in sight
        key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        y = self._attend(query, key, value, start, first).transpose(1, 2).flatten(2)
        keys, queries = keys + memory.shape[1], queries + x.shape[1]
        gone = key.shape[2] - self.in_sight(queries, keys)
        return self.output(y), (torch.stack((key[:, :, gone:], value[:, :, gone:])), keys, queries)

    def in_sight(self, queries: int, keys: int) -> int:
        """Keys that later queries see of so many, after so many queries."""
        if self.window is None:
            return keys
        oldest = queries * self.query_stride + self.query_offset - self.window + 1
        return max(0, keys - max(0, -(-oldest // self.key_stride)))

    def state_size(self, batch_size: int, queries: int, keys: int) -> int:
        values = 2 * batch_size * self.in_sight(queries, keys) * self.output.in_features
        return values * self.output.weight.element_size()

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, start: int, first: int) -> Tensor:
        """Queries from `start` on, keys from `first` on; in blocks of queries with the keys in sight."""
        if query.shape[2] == 1:  # all keys that there are: later ones are not known, earlier ones gone
            return attend(query, key, value)
        outputs = []
        times = first + self.key_stride * torch.arange(key.shape[2], device=key.device)
        size = QUERIES
        if self.window is not None:  # of larger ones, most would be masked
            size = max(1, min(size, self.window // self.query_stride))
        for index, block in enumerate(query.split(size, dim=2)):
            begin = start + index * size * self.query_stride
            end = begin + (block.shape[2] - 1) * self.query_stride
            low = 0
            if self.window is not None:
                low = max(0, -(-(begin - self.window + 1 - first) // self.key_stride))
            seen = slice(low, (end - first) // self.key_stride + 1)
            moments = torch.arange(begin, end + 1, self.query_stride, device=key.device)[:, None]
            mask = times[seen] <= moments
            if self.window is not None:
                mask = mask & (times[seen] > moments - self.window)
            outputs.append(attend(block, key[:, :, seen], value[:, :, seen], mask))
        return torch.cat(outputs, dim=2)

    def _angles(self, first: int, stride: int, x: Tensor) -> Rotation:
        """For Float[B, H, n, d] at times `first`, `first` + stride, .."""
        cos, sin = rotation(first, x.shape[2] * stride, x.shape[3], self.rope_base, like=self.output.weight)
        return cos[::stride], sin[::stride]


class Resampler(nn.Module):
    """What both ways have in common: with the kind "attention", attention to the other rate and an MLP."""

    def __init__(
        self, kind: ResamplingKind, *, width: int, hidden: int, dropout: float, **attention: Any
    ) -> None:
        """attention: options of RateAttention."""
        super().__init__()
        self.attention: RateAttention | None = None
        if kind == "attention":
            self.query_norm, self.memory_norm = nn.RMSNorm(width), nn.RMSNorm(width)
            self.attention = RateAttention(width, **attention)
            self.mlp_norm, self.mlp = nn.RMSNorm(width), SwiGLU(width, hidden)
        self.dropout = Dropout(dropout)

    def initial_state(self, batch_size: int) -> Memory | None:
        return None if self.attention is None else self.attention.initial_state(batch_size)

    def state_size(self, batch_size: int, queries: int, keys: int) -> int:
        return 0 if self.attention is None else self.attention.state_size(batch_size, queries, keys)

    def refine(self, x: Tensor, memory: Tensor, state: Memory | None) -> tuple[Tensor, Memory | None]:
        """Float[B, Q, D] and what is new at the other rate, Float[B, S, D] -> Float[B, Q, D]."""
        if self.attention is None or state is None:
            return x, state
        y, state = self.attention(self.query_norm(x), self.memory_norm(memory), state)
        x = x + self.dropout(y)
        return x + self.dropout(self.mlp(self.mlp_norm(x))), state


class Shortening(Resampler):
    """Groups of k steps, Float[B, M, k, D] -> Float[B, M, D]."""

    def __init__(self, kind: ResamplingKind, *, width: int, factor: int, **options: Any) -> None:
        """options: of Resampler and RateAttention."""
        times = {
            "query_stride": factor,
            "query_offset": factor - 1,
            "key_stride": 1,
        }  # known at its last step
        super().__init__(kind, width=width, **times, **options)
        self.linear = None if kind == "plain" else nn.Linear(factor * width, width, bias=False)

    def forward(self, groups: Tensor, state: Memory | None) -> tuple[Tensor, Memory | None]:
        short = groups.mean(dim=2) if self.linear is None else self.linear(groups.flatten(2))
        return self.refine(short, groups.flatten(1, 2), state)


class Prolonging(Resampler):
    """Coarse steps, Float[B, M, D] -> what they add to the k steps from each of them on."""

    def __init__(self, kind: ResamplingKind, *, width: int, factor: int, **options: Any) -> None:
        """options: of Resampler and RateAttention."""
        times = {"query_stride": 1, "query_offset": 0, "key_stride": factor}
        super().__init__(kind, width=width, **times, **options)
        self.factor = factor
        self.linear = None if kind == "plain" else nn.Linear(width, factor * width, bias=False)
        self.norm = nn.RMSNorm(width)

    def spread(self, z: Tensor) -> Tensor:
        """Float[B, M, D] -> Float[B, M k, D]."""
        if self.linear is None:
            return z.repeat_interleave(self.factor, dim=1)
        return self.linear(z).unflatten(-1, (self.factor, -1)).flatten(1, 2)

    def forward(
        self, x: Tensor, spread: Tensor, z: Tensor, state: Memory | None
    ) -> tuple[Tensor, Memory | None]:
        """x and what coarse steps say to it, Float[B, L, D] each, and the new ones of these."""
        if self.attention is not None:
            spread, state = self.refine(spread + x, z, state)
        return x + self.norm(spread), state


def grouped(before: Tensor, x: Tensor, factor: int) -> Tensor:
    """Float[B, k - 1, D] and Float[B, L, D] after it -> Float[B, M, k, D]: all groups that L steps begin.

    Group j ends at step j k: a step and those k - 1 before it, so that all k from it on may know it.
    """
    groups = -(-x.shape[1] // factor)
    window = torch.cat((before, x), dim=1)[:, : groups * factor]
    return F.pad(window, (0, 0, 0, groups * factor - window.shape[1])).unflatten(1, (groups, factor))
