"""Decoder-only transformer with the parts that are standard today.

Pre-norm blocks (Xiong et al. 2020) with RMSNorm (Zhang & Sennrich 2019), rotary positions
(Su et al. 2021), causal softmax attention, SwiGLU (Shazeer 2020), no biases, and a head that is not
tied to the token table: the layout of LLaMA (Touvron et al. 2023, section 2.2).

Initialisation: fan-in scaled normal weights and a unit normal token table (PaLM, Chowdhery et al.
2022, section 5), so that it holds at any width; the last matrix of every residual branch is divided
by sqrt(2 layers), and the head has GPT-2's standard deviation of 0.02 (Radford et al. 2019, section
2.3), so that predictions start near the uniform distribution.

Shapes: B batch, L length, D width, H heads, d = D/H, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import require
from models.rotary import rotation

CACHE_BLOCK = 256
"""The cache grows by so many positions: copying it costs 1/256 of what attention reads anyway."""

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, Float[L, d/2]."""

Cache = tuple[Tensor, int]
"""Keys and values Float[layers, 2, B, H, capacity, d], and how many positions of them are filled."""


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    width: int = 128
    layers: int = 6
    heads: int = 4
    expand: float = 8 / 3
    """Hidden width of SwiGLU over `width`; 8/3 costs what a plain MLP of factor 4 does."""
    rope_base: float = 10_000.0
    dropout: float = 0.0
    """On the token table's output and on every residual branch."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        require(
            self.width % (2 * self.heads) == 0,
            "heads",
            f"{self.heads} heads must divide the width, {self.width}, into even parts (for RoPE)",
        )
        require(self.expand > 0, "expand", f"must be above 0, got {self.expand}")
        require(self.rope_base > 1, "rope_base", f"must be above 1, got {self.rope_base}")
        require(0 <= self.dropout < 1, "dropout", f"must lie in [0, 1), got {self.dropout}")

    @property
    def hidden(self) -> int:
        """Hidden width of SwiGLU, the nearest multiple of 8."""
        return 8 * max(1, round(self.expand * self.width / 8))


class Transformer(nn.Module):
    """Decoder-only transformer: RoPE, RMSNorm, SwiGLU, causal attention, KV cache."""

    Config = TransformerConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 16, "layers": 2, "heads": 2},
        {"width": 24, "layers": 1, "heads": 3, "dropout": 0.2},
    )

    def __init__(self, config: TransformerConfig, vocab_size: int = 256) -> None:
        super().__init__()
        self.config = config
        self.start = vocab_size // 2  # silence, in mu-law and in linear audio
        self.table = nn.Embedding(vocab_size, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width)
        self.head = nn.Linear(config.width, vocab_size, bias=False)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
        for module in self.modules():
            if isinstance(module, Attention | SwiGLU):
                module.output.weight /= math.sqrt(2 * self.config.layers)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V]."""
        previous = F.pad(tokens[:, :-1], (1, 0), value=self.start)
        rotation = self._rotation(0, tokens.shape[1])
        x = self.dropout(self.table(previous))
        for block in self.blocks:
            x = block(x, rotation)
        return self.head(self.norm(x))

    def initial_state(self, batch_size: int) -> Cache:
        """A cache without positions."""
        heads, width = self.config.heads, self.config.width // self.config.heads
        shape = (self.config.layers, 2, batch_size, heads, 0, width)
        return self.table.weight.new_empty(shape), 0

    def step(self, token: Tensor | None, state: Cache) -> tuple[Tensor, Cache]:
        """Previous token Long[B] (None at the start) -> logits Float[B, V].

        Writes into the cache of the state it is given: a state is good for one continuation.
        """
        cache, position = state
        if position == cache.shape[4]:
            cache = F.pad(cache, (0, 0, 0, CACHE_BLOCK))
        if token is None:
            token = torch.full((cache.shape[2],), self.start, device=cache.device)
        rotation = self._rotation(position, 1)
        x = self.dropout(self.table(token[:, None]))
        for block, block_cache in zip(self.blocks, cache, strict=True):
            x = block(x, rotation, block_cache, position)
        return self.head(self.norm(x[:, 0])), (cache, position + 1)

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the cache after `length` steps, unfilled positions of its last block included."""
        capacity = CACHE_BLOCK * math.ceil(length / CACHE_BLOCK)
        values = 2 * self.config.layers * batch_size * capacity * self.config.width
        return values * self.table.weight.element_size()

    def _rotation(self, first: int, length: int) -> Rotation:
        width = self.config.width // self.config.heads
        return rotation(first, length, width, self.config.rope_base, like=self.head.weight)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width)
        self.attention = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.width)
        self.mlp = SwiGLU(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, rotation: Rotation, cache: Tensor | None = None, position: int = 0
    ) -> Tensor:
        """Float[B, L, D] -> Float[B, L, D]; for `cache` and `position` see Attention."""
        x = x + self.dropout(self.attention(self.attention_norm(x), rotation, cache, position))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Attention(nn.Module):
    """Causal multi-head softmax attention with rotary positions.

    On the meta device, where FLOPs are counted, torch's counter sees both of its products (4 B L L D
    a layer, the masked half included), so nothing is left for `report_flops`.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.input = nn.Linear(config.width, 3 * config.width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self, x: Tensor, rotation: Rotation, cache: Tensor | None = None, position: int = 0
    ) -> Tensor:
        """Float[B, L, D] -> Float[B, L, D].

        With a cache Float[2, B, H, capacity, d] that holds the keys and values before `position`, L is
        1: its key and value are added, and the one query attends to all up to its own.
        """
        split = self.input(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # Float[B, H, L, d] each
        query, key = rotate(query, rotation), rotate(key, rotation)
        if cache is not None:
            cache[0, :, :, position], cache[1, :, :, position] = key[:, :, 0], value[:, :, 0]
            key, value = cache[:, :, :, : position + 1]
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=cache is None)
        return self.output(mixed.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """W_out (silu(W_gate x) * W_value x)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.input = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.output = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.input(x).chunk(2, dim=-1)
        return self.output(F.silu(gate) * value)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn the pairs (x_i, x_{i + d/2}) of Float[..., L, d] by their angles."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.to(x.dtype)
