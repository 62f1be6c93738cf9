"""The transformer of `baselines.transformer` with attention in a sliding window.

    y_t = softmax_s(q_t . k_s / sqrt(d)) v_s,   t - W < s <= t

Time is O(L W) and the state O(W), whatever the length; N layers see N (W - 1) steps back.

Source: Beltagy et al. 2020 (Longformer, arXiv 2004.05150), section 3.1; the character-level models of
its section 4 have nothing but such windows.

Shapes: L length, W window, N layers, d width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from baselines.decoder_stack import DecoderStack
from baselines.transformer import Transformer, TransformerConfig
from harness.contracts import Preset, require


@dataclass(frozen=True, kw_only=True)
class LocalTransformerConfig(TransformerConfig):
    window: int = 256
    """Steps that an output of a layer sees, itself included."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.window >= 1, "window", f"must be at least 1, got {self.window}")


class LocalTransformer(Transformer):
    """Transformer with attention in a sliding window: time linear in the length, a bounded state."""

    Config: ClassVar[type] = LocalTransformerConfig
    complexity: ClassVar[tuple[str, str]] = ("D² + W D", "D² + W D")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 16, "layers": 2, "heads": 2, "window": 7},
        {"width": 24, "layers": 1, "heads": 3, "window": 1, "dropout": 0.2},
        {"width": 8, "layers": 1, "heads": 1, "window": 300},
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={"width": 512, "layers": 12, "heads": 8, "window": 512, "dropout": 0.2},
            source="Beltagy et al. 2020 (Longformer, arXiv 2004.05150), tables 2 and 12, small model: 41M",
            parameters=41_000_000,
            train={
                "steps": 430_000,
                "batch_size": 32,
                "crop": 2048,
                "learning_rate": 2.5e-4,
                "warmup_steps": 10_000,
                "weight_decay": 0.01,
                "clip_norm": 0.25,
            },
            note="38 M parameters: relative positions with weights of their own there, rotary ones here. The "
            "training is the first of five stages. Windows there grow with the layers, from 32 to 8192 at "
            "first and from 512 at last, and two heads of the upper layers are dilated; here all are 512.",
        )
    }

    @staticmethod
    def build_body(config: LocalTransformerConfig) -> DecoderStack:
        return DecoderStack(
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            hidden=config.hidden,
            rope_base=config.rope_base,
            dropout=config.dropout,
            window=config.window,
        )
