"""What a Poolformer can be: every choice that its thesis ablates, and the checks of their combinations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Annotated, Literal

from harness.contracts import Component, Spec, require
from models.embedding import EmbeddingName
from models.pooling import WITHOUT_PARAMETERS, PoolingKind
from models.residual import NormName
from models.skip_block import SkipName

LevelMixers = tuple[Spec, ...]
InitializationName = Literal["scaled", "plain", "constant"]

CONSTANT_BRANCH_SCALE = 0.125
"""Factor on every residual branch with the constant initialisation, as in the original's first version."""


@dataclass(frozen=True, kw_only=True)
class PoolformerConfig:
    """The defaults are the authors' launch template: 7,272,704 parameters.

    A setting "per level" is a list with one entry for each pooling factor and one for the bottom.
    """

    width: int = 128
    pooling: tuple[int, ...] = (2, 4, 4, 5)
    """Factor between each level and the next; none: one stack of blocks at the sample rate."""
    layers: int | tuple[int, ...] = 4
    """Layers (a mixer block and an MLP block) after the up-pooling of each level, and of the bottom;
    one number, or per level."""
    down_layers: int | tuple[int, ...] | None = None
    """Layers before the down-pooling; one number, or one for each factor; null: as many as after the
    up-pooling."""
    mixer: Annotated[Spec | tuple[Spec | LevelMixers, ...], Component("mixers")] = "rg_lru"
    """One for all levels, or per level; a level may list the mixer of each of its layers, from the
    outside inwards: the side with fewer layers has the first of them."""
    temporal_convolution: Annotated[Spec | None, Component("mixers")] = None
    """A mixer, with a LayerNorm after it, in front of every other kind of mixer."""
    expand: int = 2
    """Width of the MLP's branch, in widths."""
    widening: int | tuple[int, ...] = 1
    """By how much the width grows from a level to the next; one number, or one for each factor."""
    pooling_kind: PoolingKind = "linear"
    """linear: a learned map of each window; convolution: of each window and the one before it;
    average: the mean; subsample: the last step. The latter two learn nothing, and repeat on the way up."""
    pool_groups: int | None = None
    """Blocks of the block-diagonal pooling maps; null: one a channel (depthwise), 1: dense."""
    skip: SkipName = "short"
    """short: around a level's pooling and all below it; long: around the level whole, its blocks
    included; both; none."""
    gating: bool = True
    norm: NormName = "layer"
    embedding: EmbeddingName = "sinusoidal"
    initialization: InitializationName = "scaled"
    """Of the last map of each residual branch and of the up-pooling. scaled: variance 1/fan-in over
    the number of branches of the level; plain: 1/fan-in; constant: plain, and every residual branch is
    multiplied by 0.125."""
    dropout: float = 0.2
    recompute: int = 0
    """Levels, from the top, whose blocks keep nothing but their inputs for the backward pass and compute
    the rest again: less memory for one more forward pass, the same gradients."""
    recompute_chunk: int | None = None
    """Train on longer sequences in chunks of so many samples, which keep nothing but the state before
    them and compute the rest again: the levels' memory no longer grows with the length of a clip. Below
    some ten thousand samples, the many small operations cost more than the one more forward pass."""

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", f"must be at least 1, got {self.width}")
        odd = self.embedding == "sinusoidal" and self.width % 2 == 1
        require(not odd, "width", f"must be even for the sinusoidal embedding, got {self.width}")
        for factor in self.pooling:
            require(factor >= 1, "pooling", f"every factor must be at least 1, got {factor}")
        require(self.expand >= 1, "expand", f"must be at least 1, got {self.expand}")
        require(0 <= self.dropout < 1, "dropout", f"must lie in [0, 1), got {self.dropout}")
        known = 0 <= self.recompute <= self.levels
        require(known, "recompute", f"must be 0 to {self.levels}, the number of levels, got {self.recompute}")
        chunk = self.recompute_chunk
        require(chunk is None or chunk >= 1, "recompute_chunk", "must be at least 1, or null")
        self._check_layers()
        self._check_mixers()
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
    def level_layers(self) -> tuple[tuple[int, int], ...]:
        """Layers before the down-pooling and after the up-pooling; at the bottom none and all."""
        up = (self.layers,) * self.levels if isinstance(self.layers, int) else self.layers
        down = up[:-1] if self.down_layers is None else self.down_layers
        down = (down,) * len(self.pooling) if isinstance(down, int) else down
        return tuple(zip((*down, 0), up, strict=True))

    @property
    def level_mixers(self) -> tuple[tuple[LevelMixers, LevelMixers], ...]:
        """The mixers before the down-pooling and after the up-pooling, in the order of computation."""
        each = (self.mixer,) * self.levels if isinstance(self.mixer, str | Mapping) else self.mixer
        found = []
        for mixer, (down, up) in zip(each, self.level_layers, strict=True):
            listed = (mixer,) * max(down, up) if isinstance(mixer, str | Mapping) else tuple(mixer)
            found.append((listed[:down], listed[:up][::-1]))
        return tuple(found)

    def _check_layers(self) -> None:
        factors = len(self.pooling)
        if not isinstance(self.layers, int):
            count, expected = len(self.layers), self._per_level
            require(count == self.levels, "layers", f"needs one number, or {expected}, got {count}")
        if isinstance(self.down_layers, tuple):
            count, expected = len(self.down_layers), f"one for each of the {factors} factors"
            require(count == factors, "down_layers", f"needs one number, or {expected}, got {count}")
        for down, up in self.level_layers:
            require(up >= 0, "layers", f"must not be negative, got {up}")
            require(down >= 0, "down_layers", f"must not be negative, got {down}")
        require(self.level_layers[-1][1] >= 1, "layers", "the bottom level needs at least 1")

    def _check_mixers(self) -> None:
        if isinstance(self.mixer, str | Mapping):
            return
        count = len(self.mixer)
        require(count == self.levels, "mixer", f"needs one mixer, or {self._per_level}, got {count}")
        for level, (mixer, (down, up)) in enumerate(zip(self.mixer, self.level_layers, strict=True)):
            if isinstance(mixer, str | Mapping):
                continue
            wanted = f"{down} layers down and {up} up" if down not in (0, up) else f"{up} layers"
            message = f"level {level} has {wanted}, but {len(mixer)} mixers are listed for it"
            require(len(mixer) == max(down, up), "mixer", message)

    def _check_widths(self) -> None:
        factors = len(self.pooling)
        if not isinstance(self.widening, int):
            count, expected = len(self.widening), f"one for each of the {factors} factors"
            require(count == factors, "widening", f"needs one number, or {expected}, got {count}")
        growth = (self.widening,) if isinstance(self.widening, int) else self.widening
        for factor in growth:
            require(factor >= 1, "widening", f"must be at least 1, got {factor}")
        groups, kind = self.pool_groups, self.pooling_kind
        divides = groups is None or (groups >= 1 and self.width % groups == 0)
        require(divides, "pool_groups", f"must divide the width, {self.width}, got {groups}")
        if kind in WITHOUT_PARAMETERS:
            message = f"{kind} pooling keeps the width: must be 1, got {max(growth, default=1)}"
            require(max(growth, default=1) == 1, "widening", message)
            message = f"{kind} pooling has no maps to divide into blocks; leave it null"
            require(groups is None, "pool_groups", message)

    @property
    def _per_level(self) -> str:
        return f"one for each of {self.levels} levels ({len(self.pooling)} pooling factors and the bottom)"
