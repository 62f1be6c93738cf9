"""Causal attention over a sliding window in time linear in the length; and Griffin's layer around it.

    y_t = W_out [softmax_s(q_t^h . k_s / sqrt(d)) v_s]_h,   t - W <= s <= t

Griffin's has several queries to one key and one value. Half of each head turns with the position, the
other half does not. The window counts the steps before the current one, as in the recurrentgemma
code, whose parameter names these are.

Sources: De et al. 2024 (Griffin, arXiv 2402.19427), section 2.3; multi-query attention, Shazeer
2019; rotary positions, Su et al. 2021; sliding windows, Beltagy et al. 2020.

Shapes: B batch, L length, S keys, D width, H heads, G heads of keys (H, or 1 that all queries share),
d = D/H, W window, R = W + 1 steps in sight.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.mixers.recurrent_block import fan_in_normal_

CACHE_BLOCK = 256
"""The cache grows by so many steps, up to all in sight."""
QUERIES = 256
"""Steps of a block, at most: smaller ones read more keys twice, larger ones see more that is masked."""
ROTARY_BASE = 10_000.0


class Cache(NamedTuple):
    """Keys (turned) and values of the last R steps; step t stands in slot t % R."""

    slots: Tensor
    """Float[B, 2, min(R, steps rounded up to whole blocks), d]."""
    steps: int
    """Steps made so far."""


class LocalAttention(nn.Module):
    """Multi-query attention in a sliding window, with rotary positions on half of each head."""

    def __init__(self, *, width: int, heads: int, window: int, output_scale: float = 1.0) -> None:
        """output_scale: initial variance of the output projection, over that of a unit gain."""
        super().__init__()
        self.heads, self.window, self.in_sight = heads, window, window + 1
        self.head_width = width // heads
        self.proj_q = nn.Linear(width, width, bias=False)
        self.proj_k = nn.Linear(width, self.head_width, bias=False)
        self.proj_v = nn.Linear(width, self.head_width, bias=False)
        self.proj_final = nn.Linear(width, width)
        for projection in (self.proj_q, self.proj_k, self.proj_v):
            fan_in_normal_(projection.weight, width)
        fan_in_normal_(self.proj_final.weight, width, output_scale)
        nn.init.zeros_(self.proj_final.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.resume(x, None)[0]

    def resume(self, x: Tensor, state: Cache | None) -> tuple[Tensor, Cache]:
        """Float[B, L, D] from a state (None: the start) -> Float[B, L, D] and the last state."""
        slots, steps = self.initial_state(len(x)) if state is None else state
        query, key_value = self._project(x, steps)
        past = slots[:, :, :steps]
        if steps > self.in_sight:  # the oldest first
            past = past.roll(-(steps % self.in_sight), dims=2)
        key_value = torch.cat((past[:, :, -self.window :], key_value), dim=2)
        key, value = (one.unsqueeze(1) for one in key_value.unbind(1))
        y = self._output(attend_within(self.window, query, key, value))

        steps += x.shape[1]
        slots = key_value[:, :, -self.in_sight :]
        if steps > self.in_sight:
            slots = slots.roll(steps % self.in_sight, dims=2)
        return y, Cache(self._grown(slots, steps), steps)

    def initial_state(self, batch_size: int) -> Cache:
        return Cache(self.proj_k.weight.new_empty(batch_size, 2, 0, self.head_width), 0)

    def step(self, x: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        """Float[B, D] -> Float[B, D].

        Writes into the cache of the state it is given: a state is good for one continuation.
        """
        slots, steps = state
        query, key_value = self._project(x.unsqueeze(1), steps)
        steps += 1
        slots = self._grown(slots, steps)
        slots[:, :, (steps - 1) % self.in_sight] = key_value[:, :, 0]
        key, value = (one.unsqueeze(1) for one in slots[:, :, :steps].unbind(1))
        return self._output(attend(query, key, value)).squeeze(1), Cache(slots, steps)

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the cache after `length` steps, unfilled slots of its last block included."""
        values = 2 * batch_size * self._capacity(length) * self.head_width
        return values * self.proj_k.weight.element_size()

    def _capacity(self, steps: int) -> int:
        return min(CACHE_BLOCK * math.ceil(steps / CACHE_BLOCK), self.in_sight)

    def _grown(self, slots: Tensor, steps: int) -> Tensor:
        """With room for so many steps; the same tensor where it has it, as padding would copy it."""
        room = self._capacity(steps) - slots.shape[2]
        return F.pad(slots, (0, 0, 0, room)) if room else slots

    def _project(self, x: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Float[B, L, D] -> queries Float[B, H, L, d], and keys with values Float[B, 2, L, d]."""
        query = self.proj_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.proj_k(x), self.proj_v(x)
        return rotate_half(query, first), torch.stack((rotate_half(key, first), value), dim=1)

    def _output(self, y: Tensor) -> Tensor:
        """Float[B, H, L, d] -> Float[B, L, D]."""
        return self.proj_final(y.transpose(1, 2).flatten(2))


def rotate_half(x: Tensor, first: int = 0) -> Tensor:
    """Turns the pairs (e, e + d/4) of the first d/2 channels of Float[..., L, d] by their angles."""
    quarter = x.shape[-1] // 4
    # in float64: at step 10000 a float32 angle is wrong by a thousandth
    exponent = torch.arange(quarter, dtype=torch.float64, device=x.device) / quarter
    position = torch.arange(first, first + x.shape[-2], dtype=torch.float64, device=x.device)
    angle = position[:, None] * ROTARY_BASE**-exponent
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    low, high, rest = x.split((quarter, quarter, 2 * quarter), dim=-1)
    return torch.cat((low * cosine - high * sine, high * cosine + low * sine, rest), dim=-1)


def attend_within(window: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Queries Float[B, H, L, d] to the last S >= L keys and values Float[B, G, S, d] -> Float[B, H, L, d].

    The first queries, up to where W keys are behind, see all before them. The others, in blocks, see
    the block's keys and the W before it. At most W of the keys may stand before the first query.
    """
    length, past = query.shape[2], key.shape[2] - query.shape[2]
    first = min(length, window - past)
    outputs = []
    if first:
        seen = slice(0, past + first)
        mask = _visible(first, past + first, window, query.device) if past else None
        begin = query[:, :, :first], key[:, :, seen], value[:, :, seen]
        outputs.append(attend(*begin, mask, causal=past == 0))
    if length > first:
        block = min(max(window, 1), length - first, QUERIES)
        blocks = -(-(length - first) // block)
        padding = blocks * block - (length - first)
        start = past + first - window
        key, value = (
            F.pad(x[:, :, start:], (0, 0, 0, padding))
            .unfold(2, window + block, block)
            .permute(0, 2, 1, 4, 3)
            .flatten(0, 1)
            for x in (key, value)
        )  # [B blocks, G, W + block, d]
        query = F.pad(query[:, :, first:], (0, 0, 0, padding)).unflatten(2, (blocks, block))
        mask = _visible(block, window + block, window, query.device)
        y = attend(query.transpose(1, 2).flatten(0, 1), key, value, mask)
        y = y.unflatten(0, (-1, blocks)).transpose(1, 2).flatten(2, 3)
        outputs.append(y[:, :, : length - first])
    return torch.cat(outputs, dim=2)


def attend_to_all_before(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention of Float[B, H, L, d] to the last S >= L keys and values Float[B, G, S, d].

    Only where nothing stands before the first query is no mask needed. The mask would be as large as
    queries times keys: the queries go in blocks.
    """
    length, past = query.shape[2], key.shape[2] - query.shape[2]
    if past == 0:
        return attend(query, key, value, causal=True)
    outputs = []
    for first in range(0, length, QUERIES):
        block = query[:, :, first : first + QUERIES]
        end = past + first + block.shape[2]
        mask = _visible(block.shape[2], end, end, query.device)
        outputs.append(attend(block, key[:, :, :end], value[:, :, :end], mask))
    return torch.cat(outputs, dim=2)


def _visible(length: int, keys: int, window: int, device: torch.device) -> Tensor:
    """Bool[L, S]: which of S keys the last L steps see, themselves and at most W before."""
    back = torch.arange(keys - length, keys, device=device)[:, None]
    back = back - torch.arange(keys, device=device)  # steps from key to query
    return (back >= 0) & (back <= window)


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *, causal: bool = False
) -> Tensor:
    """Softmax attention of Float[B, H, L, d] to Float[B, G, S, d]."""
    key, value = (x.expand(-1, query.shape[1], -1, -1) for x in (key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
