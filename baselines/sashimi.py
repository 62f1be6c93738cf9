"""SaShiMi: S4 and feed-forward blocks at three rates, for raw audio.

    x <- x + S4(LayerNorm(x))                     S4: a state space a channel, GELU, linear or GLU
    x <- x + W_2 GELU(W_1 LayerNorm(x))           `layers` such pairs a stage, see `unet` and `unet_stages`

Source: Goel et al. 2022 (arXiv 2202.09729) and its authors' code (state-spaces/s4): the stand-alone model,
to whose numbers this one is tested, and the configurations of its training repository. There the maps of
the pooling have weight normalisation, too, which changes how they train, not what they can be; not here.

Trains by convolution, generates by recurrence: `models.mixers.s4` says how each is computed, and why C
does not have to be replaced at another length. Dropout, which the published models do without, is on the
residual branches and inside feed-forward blocks.

Shapes: B batch, L length, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

from baselines.unet import Stage, UNet, UNetConfig
from baselines.unet_stages import FeedForward, Residual
from harness.contracts import Preset, require
from models.mixers.s4 import S4, S4Config
from models.native.call import reason_against
from models.scan import scan_backends


@dataclass(frozen=True, kw_only=True)
class SaShiMiConfig(UNetConfig):
    """Widths are those that `s4.systems`, where it is set, divides; without it, any."""

    s4: S4Config = field(default_factory=lambda: S4Config(systems=1))
    """Of every S4 layer; one system (A, B) is tied over all channels of a layer, null: one for each."""
    expand: int = 2
    """Hidden width of feed-forward blocks, in widths; 0: none of these blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.expand >= 0, "expand", f"must not be negative, got {self.expand}")
        systems = self.s4.systems
        divides = systems is None or self.width % systems == 0
        require(divides, "width", f"must be a multiple of s4.systems, {systems}, got {self.width}")


_CODE = "state-spaces/s4, configs/"
_SC09 = {"batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.0, "warmup_steps": 0}
_SC09_UNET = {
    "steps": 200_000,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "weight_decay": 0.1,
    "schedule": "cosine",
    "warmup_steps": 1000,
}
_YOUTUBE_MIX = {"batch_size": 1, "learning_rate": 4e-3, "weight_decay": 0.0, "warmup_steps": 0}
_PLATEAU = "The learning rate was cut to a fifth where the validation loss stood still; here it is constant."


class SaShiMi(UNet):
    """S4 and feed-forward blocks at three rates, each a quarter of the one before (Goel et al. 2022)."""

    Config = SaShiMiConfig
    complexity: ClassVar[tuple[str, str]] = ("D² + D (N + log L)", "D² + D N")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "layers": 2, "pooling": [2, 3], "s4": {"state": 8, "systems": 1}},
        {"width": 6, "layers": 2, "pooling": [4], "unet": True, "s4": {"state": 4}, "dropout": 0.1},
        {
            "width": 4,
            "layers": 1,
            "pooling": [3, 2],
            "widening": 3,
            "expand": 0,
            "s4": {"state": 4, "systems": 2, "glu": False, "algorithm": "cauchy"},
        },
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={"s4": {"systems": 1, "glu": False}},
            source="Goel et al. 2022, tables 2 and 4 (SaShiMi, 8 layers); " + _CODE + "experiment/audio",
            parameters=4_050_000,
            train=_SC09 | {"steps": 1_100_000},
            note=_PLATEAU,
        ),
        "paper_2_layers": Preset(
            config={"layers": 2, "ssm_learning_rate_scale": 0.25, "s4": {"systems": 1, "glu": False}},
            source="Goel et al. 2022, table 4 (2 layers, YouTubeMix); " + _CODE + "experiment/audio",
            parameters=1_290_000,
            train=_YOUTUBE_MIX | {"steps": 600_000},
            note=_PLATEAU,
        ),
        "sc09": Preset(
            config={"s4": {"systems": 1, "glu": True}},
            source=_CODE + "experiment/audio/sashimi-sc09.yaml",
            train=_SC09,
            note=_PLATEAU,
        ),
        "untied": Preset(
            config={"s4": {"systems": None, "glu": True}},
            source=_CODE + "model/sashimi.yaml with layer.n_ssm=null",
            train=_SC09,
            note=_PLATEAU,
        ),
        "unet": Preset(
            config={"unet": True, "s4": {"systems": None, "glu": True}},
            source=_CODE + "experiment/audio/sashimi-sc09-unet.yaml; models/sashimi/README.md: 6.8M",
            parameters=6_800_000,
            train=_SC09_UNET,
        ),
        "unet_2_systems": Preset(
            config={"unet": True, "s4": {"systems": 2, "glu": True}},
            source="Gu and Dao 2023 (Mamba), table 4 (SaShiMi, 5.8M)",
            parameters=5_800_000,
            train=_SC09_UNET,
            note="No configuration is published with the table's count; this one, 5.87 M, comes nearest.",
        ),
    }

    def blocks(self, stage: Stage) -> Iterator[nn.Module]:
        """The S4 and feed-forward blocks of a stage, in turn."""
        config: SaShiMiConfig = self.config
        width, dropout = stage.width, config.dropout
        for _ in range(config.layers):
            yield Residual(S4(config.s4, width=width, stride=stage.stride), width=width, dropout=dropout)
            if config.expand:
                hidden = config.expand * width
                yield Residual(FeedForward(width, hidden, dropout), width=width, dropout=dropout)

    @property
    def scan_backend(self) -> str:
        return scan_backends(self)

    @staticmethod
    def kernels() -> dict[str, str | None]:
        return {"native krylov": reason_against("krylov")}
