"""Transformer blocks at one rate: causal attention, full or in a sliding window, and SwiGLU.

    x <- x + W_o [softmax_s(q_t^h . k_s / sqrt(d)) v_s]_h     over s <= t, and t - s < W with a window of W
    x <- x + W_out (silu(W_gate n) * W_value n)               n = norm(x), before the attention as well

Pre-norm (Xiong et al. 2020) with RMSNorm (Zhang & Sennrich 2019), rotary positions (Su et al. 2021),
SwiGLU (Shazeer 2020), no biases: the layout of LLaMA (Touvron et al. 2023, section 2.2). In a window
(Beltagy et al. 2020) the time is linear in the length, and the cache a ring of W places.

Shapes: B batch, L length, D width, H heads, d = D/H, N layers, C capacity of the cache, W window.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.local_attention import attend, attend_to_all_before, attend_within
from harness.contracts import PlacedMixer
from models.dropout import Dropout
from models.rotary import rotation

CACHE_BLOCK = 256
"""The cache grows by so many positions: copying it costs 1/256 of what attention reads anyway."""

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, Float[L, d/2]."""

Cache = tuple[Tensor, int]
"""Keys (turned) and values Float[N, 2, B, H, C, d], and the steps made; step t stands in place t % C."""


class DecoderStack(nn.Module):
    """Blocks one after another. Float[B, L, D] -> Float[B, L, D]."""

    def __init__(
        self,
        *,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        rope_base: float = 10_000.0,
        dropout: float = 0.0,
        window: int | None = None,
    ) -> None:
        """hidden: width inside SwiGLU; window: steps in sight, the current one included (None: all)."""
        super().__init__()
        self.width, self.heads, self.window, self.rope_base = width, heads, window, rope_base
        self.blocks: Any = nn.ModuleList(Block(width, heads, hidden, dropout, window) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        angles = self._rotation(0, x)
        for block in self.blocks:
            x, _ = block(x, angles)
        return x

    def initial_state(self, batch_size: int) -> Cache:
        """A cache without positions."""
        shape = (len(self.blocks), 2, batch_size, self.heads, 0, self.width // self.heads)
        return self._weight.new_empty(shape), 0

    def resume(self, x: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        """Continue a sequence for L more steps; the state is left as it is."""
        cache, position = state
        past = cache[..., :position, :]
        if self.window is not None and position > self.window:  # the oldest first
            past = past.roll(-(position % self.window), dims=4)
        if self.window is not None:  # the oldest of a full ring is out of sight already
            past = past[..., max(0, past.shape[4] - self.window + 1) :, :]
        angles = self._rotation(position, x)
        position += x.shape[1]
        sight = position if self.window is None else min(position, self.window)
        after = []
        for block, before in zip(self.blocks, past, strict=True):
            x, (key, value) = block(x, angles, before)
            after.append(torch.stack((key[:, :, -sight:], value[:, :, -sight:])))
        cache = torch.stack(after) if after else cache
        if self.window is not None and position > self.window:
            cache = cache.roll(position % self.window, dims=4)
        return x, (self._grown(cache, position), position)

    def step(self, x: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        """Float[B, D] -> Float[B, D].

        Writes into the cache of the state it is given: a state is good for one continuation.
        """
        cache, position = state
        x = x.unsqueeze(1)
        angles = self._rotation(position, x)
        cache = self._grown(cache, position + 1)
        place = position if self.window is None else position % self.window
        for index, block in enumerate(self.blocks):
            x = block.step(x, angles, cache[index], place, position + 1)
        return x.squeeze(1), (cache, position + 1)

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the cache after `length` steps, unfilled places of its last block included."""
        values = 2 * len(self.blocks) * batch_size * self._capacity(length) * self.width
        return values * self._weight.element_size()

    def mixers(self, level: int = 0, stride: int = 1, *, layers: bool = False) -> list[PlacedMixer]:
        """Its blocks, all of one level of a model, or each a level of its own with `layers`."""
        return [
            PlacedMixer(
                layer=block,
                level=level + index if layers else level,
                stride=stride,
                resume=partial(self._resume_block, block),
            )
            for index, block in enumerate(self.blocks)
        ]

    def _resume_block(self, block: Block, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One block by itself, after keys and values Float[2, B, H, ., d] and the steps made (None: none)."""
        past, position = (None, 0) if state is None else state
        if past is not None and self.window is not None:
            past = past[..., max(0, past.shape[3] - self.window + 1) :, :]
        y, key_value = Block.forward(block, x, self._rotation(position, x), past)
        return y, (torch.stack(key_value), position + x.shape[1])

    @property
    def _weight(self) -> Tensor:
        return self.blocks[0].attention.input.weight

    def _capacity(self, steps: int) -> int:
        capacity = CACHE_BLOCK * math.ceil(steps / CACHE_BLOCK)
        return capacity if self.window is None else min(capacity, self.window)

    def _grown(self, cache: Tensor, steps: int) -> Tensor:
        """With room for so many steps; the same tensor where it has it, as padding would copy it."""
        room = self._capacity(steps) - cache.shape[4]
        return F.pad(cache, (0, 0, 0, room)) if room > 0 else cache

    def _rotation(self, first: int, x: Tensor) -> Rotation:
        return rotation(first, x.shape[1], self.width // self.heads, self.rope_base, like=self._weight)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, window: int | None) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width)
        self.attention = Attention(width, heads, window)
        self.mlp_norm = nn.RMSNorm(width)
        self.mlp = SwiGLU(width, hidden)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, angles: Rotation, past: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Float[B, L, D] -> Float[B, L, D], and the keys and values as Attention returns them."""
        y, key_value = self.attention(self.attention_norm(x), angles, past)
        return self._add(x, y), key_value

    def step(self, x: Tensor, angles: Rotation, cache: Tensor, place: int, steps: int) -> Tensor:
        """Float[B, 1, D] -> Float[B, 1, D]."""
        return self._add(x, self.attention.step(self.attention_norm(x), angles, cache, place, steps))

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.dropout(y)
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Branch(nn.Module):
    """What is added to the residual stream; `output` is its last matrix."""

    output: nn.Linear


class Attention(Branch):
    """Causal multi-head softmax attention with rotary positions, full or in a window."""

    def __init__(self, width: int, heads: int, window: int | None = None) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.input = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, angles: Rotation, past: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Float[B, L, D] after the keys and values in sight, Float[2, B, H, ., d] (None: of none).

        Returns Float[B, L, D] and all keys and values, Float[B, H, ., d] each.
        """
        query, key, value = self._project(x, angles)
        if past is not None:
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        if self.window is None or self.window >= key.shape[2]:
            mixed = attend_to_all_before(query, key, value)
        else:
            mixed = attend_within(self.window - 1, query, key, value)
        return self.output(mixed.transpose(1, 2).flatten(2)), (key, value)

    def step(self, x: Tensor, angles: Rotation, cache: Tensor, place: int, steps: int) -> Tensor:
        """Float[B, 1, D] -> Float[B, 1, D]; writes its key and value into the place of the cache.

        steps: how many were made, this one included; the query attends to as many, or all of a ring.
        """
        query, key, value = self._project(x, angles)
        cache[0, :, :, place], cache[1, :, :, place] = key[:, :, 0], value[:, :, 0]
        mixed = attend(query, *cache[:, :, :, :steps])
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _project(self, x: Tensor, angles: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Float[B, L, D] -> query, key and value, Float[B, H, L, d] each."""
        split = self.input(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        return rotate(query, angles), rotate(key, angles), value


class SwiGLU(Branch):
    """W_out (silu(W_gate x) * W_value x)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.input = nn.Linear(width, 2 * hidden, bias=False)
        self.output = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.input(x).chunk(2, dim=-1)
        return self.output(F.silu(gate) * value)


def hidden_width(width: int, expand: float) -> int:
    """Inside SwiGLU, the nearest multiple of 8; an `expand` of 8/3 costs what a plain MLP of 4 does."""
    return 8 * max(1, round(expand * width / 8))


@torch.no_grad()
def initialise(model: nn.Module) -> None:
    """Fan-in scaled normal weights, so that it holds at any width (PaLM, Chowdhery et al. 2022, section 5).

    The last matrix of every residual branch is divided by the root of their number (GPT-2, Radford
    et al. 2019, section 2.3).
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    branches = [module for module in model.modules() if isinstance(module, Branch)]
    for branch in branches:
        branch.output.weight /= math.sqrt(len(branches))


def rotate(x: Tensor, angles: Rotation) -> Tensor:
    """Turn the pairs (x_i, x_{i + d/2}) of Float[..., L, d] by their angles."""
    cos, sin = angles
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.to(x.dtype)
