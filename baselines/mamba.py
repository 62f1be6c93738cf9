"""Mamba and Mamba-2 as their authors stack them: one kind of block at the sample rate all the way up.

    tokens -> shift right by one -> table -> n blocks -> RMSNorm -> head       x <- x + mixer(RMSNorm(x))

A block holds its own gate and expansion, about 6 D^2 parameters, half of those of a transformer's layer:
there are twice as many. The head is the table.

Source: Gu and Dao 2023 (arXiv 2312.00752), section 3.4, and Dao and Gu 2024 (arXiv 2405.21060); initial
values as in `mixer_seq_simple.py` of their package mamba_ssm: a table of deviation 0.02, no biases but that
of the step sizes and the convolution, and the last map of each block divided by sqrt(n), so that the sum
over all blocks does not grow with depth. Dropout, which the published models do without, is on the table's
output and on every block.

Shapes: B batch, L length, D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from baselines.token_stack import TokenStack
from baselines.unet_stages import Residual
from harness.contracts import ParameterGroup, Preset, require
from harness.errors import ConfigError
from models.mixers import mamba, mamba2
from models.mixers.short_convolution import ShortConvolution
from models.parameter_groups import parameter_groups
from models.scan import scan_backends

EPSILON = 1e-5
NEOX_VOCABULARY = 50_280
"""GPT-NeoX's tokens, rounded up to a multiple of 8."""


@dataclass(frozen=True, kw_only=True)
class MambaStackConfig:
    """What both stacks share. A subclass adds `mixer`, the configuration of its mixer."""

    width: int = 128
    """Any number; a head of Mamba-2, where it is set, must divide it times the mixer's expansion."""
    layers: int = 12
    """Blocks; two of them make what a transformer calls a layer."""
    tied: bool = True
    """The head is the table; else a matrix of its own."""
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("width", "layers"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        require(0 <= self.dropout < 1, "dropout", f"must lie in [0, 1), got {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class MambaConfig(MambaStackConfig):
    mixer: mamba.MambaConfig = field(default_factory=mamba.MambaConfig)


@dataclass(frozen=True, kw_only=True)
class Mamba2Config(MambaStackConfig):
    mixer: mamba2.Mamba2Config = field(default_factory=mamba2.Mamba2Config)


def language_model(
    name: str, *, width: int, layers: int, rate: float, clips: int, parameters: int | None, paper: str
) -> Preset:
    """One of the published models, trained on 300 B tokens in clips of 2048."""
    note = (
        "The length of the warm-up is not published: GPT-3's, 375 M tokens. Its rate ends at 1e-5, ours at 0."
    )
    rounded = "" if parameters else f" Published as {name.partition('-')[2].upper()}, rounded."
    return Preset(
        config={"width": width, "layers": layers},
        source=f"{paper}; {name}, README of state-spaces/mamba",
        parameters=parameters,
        vocab_size=NEOX_VOCABULARY,
        train={
            "steps": round(300e9 / (2048 * clips)),
            "batch_size": clips,
            "crop": 2048,
            "learning_rate": 5 * rate,
            "schedule": "cosine",
            "warmup_steps": round(375e6 / (2048 * clips)),
            "weight_decay": 0.1,
            "decay": "matrices",
            "beta2": 0.95,
            "clip_norm": 1.0,
            "skip_norm": None,
            "ema_decay": 0.0,
        },
        note=note + rounded,
    )


_MAMBA = "Gu and Dao 2023, appendix E.2, table 12"
_MAMBA2 = "Dao and Gu 2024, appendix D.2, table 9"


class MambaStack(TokenStack):
    """The generic stack; a subclass names the class of its mixer."""

    Mixer: ClassVar[Any]

    def __init__(self, config: Any, vocab_size: int = 256) -> None:
        width = config.width
        try:
            mixers = [self.Mixer(config.mixer, width=width) for _ in range(config.layers)]
        except ConfigError as error:  # options that do not fit this width
            raise error.under("mixer") from None
        super().__init__(
            (
                Residual(mixer, width=width, dropout=config.dropout, norm=nn.RMSNorm(width, eps=EPSILON))
                for mixer in mixers
            ),
            width=width,
            vocab_size=vocab_size,
            norm=nn.RMSNorm(width, eps=EPSILON),
            dropout=config.dropout,
            head_bias=False,
        )
        self.config = config
        if config.tied:
            self.head.weight = self.table.weight
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        nn.init.normal_(self.table.weight, std=0.02)
        for block in self.blocks:
            mixer = block.layer
            mixer.out_proj.weight /= math.sqrt(self.config.layers)
            for last in (mixer.in_proj, mixer.out_proj):
                if last.bias is not None:
                    nn.init.zeros_(last.bias)

    def optimizer_groups(self) -> list[ParameterGroup]:
        return groups_without_decay(self)

    @property
    def scan_backend(self) -> str:
        return scan_backends(self)


class Mamba(MambaStack):
    """Selective state spaces (S6) in gated blocks, at the sample rate (Gu and Dao 2023)."""

    Config = MambaConfig
    Mixer = mamba.Mamba
    complexity: ClassVar[tuple[str, str]] = ("D² + D N", "D² + D N")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "layers": 2, "mixer": {"state": 4}},
        {"width": 6, "layers": 1, "tied": False, "dropout": 0.1, "mixer": {"bias": True, "scan": "lanes"}},
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": language_model(
            "mamba-130m", width=768, layers=24, rate=6e-4, clips=256, parameters=130_000_000, paper=_MAMBA
        ),
        "370m": language_model(
            "mamba-370m", width=1024, layers=48, rate=3e-4, clips=256, parameters=370_000_000, paper=_MAMBA
        ),
        "790m": language_model(
            "mamba-790m", width=1536, layers=48, rate=2.5e-4, clips=256, parameters=790_000_000, paper=_MAMBA
        ),
        "1.4b": language_model(
            "mamba-1.4b", width=2048, layers=48, rate=2e-4, clips=512, parameters=None, paper=_MAMBA
        ),
        "2.8b": language_model(
            "mamba-2.8b", width=2560, layers=64, rate=1.6e-4, clips=512, parameters=None, paper=_MAMBA
        ),
    }


class Mamba2(MambaStack):
    """State spaces with one decay a head in gated blocks, at the sample rate (Dao and Gu 2024)."""

    Config = Mamba2Config
    Mixer = mamba2.Mamba2
    complexity: ClassVar[tuple[str, str]] = ("D² + D N", "D² + D N")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "layers": 2, "mixer": {"state": 4}},
        {
            "width": 6,
            "layers": 1,
            "tied": False,
            "dropout": 0.1,
            "mixer": {"head": 3, "groups": 2, "bias": True},
        },
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": language_model(
            "mamba2-130m", width=768, layers=24, rate=6e-4, clips=256, parameters=130_000_000, paper=_MAMBA2
        ),
        "370m": language_model(
            "mamba2-370m", width=1024, layers=48, rate=3e-4, clips=256, parameters=370_000_000, paper=_MAMBA2
        ),
        "780m": language_model(
            "mamba2-780m",
            width=1536,
            layers=48,
            rate=2.5e-4,
            clips=256,
            parameters=780_000_000,
            paper=_MAMBA2,
        ),
        "1.3b": language_model(
            "mamba2-1.3b", width=2048, layers=48, rate=2e-4, clips=512, parameters=None, paper=_MAMBA2
        ),
        "2.7b": language_model(
            "mamba2-2.7b",
            width=2560,
            layers=64,
            rate=1.6e-4,
            clips=512,
            parameters=2_700_000_000,
            paper=_MAMBA2,
        ),
    }


def groups_without_decay(model: nn.Module, *, ssm_learning_rate_scale: float = 1.0) -> list[ParameterGroup]:
    """What mixers name, as their authors do (decay rates, direct paths, Mamba-2's step sizes), and, of the
    same kind, the biases of Mamba's step sizes and the few taps of each channel's convolution."""
    others: list[nn.Parameter] = []
    for module in model.modules():
        if isinstance(module, ShortConvolution):
            others.extend(module.parameters())
        elif isinstance(module, mamba.Mamba):
            others.append(module.dt_proj.bias)
    groups = parameter_groups(model, ssm_learning_rate_scale=ssm_learning_rate_scale)
    return [*groups, ParameterGroup(parameters=others, weight_decay=False)] if others else groups
