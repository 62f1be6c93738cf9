"""Poolformer: an autoregressive model of nested SkipBlocks over ever shorter sequences.

    tokens -> shift right by one -> embedding -> SkipBlock(P1, SkipBlock(P2, ... TemporalStack)) -> head

Source: Gallo Fernández 2025, "Poolformer" (arXiv 2510.02206), and its code (`patch-ar`). Level 0
runs at the sample rate, level l at every P1 P2 ... Pl-th sample, the bottom at the rate of the last.

Shapes: B batch, L length, V vocabulary, D width, P pooling factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.configuration import build
from harness.contracts import Component, Spec, State, require
from harness.errors import ConfigError
from models.embedding import EmbeddingName, build_embedding
from models.initialization import Dense
from models.mixers.convolution import ConvolutionThen
from models.pooling import DownPool, UpPool
from models.residual import EPSILON, MLP, NormName, ResBlock
from models.scan import backend_for
from models.skip_block import SkipBlock, TemporalStack

LevelMixers = tuple[Spec, ...]


@dataclass(frozen=True, kw_only=True)
class PoolformerConfig:
    """The defaults are the authors' launch template: 7,272,704 parameters.

    A setting "per level" is a list with one entry for each pooling factor and one for the bottom.
    """

    width: int = 128
    pooling: tuple[int, ...] = (2, 4, 4, 5)
    """Factor between each level and the next; none: one stack of blocks at the sample rate."""
    layers: int | tuple[int, ...] = 4
    """Layers (a mixer block and an MLP block) on each side of each level; one number, or per level."""
    mixer: Annotated[Spec | tuple[Spec | LevelMixers, ...], Component("mixers")] = "rg_lru"
    """One for all levels, or per level; a level may list the mixer of each of its layers."""
    temporal_convolution: Annotated[Spec | None, Component("mixers")] = None
    """A mixer, with a LayerNorm after it, in front of every other kind of mixer."""
    expand: int = 2
    """Width of the MLP's branch, in widths."""
    widening: int | tuple[int, ...] = 1
    """By how much the width grows from a level to the next; one number, or one for each factor."""
    down_blocks: bool = True
    """Blocks before each down-pooling, besides those after the up-pooling."""
    gating: bool = True
    norm: NormName = "layer"
    embedding: EmbeddingName = "sinusoidal"
    pool_groups: int | None = None
    """Blocks of the block-diagonal pooling maps; null: one a channel (depthwise), 1: dense."""
    dropout: float = 0.2

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", f"must be at least 1, got {self.width}")
        odd = self.embedding == "sinusoidal" and self.width % 2 == 1
        require(not odd, "width", f"must be even for the sinusoidal embedding, got {self.width}")
        for factor in self.pooling:
            require(factor >= 1, "pooling", f"every factor must be at least 1, got {factor}")
        require(self.expand >= 1, "expand", f"must be at least 1, got {self.expand}")
        require(0 <= self.dropout < 1, "dropout", f"must lie in [0, 1), got {self.dropout}")
        self._check_layers()
        self._check_widths()

    def check_data(self, vocab_size: int, length: int) -> None:
        """Raises: ConfigError when one step of the bottom level is longer than a clip."""
        span = math.prod(self.pooling)
        message = f"the factors multiply to {span}, more than the {length} tokens of a clip"
        require(span <= length, "pooling", message)

    @property
    def levels(self) -> int:
        return len(self.pooling) + 1

    @property
    def level_strides(self) -> tuple[int, ...]:
        """Samples between two steps of each level."""
        return tuple(accumulate(self.pooling, mul, initial=1))

    @property
    def level_widths(self) -> tuple[int, ...]:
        growth = self.widening
        growth = (growth,) * len(self.pooling) if isinstance(growth, int) else growth
        return tuple(accumulate(growth, mul, initial=self.width))

    @property
    def level_mixers(self) -> tuple[LevelMixers, ...]:
        """The mixer of each layer of each level, in the order of the down side."""
        each = (self.mixer,) * self.levels if isinstance(self.mixer, str | Mapping) else self.mixer
        return tuple(
            (mixer,) * count if isinstance(mixer, str | Mapping) else tuple(mixer)
            for mixer, count in zip(each, self._level_layers(), strict=True)
        )

    def _level_layers(self) -> tuple[int, ...]:
        return (self.layers,) * self.levels if isinstance(self.layers, int) else self.layers

    def _check_layers(self) -> None:
        layers = self._level_layers()
        expected = f"{self.levels} levels ({len(self.pooling)} pooling factors and the bottom)"
        require(len(layers) == self.levels, "layers", f"needs one number, or {expected}, got {len(layers)}")
        require(min(layers) >= 0, "layers", f"must not be negative, got {min(layers)}")
        require(layers[-1] >= 1, "layers", "the bottom level needs at least 1")
        if isinstance(self.mixer, str | Mapping):
            return
        count = len(self.mixer)
        require(count == self.levels, "mixer", f"needs one mixer, or {expected}, got {count}")
        for level, (mixer, wanted) in enumerate(zip(self.mixer, layers, strict=True)):
            listed = wanted if isinstance(mixer, str | Mapping) else len(mixer)
            message = f"level {level} has {wanted} layers, but {listed} mixers are listed for it"
            require(listed == wanted, "mixer", message)

    def _check_widths(self) -> None:
        if not isinstance(self.widening, int):
            count = len(self.widening)
            message = f"needs one number, or one for each of the {len(self.pooling)} factors, got {count}"
            require(count == len(self.pooling), "widening", message)
        growth = (self.widening,) if isinstance(self.widening, int) else self.widening
        for factor in growth:
            require(factor >= 1, "widening", f"must be at least 1, got {factor}")
        groups = self.pool_groups
        divides = groups is None or (groups >= 1 and self.width % groups == 0)
        require(divides, "pool_groups", f"must divide the width, {self.width}, got {groups}")


class Poolformer(nn.Module):
    """Nested pooled levels of gated linear recurrences (Gallo Fernández 2025)."""

    Config = PoolformerConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "pooling": [2, 3], "layers": 1},
        {
            "width": 8,
            "pooling": [3, 1],
            "layers": [2, 1, 1],
            "mixer": [["convolution", "rg_lru"], {"name": "attention", "heads": 2, "window": 3}, "lru"],
            "pool_groups": 2,
            "embedding": "table",
            "norm": "rms",
        },
        {
            "width": 8,
            "pooling": [4],
            "layers": 1,
            "mixer": "diagonal_rnn",
            "temporal_convolution": "convolution",
            "embedding": "mlp",
            "gating": False,
            "down_blocks": False,
            "pool_groups": 1,
            "widening": 2,
        },
        {"width": 8, "pooling": [], "layers": 1, "mixer": "attention", "norm": "none"},
    )

    def __init__(self, config: PoolformerConfig, vocab_size: int = 256) -> None:
        super().__init__()
        self.config = config
        self.start_token = vocab_size // 2
        self.embedding = build_embedding(config.embedding, vocab_size, config.width)
        self.body = build_level(config, 0)
        self.norm = nn.LayerNorm(config.width, eps=EPSILON)
        self.head = Dense(config.width, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V], those at t made of the tokens before t."""
        length = tokens.shape[1]
        padding = -length % self.config.level_strides[-1]  # later steps, which no logit sees
        shifted = F.pad(tokens[:, :-1], (1, padding), value=self.start_token)
        x = self.body(self.embedding(shifted))
        return self.head(self.norm(x[:, :length]))

    def initial_state(self, batch_size: int) -> State:
        """The start tokens Long[B] and the states of the levels."""
        start = torch.full((batch_size,), self.start_token, device=self.head.weight.device)
        return start, self.body.initial_state(batch_size)

    def step(self, token: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The previous token Long[B] (None at the start) -> logits Float[B, V] of the next."""
        start, body = state
        x, body = self.body.step(self.embedding(start if token is None else token), body)
        return self.head(self.norm(x)), (start, body)

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        return batch_size * torch.long.itemsize + self.body.state_size(batch_size, length)

    @property
    def scan_backend(self) -> str:
        return backend_for(self.head.weight.device)


def build_level(config: PoolformerConfig, level: int) -> SkipBlock | TemporalStack:
    """A level with all that is below it."""
    mixers = config.level_mixers[level]
    if level == config.levels - 1:
        return TemporalStack(build_blocks(config, level, mixers, output_scale=1 / (2 * len(mixers))))
    # as many residual branches as the level's output is a sum of: its blocks and the inner level
    sides = 2 if config.down_blocks else 1
    output_scale = 1 / (2 * sides * len(mixers) + 1)
    width, coarse_width = config.level_widths[level : level + 2]
    factor, groups = config.pooling[level], config.pool_groups or width
    return SkipBlock(
        down=build_blocks(config, level, mixers if config.down_blocks else (), output_scale),
        down_pool=DownPool(width, coarse_width, factor=factor, groups=groups),
        inner=build_level(config, level + 1),
        up_pool=UpPool(width, coarse_width, factor=factor, groups=groups, output_scale=output_scale),
        up=build_blocks(config, level, mixers[::-1], output_scale),
    )


def build_blocks(
    config: PoolformerConfig, level: int, mixers: LevelMixers, output_scale: float
) -> list[ResBlock]:
    """For each mixer a block around it and one around an MLP."""
    width = config.level_widths[level]
    branch = config.expand * width

    def block(layer: nn.Module, branch: int) -> ResBlock:
        return ResBlock(
            layer,
            width=width,
            branch=branch,
            norm=config.norm,
            gating=config.gating,
            dropout=config.dropout,
            output_scale=output_scale,
        )

    blocks = []
    for spec in mixers:
        blocks.append(block(_build_mixer(config, level, spec), width))
        blocks.append(block(MLP(width, branch), branch))
    return blocks


def _build_mixer(config: PoolformerConfig, level: int, spec: Spec) -> nn.Module:
    width, stride = config.level_widths[level], config.level_strides[level]
    try:
        mixer = build("mixers", spec, width=width, stride=stride)
    except ConfigError as error:  # options that do not fit this width
        raise error.under("mixer") from None
    front = config.temporal_convolution
    if front is None or _name(front) == _name(spec):
        return mixer
    return ConvolutionThen(build("mixers", front, width=width, stride=stride), mixer, width=width)


def _name(spec: Spec) -> str:
    return spec if isinstance(spec, str) else spec["name"]
