"""Clips with labels, read as a model sees them: through the tokens and back.

Shapes: B batch, L samples of a padded clip.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from harness.contracts import Dataset
from harness.errors import DataError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A data set on which a classifier can be trained or judged."""

    dataset: Dataset
    name: str
    classes: int
    sample_rate: int

    @staticmethod
    def of(dataset: Dataset) -> Labelled:
        """Raises: DataError for a data set without sound, without labels or with one class alone."""
        name = str(getattr(dataset, "name", type(dataset).__name__))
        instead = (
            "score its clips by the label-free Fréchet distance of log-mel statistics instead "
            "(columns `mel_distance…`), or name a classifier's weights"
        )
        if dataset.sample_rate is None:
            raise DataError(
                f"{name} is no sound, and the classifier listens; there is no quality metric for it"
            )
        if any(dataset.splits[split].labels is None for split in SPLITS):
            raise DataError(f"{name} has no labels, so no classifier can learn from it; {instead}")
        labels = [np.asarray(dataset.splits[split].labels) for split in SPLITS]
        classes = 1 + max(int(each.max()) for each in labels)
        if len(np.unique(labels[0])) < 2:
            raise DataError(f"all training clips of {name} have the same label; {instead}")
        return Labelled(dataset=dataset, name=name, classes=classes, sample_rate=dataset.sample_rate)

    def count(self, split: str) -> int:
        return len(self.dataset.splits[split])

    def read(self, split: str, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """These clips of a split: Float32[B, L] in [-1, 1], labels Int64[B]."""
        found = self.dataset.splits[split]
        assert found.labels is not None
        waveforms = self.dataset.decode(np.asarray(found.tokens[clips]))
        return np.asarray(waveforms, dtype=np.float32), np.asarray(found.labels[clips])

    def digest(self) -> str:
        """sha256 of all that a classifier learns from: every token and label, and what tokens sound like."""
        sound = np.asarray(self.dataset.decode(np.arange(self.dataset.vocab_size)), dtype=np.float32)
        identity = {
            "tokens": self.dataset.provenance.sha256,
            "sound": hashlib.sha256(sound.tobytes()).hexdigest(),
            "sample_rate": self.sample_rate,
            "length": self.dataset.length,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
