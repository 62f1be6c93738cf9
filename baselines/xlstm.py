"""xLSTM: residual blocks of matrix memories (mLSTM) and, fewer, of scalar ones that are sequential (sLSTM).

    mLSTM block:  x <- x + mLSTM(LayerNorm(x))      which holds its own expansion and gate
    sLSTM block:  x <- x + sLSTM(LayerNorm(x))      x <- x + W_2 (GELU(W_1 u) * W_3 u), u = LayerNorm(x)

Source: Beck et al. 2024 (arXiv 2405.04517), section 2.4, and their code (NX-AI/xlstm), whose
initial values these are. xLSTM[a:b] has a blocks of mLSTM to b of sLSTM. LayerNorm has no bias, the
head is not tied to the table.

Shapes: B batch, L length, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.token_stack import MixerBlock, TokenStack
from harness.contracts import Preset, require
from harness.errors import ConfigError
from models.dropout import Dropout
from models.mixers.mlstm import MLSTM, MLSTMConfig, small_init_
from models.mixers.slstm import SLSTM, SLSTMConfig


@dataclass(frozen=True, kw_only=True)
class XLSTMConfig:
    width: int = 128
    """A multiple of the heads of both mixers."""
    layers: int = 8
    """Blocks."""
    ratio: tuple[int, int] = (7, 1)
    """Blocks of mLSTM to blocks of sLSTM: of so many in a row, the latter come after the first mLSTM."""
    slstm_at: tuple[int, ...] | None = None
    """Places of the blocks of sLSTM, from 0; null: those of the ratio."""
    feed_forward: float = 1.3
    """Hidden width of the MLP of a block of sLSTM, in widths, rounded up to a multiple of 8."""
    mlstm: MLSTMConfig = field(default_factory=MLSTMConfig)
    slstm: SLSTMConfig = field(default_factory=SLSTMConfig)
    dropout: float = 0.0
    """On every residual branch."""

    def __post_init__(self) -> None:
        for name in ("width", "layers"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        counts = min(self.ratio) >= 0 and sum(self.ratio) >= 1
        require(counts, "ratio", f"needs two numbers of blocks, at least one not 0, got {self.ratio}")
        within = all(0 <= place < self.layers for place in self.slstm_at or ())
        require(within, "slstm_at", f"places must lie in 0 to {self.layers - 1}, got {self.slstm_at}")
        require(self.feed_forward > 0, "feed_forward", f"must be above 0, got {self.feed_forward}")
        require(0 <= self.dropout < 1, "dropout", f"must lie in [0, 1), got {self.dropout}")

    @property
    def sequential(self) -> tuple[bool, ...]:
        """Whether the block of each layer is one of sLSTM."""
        if self.slstm_at is not None:
            return tuple(layer in self.slstm_at for layer in range(self.layers))
        matrix, scalar = self.ratio
        first = min(matrix, 1)
        places = (layer % (matrix + scalar) for layer in range(self.layers))
        return tuple(first <= place < first + scalar for place in places)

    @property
    def hidden(self) -> int:
        return 8 * math.ceil(self.feed_forward * self.width / 8)


class XLSTM(TokenStack):
    """xLSTM: matrix memories with exponential gates, and a few scalar ones that are sequential."""

    Config = XLSTMConfig
    complexity: ClassVar[tuple[str, str]] = ("D² + D K, in part in sequence", "D² + D K")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "layers": 2, "ratio": [1, 1]},
        {
            "width": 12,
            "layers": 2,
            "slstm_at": [0],
            "feed_forward": 0.5,
            "mlstm": {"heads": 3, "expand": 1, "kernel": 1, "block": 2},
            "slstm": {"heads": 2, "kernel": 0},
            "dropout": 0.2,
        },
    )
    _training: ClassVar[Mapping[str, Any]] = {
        "batch_size": 256,
        "schedule": "cosine",
        "warmup_steps": 750,
        "weight_decay": 0.1,
        "decay": "matrices",
        "beta2": 0.95,
        "epsilon": 1e-5,
        "clip_norm": 1.0,
        "skip_norm": None,
        "ema_decay": 0.0,
        "precision": "bfloat16",
    }
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={"width": 768, "layers": 24, "slstm_at": [3, 20]},
            source="Beck et al. 2024, xLSTM[7:1] of 125 M: text, 15 B tokens",
            parameters=163_800_000,
            vocab_size=50_304,
            train={**_training, "learning_rate": 3e-3},
            note="There the rate falls to a tenth of its peak, here to zero; contexts have 2048 tokens. The "
            "places of sLSTM could not be confirmed; the count hardly depends on them.",
        ),
        "medium": Preset(
            config={"width": 1024, "layers": 48, "slstm_at": [3, 5, 7, 40, 42, 44]},
            source="Beck et al. 2024, xLSTM[7:1] of 350 M: text, 15 B tokens",
            parameters=408_400_000,
            vocab_size=50_304,
            train={**_training, "learning_rate": 1e-3},
            note="There the rate falls to a tenth of its peak, here to zero; contexts have 2048 tokens. The "
            "peak could not be confirmed.",
        ),
    }

    def __init__(self, config: XLSTMConfig, vocab_size: int = 256) -> None:
        blocks = [_block(config, layer, sequential) for layer, sequential in enumerate(config.sequential)]
        norm = nn.LayerNorm(config.width, bias=False)
        super().__init__(blocks, width=config.width, vocab_size=vocab_size, norm=norm, head_bias=False)
        self.config = config
        for weight in (self.table.weight, self.head.weight):
            small_init_(weight, config.width)

    def no_decay_parameters(self) -> list[Tensor]:
        """What the authors train without weight decay, besides norms and biases: the table."""
        return [self.table.weight]


class XLSTMBlock(MixerBlock):
    """x + mixer(norm(x)), then, with an MLP, x + mlp(norm(x))."""

    def __init__(self, config: XLSTMConfig, mixer: MLSTM | SLSTM, mlp: GatedMLP | None) -> None:
        super().__init__()
        self.mixer_norm = nn.LayerNorm(config.width, bias=False)
        self.mixer = mixer
        self.mlp = mlp
        self.dropout = Dropout(config.dropout)

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.dropout(y)
        return x if self.mlp is None else x + self.dropout(self.mlp(x))


class GatedMLP(nn.Module):
    """W_2 (GELU(W_1 u) * W_3 u) of u = norm(x), without biases."""

    def __init__(self, width: int, hidden: int, output_deviation: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        small_init_(self.up.weight, width)
        nn.init.normal_(self.down.weight, std=output_deviation)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(self.norm(x)).chunk(2, dim=-1)
        return self.down(F.gelu(gate) * value)


def _block(config: XLSTMConfig, layer: int, sequential: bool) -> XLSTMBlock:
    # of the last map of a branch: the sum of all branches stays small at any depth
    deviation = 2 / config.layers / math.sqrt(config.width)
    name = "slstm" if sequential else "mlstm"
    try:
        if not sequential:
            mixer = MLSTM(config.mlstm, width=config.width, output_deviation=deviation)
            return XLSTMBlock(config, mixer, None)
        depth = layer / max(config.layers - 1, 1)
        mlp = GatedMLP(config.width, config.hidden, deviation)
        return XLSTMBlock(config, SLSTM(config.slstm, width=config.width, depth=depth), mlp)
    except ConfigError as error:  # options that do not fit this width
        raise error.under(name) from None
