"""SaShiMi's U-Net with attention in the place of its state spaces.

    x <- x + Attention(LayerNorm(x))              in a window at all rates but the center's, which sees all
    x <- x + W_2 GELU(W_1 LayerNorm(x))           `layers` such pairs a stage, see `unet` and `unet_stages`

With a window outside the center the time is O(L W + (L/S)^2), where S is the product of the pooling
factors: at the sample rate full attention would cost S^2 times as much as at the center.

Source: the U-Net of Goel et al. 2022 (SaShiMi, arXiv 2202.09729); attention in its center is a row of
Gu and Dao 2023 (Mamba, arXiv 2312.00752), table 5, "MHA+MLP". Heads are as wide at all rates.

Shapes: L length, W window, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from baselines.unet import Stage, UNet, UNetConfig
from baselines.unet_stages import FeedForward, Residual
from harness.contracts import Preset, require
from models.mixers.attention import Attention, AttentionConfig


@dataclass(frozen=True, kw_only=True)
class TransformerUNetConfig(UNetConfig):
    """Widths are multiples of twice `heads`."""

    unet: bool = True
    heads: int = 4
    """At the sample rate; in the wider levels as many more."""
    window: int | None = 256
    """Steps of its level that attention sees outside the center, the current one included; null: all."""
    center_window: int | None = None
    """The same in the center."""
    rotary_base: float = 10_000.0
    expand: int = 1
    """Hidden width of feed-forward blocks, in widths; 0: none of these blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        message = f"{self.heads} heads need a width that is a multiple of {2 * self.heads}, got {self.width}"
        require(self.heads >= 1 and self.width % (2 * self.heads) == 0, "heads", message)
        for name in ("window", "center_window"):
            window = getattr(self, name)
            require(window is None or window >= 1, name, f"must be at least 1, or null, got {window}")
        require(self.rotary_base > 1, "rotary_base", f"must be above 1, got {self.rotary_base}")
        require(self.expand >= 0, "expand", f"must not be negative, got {self.expand}")


class TransformerUNet(UNet):
    """SaShiMi's U-Net of attention: in a window at the fast rates, over everything at the slowest."""

    Config = TransformerUNetConfig
    complexity: ClassVar[tuple[str, str]] = ("D² + W D + L D / P²", "D² + W D + L D / P²")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "layers": 1, "pooling": [2, 3], "heads": 2, "window": 5},
        {
            "width": 4,
            "layers": 1,
            "pooling": [4],
            "heads": 1,
            "window": None,
            "center_window": 3,
            "unet": False,
            "expand": 2,
            "dropout": 0.1,
        },
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={},
            source="Gu and Dao 2023 (Mamba, arXiv 2312.00752), appendix E.4: 8 layers a stage, width 64, "
            "pooling by 4 twice, MHA and MLP of 4 D^2 + 2 D^2 weights",
            train={
                "steps": 200_000,
                "batch_size": 16,
                "learning_rate": 2e-3,
                "schedule": "cosine",
                "warmup_steps": 20_000,
                "beta2": 0.95,
                "weight_decay": 0.1,
                "clip_norm": 0.1,
            },
            note="5.5 M parameters. Published with attention in the center alone and S4 or Mamba around it; "
            "sizes and training are those of that table, which has no count for attention everywhere.",
        )
    }

    def blocks(self, stage: Stage) -> Iterator[nn.Module]:
        """The attention and feed-forward blocks of a stage, in turn."""
        config: TransformerUNetConfig = self.config
        width, dropout = stage.width, config.dropout
        attention = AttentionConfig(
            heads=config.heads * (width // config.width),
            window=config.center_window if stage.center else config.window,
            rotary_base=config.rotary_base,
        )
        for _ in range(config.layers):
            mixer = Attention(attention, width=width, stride=stage.stride)
            yield Residual(mixer, width=width, dropout=dropout)
            if config.expand:
                hidden = config.expand * width
                yield Residual(FeedForward(width, hidden, dropout), width=width, dropout=dropout)
