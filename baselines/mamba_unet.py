"""Mamba on raw audio: SaShiMi's U-Net, with blocks of any kind outside and at the center.

    outer:  the blocks at the sample rate and above the lowest one, on the way down and up
    center: the blocks at the lowest rate

A mixer with a gate and an expansion of its own (Mamba, about 6 D^2 parameters) is a block by itself; any
other is followed by an MLP that makes up for it: 2 D^2 of S4 with a GLU and twice 2 D^2, or 4 D^2 of
attention and twice D^2.

Source: Gu and Dao 2023 (Mamba, arXiv 2312.00752), section 4.4.2 and appendix E.4, tables 4 and 5. Their code
for audio was never released; the backbone is that of SaShiMi's (`unet`, `unet_stages`), initial values,
norms and S4 included.

Shapes: B batch, L length, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from torch import nn

from baselines.mamba import groups_without_decay
from baselines.unet import Stage, UNet, UNetConfig
from baselines.unet_stages import FeedForward, Residual
from harness.configuration import build
from harness.contracts import Component, ParameterGroup, Preset, Spec, require
from harness.errors import ConfigError
from models.scan import scan_backends

ALONE = ("mamba", "mamba2")
"""Mixers that expand by themselves, and need no MLP."""
EXPANSIONS = {"attention": 1}
"""Hidden width of the MLP after a mixer, in widths, where the paper's is not twice the width."""


@dataclass(frozen=True, kw_only=True)
class MambaUNetConfig(UNetConfig):
    """Widths are those that both kinds of mixers take, at every level; Mamba takes any."""

    unet: bool = True
    outer: Annotated[Spec, Component("mixers")] = "mamba"
    """The mixer of all levels but the lowest."""
    center: Annotated[Spec, Component("mixers")] = "mamba"
    """The mixer of the lowest level."""
    outer_expand: int | None = None
    """Hidden width of the MLP after an outer mixer, in widths; 0: none; null: none after Mamba and
    Mamba-2, 1 after attention, 2 after any other."""
    center_expand: int | None = None
    """The same at the center."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("outer_expand", "center_expand"):
            value = getattr(self, name)
            require(value is None or value >= 0, name, f"must not be negative, got {value}")

    def mixer_of(self, stage: Stage) -> tuple[str, Spec, int]:
        """The field that names a stage's mixer, the mixer, and the expansion of the MLP after it."""
        field = "center" if stage.center else "outer"
        spec, expand = getattr(self, field), getattr(self, f"{field}_expand")
        name = spec if isinstance(spec, str) else spec["name"]
        if expand is None:
            expand = 0 if name in ALONE else EXPANSIONS.get(name, 2)
        return field, spec, expand


_TRAIN = {
    "steps": 200_000,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "warmup_steps": 20_000,
    "weight_decay": 0.1,
    "decay": "matrices",
    "beta2": 0.95,
    "clip_norm": 0.1,
    "skip_norm": None,
    "ema_decay": 0.0,
}
_SOURCE = "Gu and Dao 2023, "
_COUNT = (
    "{ours}, not {theirs}: what the published ones do without is not known, as their code is not released. "
    "The decays A of all blocks would be as many."
)


class MambaUNet(UNet):
    """Mamba at three rates, each a quarter of the one before, for raw audio (Gu and Dao 2023)."""

    Config = MambaUNetConfig
    complexity: ClassVar[tuple[str, str]] = ("D² + D N", "D² + D N")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "width": 4,
            "layers": 2,
            "pooling": [2, 3],
            "outer": {"name": "mamba", "state": 3},
            "center": {"name": "mamba", "state": 3},
        },
        {
            "width": 4,
            "layers": 1,
            "pooling": [3],
            "outer": {"name": "s4", "state": 4},
            "center": {"name": "attention", "heads": 2},
            "dropout": 0.1,
        },
        {
            "width": 4,
            "layers": 1,
            "pooling": [2],
            "unet": False,
            "outer": {"name": "mamba2", "state": 3, "head": 4},
            "outer_expand": 1,
            "center": "lru",
            "center_expand": 0,
        },
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={},
            source=_SOURCE + "table 4 (Mamba, 6.1M) and appendix E.4.2",
            parameters=6_100_000,
            train=_TRAIN,
            note=_COUNT.format(ours="6.26 M", theirs="6.1 M"),
        ),
        "large": Preset(
            config={"width": 96, "layers": 15},
            source=_SOURCE + "table 4 (Mamba, 24.3M) and appendix E.4.2",
            parameters=24_300_000,
            train=_TRAIN,
            note=_COUNT.format(ours="24.87 M", theirs="24.3 M"),
        ),
        "youtube_mix": Preset(
            config={"layers": 3, "pooling": (16, 16)},
            source=_SOURCE + "figure 7 and appendix E.4.1 (3.5M)",
            parameters=3_500_000,
            train=_TRAIN | {"batch_size": 8, "crop": 120_832},
            note="One of eight lengths, all of about a million tokens an update. State spaces are complex in "
            "the paper and real here. " + _COUNT.format(ours="3.56 M", theirs="3.5 M"),
        ),
    }

    def blocks(self, stage: Stage) -> Iterator[nn.Module]:
        """The blocks of a stage: mixers, each followed by an MLP where it needs one."""
        config: MambaUNetConfig = self.config
        width, dropout = stage.width, config.dropout
        field, spec, expand = config.mixer_of(stage)
        for _ in range(config.layers):
            try:
                mixer = build("mixers", spec, width=width, stride=stage.stride)
            except ConfigError as error:  # options that do not fit this width
                raise error.under(field) from None
            yield Residual(mixer, width=width, dropout=dropout)
            if expand:
                yield Residual(FeedForward(width, expand * width, dropout), width=width, dropout=dropout)

    def optimizer_groups(self) -> list[ParameterGroup]:
        return groups_without_decay(self, ssm_learning_rate_scale=self.config.ssm_learning_rate_scale)

    @property
    def scan_backend(self) -> str:
        return scan_backends(self)
