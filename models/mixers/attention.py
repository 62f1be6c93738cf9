"""Causal multi-head attention with rotary positions, over everything before or a sliding window.

    y_t = W_out softmax_s(q_t . k_s / sqrt(D/H)) v_s,   s <= t, and t - s < W with a window of W

Source: Vaswani et al. 2017; rotary positions, Su et al. 2021; local attention in blocks, as in
Griffin (De et al. 2024). Positions count steps of the mixer's own level.

Shapes: B batch, L length, D width, H heads, E = D/H width of a head, W window, K blocks of W steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State, require
from models.initialization import Dense
from models.rotary import rotation

QUERIES = 512
"""In a block of a continued sequence, whose mask has so many rows."""


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    heads: int = 4
    window: int | None = None
    """Steps that an output sees, itself included; null: all before it."""
    rotary_base: float = 10_000.0

    def __post_init__(self) -> None:
        require(self.heads >= 1, "heads", f"must be at least 1, got {self.heads}")
        require(self.window is None or self.window >= 1, "window", "must be at least 1, or null")
        require(self.rotary_base > 1, "rotary_base", f"must be above 1, got {self.rotary_base}")


class Attention(nn.Module):
    """Causal softmax attention with rotary positions, full or in a sliding window."""

    Config = AttentionConfig

    def __init__(self, config: AttentionConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        divides = width % (2 * config.heads) == 0
        require(divides, "heads", f"twice the heads must divide the width, {width}, got {config.heads} heads")
        self.heads, self.window, self.rotary_base = config.heads, config.window, config.rotary_base
        self.input = Dense(width, 3 * width)
        self.output = Dense(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.resume(x, None)[0]

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, L, D] after the steps of a state (None: none) -> Float[B, L, D] and the state."""
        query, key, value = self._project(x)
        if state is not None:
            key, value = torch.cat((state[0], key), dim=2), torch.cat((state[1], value), dim=2)
        steps, before = key.shape[2], key.shape[2] - query.shape[2]
        query, rotated = self._rotate(query, first=before), self._rotate(key)
        if self.window is None or self.window >= steps:
            y = _attend_causally(query, rotated, value)
        else:
            y = _attend_within(self.window, F.pad(query, (0, 0, before, 0)), rotated, value)[:, :, before:]
        first = 0 if self.window is None else max(0, steps - self.window)
        return self.output(y.transpose(1, 2).flatten(2)), (key[:, :, first:], value[:, :, first:])

    def initial_state(self, batch_size: int) -> State:
        """Keys (before rotation) and values of the steps still in sight, Float[B, H, t, E] each."""
        empty = self.output.bias.new_empty(batch_size, self.heads, 0, len(self.output.bias) // self.heads)
        return empty, empty

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        query, key, value = self._project(x.unsqueeze(1))
        keys, values = state
        if keys.shape[2] == self.window:  # the oldest falls out of sight
            keys, values = keys[:, :, 1:], values[:, :, 1:]
        keys, values = torch.cat((keys, key), dim=2), torch.cat((values, value), dim=2)
        # only differences of positions matter, so they may be counted from the oldest key in sight
        query = self._rotate(query, first=keys.shape[2] - 1)
        y = _attend(query, self._rotate(keys), values)
        return self.output(y.transpose(1, 2).flatten(1)), (keys, values)

    def state_size(self, batch_size: int, length: int) -> int:
        in_sight = length if self.window is None else min(length, self.window)
        bias = self.output.bias
        return 2 * batch_size * in_sight * len(bias) * bias.element_size()

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Float[B, L, D] -> query, key and value, Float[B, H, L, E] each."""
        return self.input(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def _rotate(self, x: Tensor, first: int = 0) -> Tensor:
        """Rotates pairs of channels (e, e + E/2) by an angle that grows with the position."""
        cosine, sine = rotation(first, x.shape[2], x.shape[3], self.rotary_base, like=x)
        low, high = x.chunk(2, dim=-1)
        return torch.cat((low * cosine - high * sine, low * sine + high * cosine), dim=-1)


def _attend_causally(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of the last steps to all up to themselves; `key` and `value` may begin before `query`.

    Only the square case needs no mask, which would be as large as queries times keys: the other goes
    through the queries in blocks.
    """
    before, length = key.shape[2] - query.shape[2], query.shape[2]
    if before == 0:
        return _attend(query, key, value, causal=True)
    blocks = []
    for first in range(0, length, QUERIES):
        block = query[:, :, first : first + QUERIES]
        end = before + first + block.shape[2]
        visible = torch.ones(block.shape[2], end, dtype=torch.bool, device=query.device).tril(before + first)
        blocks.append(_attend(block, key[:, :, :end], value[:, :, :end], mask=visible))
    return torch.cat(blocks, dim=2)


def _attend_within(window: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of each step to the `window` last ones, in blocks of W that see two blocks of keys."""
    length = query.shape[2]
    padding = -length % window
    query, key, value = (
        F.pad(x, (0, 0, 0, padding)).unflatten(2, (-1, window)) for x in (query, key, value)
    )  # [B, H, K, W, E]
    key, value = (torch.cat((F.pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1], x), dim=3) for x in (key, value))
    back = torch.arange(window, device=query.device)[:, None] + window
    back = back - torch.arange(2 * window, device=query.device)  # steps from key to query, [W, 2W]
    visible = ((back >= 0) & (back < window)).expand(query.shape[2], -1, -1).clone()
    visible[0, :, :window] = False  # nothing is before the first block
    blocks = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))  # [B K, H, ., E]
    mask = visible.repeat(query.shape[0], 1, 1).unsqueeze(1)
    y = _attend(*blocks, mask=mask)
    return y.unflatten(0, (query.shape[0], -1)).transpose(1, 2).flatten(2, 3)[:, :, :length]


def _attend(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
