"""Data to check things with: clips that repeat, made in memory; and a table as a run leaves it.

Shapes: N clips, L tokens of a clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.contracts import Provenance, Split

if TYPE_CHECKING:
    from harness.contracts import FigureData

PERIOD = 4
"""Tokens after which a clip repeats: easily learned."""


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    length: int = 48
    vocab_size: int = 16
    sample_rate: int = 8000


class ToyData:
    """Every clip repeats the same few tokens, beginning somewhere."""

    Config: ClassVar[type] = ToyConfig
    CLIPS: ClassVar[int] = 8
    sample_rate: int | None
    splits: Mapping[str, Split]

    def __init__(self, config: ToyConfig) -> None:
        self.vocab_size, self.sample_rate, self.length = config.vocab_size, config.sample_rate, config.length
        starts = np.arange(self.CLIPS)[:, None]
        tokens = ((starts + np.arange(config.length)) % PERIOD).astype(np.uint8)
        split = Split(tokens=tokens, lengths=np.full(self.CLIPS, config.length))
        self.splits = dict.fromkeys(("train", "validation", "test"), split)
        self.provenance = Provenance(
            source="computed",
            version="1",
            licence="none",
            sha256="0" * 64,
            clips=dict.fromkeys(self.splits, self.CLIPS),
        )

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        return tokens.astype(np.float32) / (self.vocab_size / 2) - 1


def toy_results(seeds: int = 2) -> FigureData:
    """Two variants that were trained, one in closed form, one that failed."""
    import pandas as pd

    from harness.contracts import FigureData

    names = ("base", "pooling=[4,4]", "markov", "broken")
    rows, curves = [], []
    for number, name in enumerate(names):
        for seed in range(seeds):
            trained, failed = number < 2, name == "broken"
            wave = 0.02 * np.sin(number + 3 * seed)
            key = f"{number:06x}{seed:06x}"
            measured = {
                "parameters": (60_000 + 900 * number) * trained,
                "flops_per_token": 1e5 * (2 - number) * trained,
                "train_steps": 100 if trained else 1,
                "nll_bits_train": 3.0 + 0.1 * number + wave,
                "nll_bits_validation": 3.15 + 0.1 * number + wave,
                "nll_bits_test": 3.2 + 0.1 * number + wave,
                "generalization_gap_bits": 0.2,
                "train_step_ms": 40.0 * (2 - number) + seed if trained else None,
                "tokens_per_second": 50_000.0 * (1 + number) if trained else None,
                "peak_memory_mib": 200.0 / (1 + number) if trained else None,
                "saved_for_backward_mib": 120.0 / (1 + number) if trained else None,
                "state_bytes": 4096 * (1 + number),
                "generate_samples_per_second": 2000.0 * (1 + number) if trained else None,
                "train_seconds": 30.0,
            }
            rows.append(
                {
                    "variant": name,
                    "seed": seed,
                    "key": key,
                    "status": "failed" if failed else "ok",
                    "error": "it broke" if failed else "",
                    "model": "poolformer" if trained else "markov",
                    "mixer": "rg_lru" if trained else "",
                    "pooling": ("[2,4]", "[4,4]")[number] if trained else "",
                    "layers": "2" if trained else "",
                    "width": "64" if trained else "",
                    **(dict.fromkeys(measured) if failed else measured),
                    "dataset": "synthetic_digits",
                    "device": "cpu",
                    "threads": 1,
                }
            )
            steps = np.arange(0, 101, 20) if trained else np.arange(2)
            curves.append(
                pd.DataFrame(
                    {
                        "variant": name,
                        "seed": seed,
                        "key": key,
                        "step": steps,
                        "seconds": 0.3 * steps,
                        "tokens": 1000 * steps,
                        "learning_rate": 0.002,
                        "nll_bits_train": 3.1 + 5 * np.exp(-steps / 20) + wave,
                        "nll_bits_validation": 3.2 + 5 * np.exp(-steps / 20) + wave,
                    }
                )
            )
    history = pd.concat(curves, ignore_index=True)
    return FigureData(table=pd.DataFrame(rows), history=history, variants=names, base="base")
