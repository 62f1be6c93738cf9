"""From waveforms to what a classifier says of them.

Shapes: N clips, T samples, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.evaluation.classifier.front_end import FrontEnd
from harness.evaluation.quality.embedding import Embedding
from harness.training.average import evaluating
from harness.training.precision import precision

FLOOR = 0.9
"""Held-out accuracy below which a classifier is too weak to judge clips.

A calibrated classifier that errs on a tenth of ten classes leaves 0.54 nats of entropy a clip, so that
even the recordings score an inception score of exp(ln 10 − 0.54) = 5.8. The best published generator
reaches 5.94 (baselines of SC09): below the floor the ruler's own error is as large as what separates
generators from recordings.
"""

BATCH = 64

Progress = Callable[[float, str], None]


def silent(fraction: float, text: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A trained classifier with all that a row must say about it."""

    name: str
    """``small`` or ``resnext`` trained here, ``published`` for weights from a file."""
    sha256: str
    """Of the weights' file."""
    accuracy: float | None
    """On clips that it was not trained on; None where that could not be measured."""
    held_out: str
    """Which clips these were: data set and split."""
    front_end: FrontEnd
    network: torch.nn.Module
    """Float[B, m, n] -> features Float[B, F], logits Float[B, C]."""
    device: torch.device

    @property
    def too_weak(self) -> bool:
        """Not known to be accurate enough, see `FLOOR`."""
        return self.accuracy is None or self.accuracy < FLOOR

    @property
    def sample_rate(self) -> int:
        """What it listens at; clips of another rate are resampled."""
        return self.front_end.sample_rate

    def embed(self, waveforms: np.ndarray, sample_rate: int, progress: Progress = silent) -> Embedding:
        """Float32[N, T] -> the Embedding of each; clips are cut or padded to `front_end.length`."""
        features: list[Any] = []
        logits: list[Any] = []
        with evaluating(self.network), precision("float32"), torch.inference_mode():
            for start in range(0, len(waveforms), BATCH):
                progress(start / len(waveforms), f"classified {start} of {len(waveforms)} clips")
                batch = self.front_end.load(waveforms[start : start + BATCH], sample_rate).to(self.device)
                for found, values in zip(
                    (features, logits), self.network(self.front_end(batch)), strict=True
                ):
                    found.append(values.double().cpu())
        return Embedding(
            features=torch.cat(features).numpy(), probabilities=torch.cat(logits).softmax(dim=1).numpy()
        )
