"""Hourglass: a transformer whose middle layers run on every k-th step, and again within.

    x  <- blocks(x)                                     at the rate of the level
    x' <- shorten(x shifted right by k - 1)             group j: the steps j k - k + 1 to j k
    x' <- the next level, or at the lowest blocks(x')
    x  <- x + norm(prolong(x, x'))                      step t knows the groups up to t // k
    x  <- blocks(x)

The shift is what keeps it causal: a group is known at its last step, and used from that step on. When
generating, an inner level runs every k-th step; between, what it said last is held.

Time is that of full attention at the outer levels, O(L^2), unless there is a window there: then with
W steps in sight O(L W + (L/K)^2), where K is the product of the factors.

Source: Nawrot et al. 2022 (arXiv 2110.13711), algorithm 1, and its authors' code (google/trax,
models/research/hourglass.py). The blocks are those of `baselines.decoder_stack`: rotary positions for
relative ones with weights, RMSNorm and SwiGLU for LayerNorm and GELU.

Shapes: B batch, L length, D width, k shortening factor, M = ceil(L/k) coarse steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from baselines.decoder_stack import DecoderStack, hidden_width
from baselines.resampling import Prolonging, ResamplingKind, Shortening, grouped
from baselines.transformer import Transformer, check_block, check_heads
from harness.contracts import PlacedMixer, Preset, State, require


@dataclass(frozen=True, kw_only=True)
class HourglassConfig:
    """Widths are multiples of twice `heads`."""

    width: int = 128
    """Of all levels."""
    layers: tuple[int, ...] = (1, 4)
    """Of each level, the fastest first: as many before the next level as after it; of the last, in all."""
    factors: tuple[int, ...] = (4,)
    """Steps of each level that are one of the next."""
    heads: int = 4
    shortening: ResamplingKind = "attention"
    """plain: the mean of each group; linear: a map of it; attention: that map, attention and an MLP."""
    upsampling: ResamplingKind = "attention"
    """plain: the same for all steps of a group; linear: a map for each; attention: as above."""
    window: int | None = None
    """Steps of its level that attention sees in all levels but the last; null: all."""
    expand: float = 8 / 3
    """Hidden width of SwiGLU, in widths."""
    rope_base: float = 10_000.0
    dropout: float = 0.0
    """On the token table's output and on every residual branch."""

    def __post_init__(self) -> None:
        require(self.width >= 1, "width", f"must be at least 1, got {self.width}")
        check_heads("heads", self.heads, self.width)
        levels = len(self.factors) + 1
        message = f"{len(self.factors)} factors make {levels} levels, got layers for {len(self.layers)}"
        require(len(self.layers) == levels, "layers", message)
        for count in self.layers:
            require(count >= 1, "layers", f"every level needs at least 1, got {count}")
        for factor in self.factors:
            require(factor >= 2, "factors", f"every factor must be at least 2, got {factor}")
        widest = max(self.factors, default=1)
        message = f"must be at least the largest factor, {widest}, or null, got {self.window}"
        require(self.window is None or self.window >= widest, "window", message)
        check_block(self.expand, self.rope_base, self.dropout)

    def check_data(self, vocab_size: int, length: int) -> None:
        """Raises: ConfigError when one step of the last level is longer than a clip."""
        span = math.prod(self.factors)
        message = f"the factors multiply to {span}, more than the {length} tokens of a clip"
        require(span <= length, "factors", message)


class Hourglass(Transformer):
    """A transformer whose middle layers run on a shortened sequence (Nawrot et al. 2022)."""

    Config: ClassVar[type] = HourglassConfig
    complexity: ClassVar[tuple[str, str]] = ("D² + L D", "D² + L D")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "layers": [1, 1], "factors": [3], "heads": 2},
        {
            "width": 8,
            "layers": [1, 1, 1],
            "factors": [2, 3],
            "heads": 1,
            "shortening": "linear",
            "upsampling": "plain",
            "window": 5,
            "dropout": 0.1,
        },
        {
            "width": 8,
            "layers": [1, 1, 1],
            "factors": [2, 2],
            "heads": 2,
            "upsampling": "linear",
            "window": 3,
        },
        {"width": 4, "layers": [1, 1], "factors": [4], "heads": 1, "shortening": "plain", "window": 7},
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={
                "width": 512,
                "layers": [3, 24],
                "factors": [3],
                "heads": 8,
                "dropout": 0.01,
            },
            source="Nawrot et al. 2022 (arXiv 2110.13711); google/trax, "
            "supervised/configs/hourglass_imagenet32.gin",
            train={
                "steps": 400_000,
                "crop": 3072,
                "learning_rate": 4.94e-4,
                "warmup_steps": 8000,
                "weight_decay": 0.0,
                "beta2": 0.98,
                "epsilon": 1e-9,
            },
            note="103 M parameters. Of the pixels of images, as no model of audio is published. There "
            "relative positions have weights, which rotary ones have not, and the learning rate falls with "
            "the root of the step; here it is constant.",
        )
    }

    @staticmethod
    def build_body(config: HourglassConfig) -> Level | DecoderStack:
        return build_level(config, 0)

    def mixers(self) -> list[PlacedMixer]:
        """The blocks of all levels; what the attention between two rates remembers is the pooling's."""
        return self.body.mixers()

    @property
    def period(self) -> int:
        """Tokens of a step of the last level: `resume` begins with one."""
        return math.prod(self.config.factors)


class Level(nn.Module):
    """Blocks, a slower level with a way around it, blocks. Float[B, L, D] -> Float[B, L, D]."""

    def __init__(
        self,
        *,
        before: DecoderStack,
        shortening: Shortening,
        inner: Level | DecoderStack,
        prolonging: Prolonging,
        after: DecoderStack,
    ) -> None:
        super().__init__()
        self.before, self.shortening, self.inner = before, shortening, inner
        self.prolonging, self.after = prolonging, after
        self.factor, self.width = prolonging.factor, before.width

    def forward(self, x: Tensor) -> Tensor:
        """The same as `resume` from the start, without the caches."""
        x = self.before(x)
        groups = grouped(self._zeros(len(x), self.factor - 1), x, self.factor)
        short, _ = self.shortening(groups, self.shortening.initial_state(len(x)))
        z = self.inner(short)
        spread = self.prolonging.spread(z)[:, : x.shape[1]]
        x, _ = self.prolonging(x, spread, z, self.prolonging.initial_state(len(x)))
        return self.after(x)

    def mixers(self, level: int = 0, stride: int = 1) -> list[PlacedMixer]:
        """The blocks of this level and of all below it."""
        inner = self.inner.mixers(level + 1, stride * self.factor)
        return [*self.before.mixers(level, stride), *inner, *self.after.mixers(level, stride)]

    def initial_state(self, batch_size: int) -> State:
        """The states of all parts, and what waits between the rates.

        steps: made since the inner level ran; last: Float[B, k - 1, D], the last steps, at first zeros;
        spread: Float[B, k, D], what the inner level said to the steps from its last one on.
        """
        return {
            "steps": 0,
            "before": self.before.initial_state(batch_size),
            "last": self._zeros(batch_size, self.factor - 1),
            "shortening": self.shortening.initial_state(batch_size),
            "inner": self.inner.initial_state(batch_size),
            "spread": self._zeros(batch_size, self.factor),
            "prolonging": self.prolonging.initial_state(batch_size),
            "after": self.after.initial_state(batch_size),
        }

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Continue for L more steps, from a state after whole groups; None comes back after other lengths."""
        x, before = self.before.resume(x, state["before"])
        length, factor = x.shape[1], self.factor
        groups = grouped(state["last"], x, factor)
        short, shortening = self.shortening(groups, state["shortening"])
        z, inner = self.inner.resume(short, state["inner"])
        spread = self.prolonging.spread(z)
        y, prolonging = self.prolonging(x, spread[:, :length], z, state["prolonging"])
        y, after = self.after.resume(y, state["after"])
        if length % factor or inner is None:
            return y, None
        return y, {
            "steps": 0,
            "before": before,
            "last": x[:, length - factor + 1 :].clone(),
            "shortening": shortening,
            "inner": inner,
            "spread": spread[:, -factor:].clone(),
            "prolonging": prolonging,
            "after": after,
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, D] -> Float[B, D]; the inner level runs at the first step of every k."""
        x, before = self.before.step(x, state["before"])
        x = x.unsqueeze(1)
        group = torch.cat((state["last"], x), dim=1)
        steps, shortening, inner, spread = (state[k] for k in ("steps", "shortening", "inner", "spread"))
        z = x[:, :0]
        if steps == 0:
            short, shortening = self.shortening(group.unsqueeze(1), shortening)
            y, inner = self.inner.step(short.squeeze(1), inner)
            z = y.unsqueeze(1)
            spread = self.prolonging.spread(z)
        y, prolonging = self.prolonging(x, spread[:, steps : steps + 1], z, state["prolonging"])
        y, after = self.after.step(y.squeeze(1), state["after"])
        return y, {
            "steps": (steps + 1) % self.factor,
            "before": before,
            "last": group[:, 1:].clone(),
            "shortening": shortening,
            "inner": inner,
            "spread": spread,
            "prolonging": prolonging,
            "after": after,
        }

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        groups = -(-length // self.factor)
        waiting = batch_size * (2 * self.factor - 1) * self.width * self.prolonging.norm.weight.element_size()
        return (
            waiting
            + self.before.state_size(batch_size, length)
            + self.shortening.state_size(batch_size, groups, groups * self.factor)
            + self.inner.state_size(batch_size, groups)
            + self.prolonging.state_size(batch_size, length, groups)
            + self.after.state_size(batch_size, length)
        )

    def _zeros(self, batch_size: int, steps: int) -> Tensor:
        return self.prolonging.norm.weight.new_zeros(batch_size, steps, self.width)


def build_level(config: HourglassConfig, level: int) -> Level | DecoderStack:
    """A level with all that is below it."""
    last = level == len(config.factors)
    hidden = hidden_width(config.width, config.expand)
    shared: dict[str, Any] = {
        "width": config.width,
        "heads": config.heads,
        "hidden": hidden,
        "rope_base": config.rope_base,
        "dropout": config.dropout,
        "window": None if last else config.window,
    }
    layers = config.layers[level]
    if last:
        return DecoderStack(layers=layers, **shared)
    factor = config.factors[level]
    return Level(
        before=DecoderStack(layers=layers, **shared),
        shortening=Shortening(config.shortening, factor=factor, **shared),
        inner=build_level(config, level + 1),
        prolonging=Prolonging(config.upsampling, factor=factor, **shared),
        after=DecoderStack(layers=layers, **shared),
    )
