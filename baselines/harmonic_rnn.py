"""HarmonicRNN: gated complex linear recurrences (CG-LRU) around pooling in four groups of channels.

Source: Szewczyk, Gallo Fernández and Townsend 2025, "Linear RNNs for autoregressive generation of long
music samples" (arXiv 2510.02401). Of the same authors and code as Poolformer, whose default it is but for
the pooling: every window is mapped by block-diagonal matrices of four blocks, where Poolformer's maps each
channel by itself. The paper reports the better likelihood for it, at a few more parameters and a slower
step. Its recurrence, sinusoidal embedding of the token's value and residual blocks are those of
`models.poolformer`.

Shapes: as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.contracts import Preset
from models.poolformer import Poolformer
from models.poolformer_config import PoolformerConfig


@dataclass(frozen=True, kw_only=True)
class HarmonicRNNConfig(PoolformerConfig):
    """The defaults are the paper's: 7,391,744 parameters. The width must be a multiple of 4."""

    pool_groups: int | None = 4


class HarmonicRNN(Poolformer):
    """Pooled gated complex linear recurrences for long music (Szewczyk et al. 2025)."""

    Config = HarmonicRNNConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "pooling": [2, 3], "layers": 1},)
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={},
            source="Szewczyk et al. 2025, abstract and summary; sizes of the launch template of its code",
            parameters=7_300_000,
            train={"batch_size": 32, "learning_rate": 2e-3, "warmup_steps": 1000, "weight_decay": 1e-4},
            note="7.39 M parameters: the published number is rounded, and fits the template's depthwise "
            "pooling (7.27 M) as well. Batch and rate are the template's for SC09; those of the minute-long "
            "clips could not be confirmed.",
        ),
    }
