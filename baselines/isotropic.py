"""Isotropic stacks: the same block at the sample rate all the way up, so that mixers can be compared.

    tokens -> shift right by one -> table -> n blocks -> LayerNorm -> head
    block:  x <- x + mixer(LayerNorm(x))        x <- x + W_2 GELU(W_1 LayerNorm(x))

Everything but the mixer is the same in S4, S4D, S5, LRU, MinGRU, GRU, LSTM and GatedDeltaNet: the isotropic
S4 that Goel et al. 2022 (SaShiMi, arXiv 2202.09729) put beside SaShiMi. Initial values are torch's
own, as there.

Shapes: B batch, L length, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from baselines.token_stack import MixerBlock, TokenStack
from harness.contracts import ParameterGroup, Preset, require
from harness.errors import ConfigError
from models.dropout import Dropout
from models.mixers import gated_delta_net, gru, lru, lstm, min_gru, s4, s4d, s5
from models.mixers.recurrence import RingConfig
from models.parameter_groups import parameter_groups
from models.scan import scan_backends


@dataclass(frozen=True, kw_only=True)
class IsotropicConfig:
    """What all stacks share. A subclass adds `mixer`, the configuration of its mixer."""

    width: int = 128
    """Any number that the mixer takes; those with heads want a multiple of them."""
    layers: int = 6
    """Blocks, each with a mixer and an MLP."""
    expand: int = 2
    """Hidden width of the MLP, in widths; 0: blocks without an MLP."""
    dropout: float = 0.0
    """On the table's output, on every residual branch and inside the MLP."""
    ssm_learning_rate_scale: float = 1.0
    """Factor on the learning rate of a state space's A, B and step sizes, which never decay."""

    def __post_init__(self) -> None:
        for name in ("width", "layers"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        require(self.expand >= 0, "expand", f"must not be negative, got {self.expand}")
        require(0 <= self.dropout < 1, "dropout", f"must lie in [0, 1), got {self.dropout}")
        scale = self.ssm_learning_rate_scale
        require(scale >= 0, "ssm_learning_rate_scale", f"must not be negative, got {scale}")


class Isotropic(TokenStack):
    """The generic stack; a subclass names the class of its mixer."""

    Mixer: ClassVar[Any]

    def __init__(self, config: Any, vocab_size: int = 256) -> None:
        try:
            blocks = [IsotropicBlock(config, self.Mixer) for _ in range(config.layers)]
        except ConfigError as error:  # options that do not fit this width
            raise error.under("mixer") from None
        super().__init__(
            blocks,
            width=config.width,
            vocab_size=vocab_size,
            norm=nn.LayerNorm(config.width),
            dropout=config.dropout,
        )
        self.config = config

    def optimizer_groups(self) -> list[ParameterGroup]:
        return parameter_groups(self, ssm_learning_rate_scale=self.config.ssm_learning_rate_scale)

    @property
    def scan_backend(self) -> str:
        return scan_backends(self)


class IsotropicBlock(MixerBlock):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: Any, mixer: Any) -> None:
        super().__init__()
        width, hidden = config.width, config.expand * config.width
        self.mixer_norm = nn.LayerNorm(width)
        self.mixer = mixer(config.mixer, width=width, stride=1)
        self.mlp_norm = nn.LayerNorm(width) if hidden else None
        self.mlp = MLP(width, hidden, config.dropout) if hidden else None
        self.dropout = Dropout(config.dropout)

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.dropout(y)
        if self.mlp is None or self.mlp_norm is None:
            return x
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class MLP(nn.Sequential):
    """W_2 Dropout(GELU(W_1 x)), with biases."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, width))


# ------------------------------------------------------------------------------- one class a mixer


@dataclass(frozen=True, kw_only=True)
class S4StackConfig(IsotropicConfig):
    mixer: s4.S4Config = field(default_factory=s4.S4Config)


class S4(Isotropic):
    """Isotropic S4: structured state spaces, normal plus low-rank, at the sample rate."""

    Config = S4StackConfig
    Mixer = s4.S4
    complexity: ClassVar[tuple[str, str]] = ("D² + D (N + log L)", "D² + D N")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "layers": 2, "mixer": {"state": 8}},
        {"width": 8, "layers": 1, "expand": 0, "mixer": {"state": 4, "systems": 1}, "dropout": 0.2},
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={"width": 256, "layers": 8, "expand": 4, "mixer": {"systems": 1}},
            source="Goel et al. 2022 (SaShiMi): isotropic S4 of 8 layers on YouTubeMix",
            parameters=5_530_000,
            train={
                "batch_size": 1,
                "crop": 131_072,
                "learning_rate": 4e-3,
                "warmup_steps": 0,
                "weight_decay": 0.0,
                "clip_norm": None,
                "skip_norm": None,
                "ema_decay": 0.0,
            },
            note="The sizes of the layers are not in the paper: these are those whose count is its own, with "
            "4 layers (2.83 M) too. It lowers the rate by 0.2 at a plateau; here it is constant.",
        ),
    }


@dataclass(frozen=True, kw_only=True)
class S4DStackConfig(IsotropicConfig):
    mixer: s4d.S4DConfig = field(default_factory=s4d.S4DConfig)


class S4D(Isotropic):
    """Isotropic S4D: diagonal state spaces, one a channel, at the sample rate."""

    Config = S4DStackConfig
    Mixer = s4d.S4D
    complexity: ClassVar[tuple[str, str]] = ("D² + D (N + log L)", "D² + D N")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "layers": 2, "mixer": {"state": 8}},)


@dataclass(frozen=True, kw_only=True)
class S5StackConfig(IsotropicConfig):
    mixer: s5.S5Config = field(default_factory=s5.S5Config)


class S5(Isotropic):
    """Isotropic S5: one diagonal state space of all channels, at the sample rate."""

    Config = S5StackConfig
    Mixer = s5.S5
    complexity: ClassVar[tuple[str, str]] = ("D² + D N", "D² + D N")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "layers": 2},)
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={
                "width": 96,
                "layers": 6,
                "expand": 0,
                "dropout": 0.1,
                "ssm_learning_rate_scale": 0.25,
                "mixer": {"state": 128, "blocks": 16},
            },
            source="Smith et al. 2023 (S5), bin/run_experiments/run_speech35.sh of the authors' code",
            train={
                "batch_size": 16,
                "learning_rate": 8e-3,
                "schedule": "cosine",
                "weight_decay": 0.04,
                "decay": "matrices",
                "clip_norm": None,
                "skip_norm": None,
                "ema_decay": 0.0,
            },
            parameters=280_000,
            note="There it classifies spoken words: with a linear map of samples and a head of 35 classes "
            "in the place of the token table and the head, with batch norm, and in both directions of "
            "time, for which it has twice our C (74 k parameters more).",
        ),
    }


@dataclass(frozen=True, kw_only=True)
class LRUStackConfig(IsotropicConfig):
    mixer: RingConfig = field(default_factory=RingConfig)


class LRU(Isotropic):
    """Isotropic LRU: linear recurrent units with complex decays, at the sample rate."""

    Config = LRUStackConfig
    Mixer = lru.LRU
    complexity: ClassVar[tuple[str, str]] = ("D²", "D²")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "layers": 2},
        {"width": 6, "layers": 1, "mixer": {"complex": False, "hidden": 7, "ring_of": "decay"}},
    )


@dataclass(frozen=True, kw_only=True)
class MinGRUStackConfig(IsotropicConfig):
    mixer: min_gru.MinGRUConfig = field(default_factory=min_gru.MinGRUConfig)


class MinGRU(Isotropic):
    """Isotropic minGRU: gated recurrent units whose gate sees the input alone, by a scan."""

    Config = MinGRUStackConfig
    Mixer = min_gru.MinGRU
    complexity: ClassVar[tuple[str, str]] = ("D²", "D²")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "layers": 2},)


@dataclass(frozen=True, kw_only=True)
class GRUStackConfig(IsotropicConfig):
    mixer: gru.GRUConfig = field(default_factory=gru.GRUConfig)


class GRU(Isotropic):
    """Isotropic GRU: gated recurrent units, one step after the other."""

    Config = GRUStackConfig
    Mixer = gru.GRU
    complexity: ClassVar[tuple[str, str]] = ("D², in sequence", "D²")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "layers": 2},)


@dataclass(frozen=True, kw_only=True)
class LSTMStackConfig(IsotropicConfig):
    mixer: lstm.LSTMConfig = field(default_factory=lstm.LSTMConfig)


class LSTM(Isotropic):
    """Isotropic LSTM: long short-term memory, one step after the other."""

    Config = LSTMStackConfig
    Mixer = lstm.LSTM
    complexity: ClassVar[tuple[str, str]] = ("D², in sequence", "D²")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "layers": 2},)


@dataclass(frozen=True, kw_only=True)
class GatedDeltaNetStackConfig(IsotropicConfig):
    mixer: gated_delta_net.GatedDeltaNetConfig = field(default_factory=gated_delta_net.GatedDeltaNetConfig)


class GatedDeltaNet(Isotropic):
    """Isotropic Gated DeltaNet: linear attention that overwrites and decays (gated delta rule)."""

    Config = GatedDeltaNetStackConfig
    Mixer = gated_delta_net.GatedDeltaNet
    complexity: ClassVar[tuple[str, str]] = ("D² + D K", "D² + D K")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "layers": 2, "mixer": {"heads": 2}},
        {"width": 8, "layers": 1, "mixer": {"heads": 1, "key": 3, "expand": 1}},
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={"width": 2048, "layers": 21, "expand": 4, "mixer": {"heads": 6, "key": 256}},
            source="Yang et al. 2024, the 1.3 B model: configuration_gated_deltanet.py of "
            "flash-linear-attention, whose authors they are",
            vocab_size=32_000,
            note="Called 1.3 B; no exact count is published. Its MLP is a SwiGLU of as many parameters, its "
            "norms are RMSNorm.",
        ),
    }
