"""SaShiMi's U-Net around any blocks: what its class says of a stage is all that a baseline adds.

    tokens -> shift right by one -> embedding -> stages of blocks (see `unet_stages`) -> LayerNorm -> head

The width grows as the rate falls. A baseline with Mamba in the center and S4 around it:

    class MambaUNet(UNet):
        Config = MambaUNetConfig                          # a UNetConfig, perhaps with fields of its own

        def blocks(self, stage: Stage) -> Iterator[nn.Module]:
            spec = "mamba" if stage.center else "s4"
            for _ in range(self.config.layers):
                mixer = build("mixers", spec, width=stage.width, stride=stage.stride)
                yield Residual(mixer, width=stage.width, dropout=self.config.dropout)
                yield Residual(FeedForward(stage.width, 2 * stage.width), width=stage.width)

Source: Goel et al. 2022 (SaShiMi, arXiv 2202.09729), section 4.1, and its authors' code. Initial values are
torch's own, as there.

Shapes: B batch, L length, D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.unet_stages import Center, Level, Pooled, Residual, placed_mixers
from harness.contracts import ParameterGroup, PlacedMixer, State, can_resume, require
from models.parameter_groups import parameter_groups


class Stage(NamedTuple):
    """Where blocks stand: a level's, on its way down or up, or the center's."""

    level: int
    width: int
    stride: int
    """Samples that one step of this level spans."""
    center: bool


Blocks = Callable[[Stage], Iterable[nn.Module]]
"""Makes the blocks of a stage: modules like mixers, Float[B, L, D] -> Float[B, L, D], as `Residual` is."""


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    width: int = 64
    """At the sample rate; any number."""
    layers: int = 8
    """Of each stage: on the way up, at the center and, in a U-Net, on the way down."""
    pooling: tuple[int, ...] = (4, 4)
    """Factor between each level and the next."""
    widening: int = 2
    """By how much the width grows from a level to the next."""
    unet: bool = False
    """Layers on the way down, too, each with a skip to its mirror image."""
    dropout: float = 0.0
    """On every residual branch, and inside feed-forward blocks."""
    ssm_learning_rate_scale: float = 1.0
    """Factor on the learning rate of the state spaces' A, B and step sizes, which never decay."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "widening"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        for factor in self.pooling:
            require(factor >= 1, "pooling", f"every factor must be at least 1, got {factor}")
        require(0 <= self.dropout < 1, "dropout", f"must lie in [0, 1), got {self.dropout}")
        scale = self.ssm_learning_rate_scale
        require(scale >= 0, "ssm_learning_rate_scale", f"must not be negative, got {scale}")

    def check_data(self, vocab_size: int, length: int) -> None:
        """Raises: ConfigError when one step of the center is longer than a clip."""
        span = math.prod(self.pooling)
        message = f"the factors multiply to {span}, more than the {length} tokens of a clip"
        require(span <= length, "pooling", message)


class UNet(nn.Module):
    """Tokens, shifted by one -> embedding -> backbone -> norm -> logits. `blocks` is the baseline's."""

    Config: Any = UNetConfig

    def __init__(self, config: UNetConfig, vocab_size: int = 256) -> None:
        super().__init__()
        self.config: Any = config
        self.start_token = vocab_size // 2  # silence, in mu-law and in linear audio
        self.embedding = nn.Embedding(vocab_size, config.width)
        self.backbone = build_backbone(config, self.blocks)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, vocab_size)
        layers = [block.layer for block in self.modules() if isinstance(block, Residual)]
        if not all(can_resume(layer) for layer in layers):
            self.resume = None  # type: ignore[assignment,method-assign]

    def blocks(self, stage: Stage) -> Iterable[nn.Module]:
        """The blocks of one stage, made anew at each call."""
        raise NotImplementedError

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V], those at t made of the tokens before t."""
        before = F.pad(tokens[:, :-1], (1, 0), value=self.start_token)
        return self.head(self.norm(self.backbone(self.embedding(before))))

    def initial_state(self, batch_size: int) -> State:
        """The token before the next ones, Long[B] (the start token), and the state of the backbone."""
        last = torch.full((batch_size,), self.start_token, device=self.head.weight.device)
        return {"last": last, "backbone": self.backbone.initial_state(batch_size)}

    def step(self, token: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The previous token Long[B] (None: the state knows it) -> logits Float[B, V] of the next."""
        last = state["last"] if token is None else token
        x, backbone = self.backbone.step(self.embedding(last), state["backbone"])
        return self.head(self.norm(x)), {"backbone": backbone}

    def resume(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The next tokens Long[B, L] -> their logits Float[B, L, V] and the state after them.

        Raises: ValueError for a state of `step`, which does not know the token before these.
        """
        if "last" not in state:
            raise ValueError("a state of `step` lacks the last token; resume from a state of `resume`")
        before = torch.cat((state["last"].unsqueeze(1), tokens[:, :-1]), dim=1)
        x, backbone = self.backbone.resume(self.embedding(before), state["backbone"])
        return self.head(self.norm(x)), {"last": tokens[:, -1].clone(), "backbone": backbone}

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        last = batch_size * torch.long.itemsize if length == 0 else 0
        return last + self.backbone.state_size(batch_size, length)

    def mixers(self) -> list[PlacedMixer]:
        """The mixers of all stages, in the order of computation."""
        return list(placed_mixers(self.backbone))

    @property
    def period(self) -> int:
        """Samples in a step of the center: after a multiple of it no step waits to be pooled."""
        return math.prod(self.config.pooling)

    def optimizer_groups(self) -> list[ParameterGroup]:
        return parameter_groups(self, ssm_learning_rate_scale=self.config.ssm_learning_rate_scale)


def build_backbone(config: UNetConfig, blocks: Blocks) -> Level | Center:
    """All stages, Float[B, L, D] -> Float[B, L, D], without the norm at the end."""

    def build_level(level: int, width: int, stride: int) -> Level | Center:
        center = level == len(config.pooling)
        stage = Stage(level, width, stride, center)
        if center:
            return Center(blocks(stage))
        down = blocks(stage) if config.unet else ()
        factor, coarse_width = config.pooling[level], width * config.widening
        inner = build_level(level + 1, coarse_width, stride * factor)
        pooled = Pooled(inner, width=width, coarse_width=coarse_width, factor=factor)
        return Level(down, pooled, blocks(stage), unet=config.unet)

    return build_level(0, config.width, 1)
