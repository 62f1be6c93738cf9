"""Made-up embeddings for the tests of quality metrics."""

from __future__ import annotations

import numpy as np

from harness.evaluation.quality.embedding import Embedding

CLASSES = 10


def softmax(logits: np.ndarray) -> np.ndarray:
    likely = np.exp(logits - logits.max(axis=1, keepdims=True))
    return likely / likely.sum(axis=1, keepdims=True)


def sure(labels: np.ndarray, margin: float, rng: np.random.Generator) -> np.ndarray:
    """Probabilities of a classifier that is sure of these labels by about `margin` nats."""
    logits = rng.normal(size=(len(labels), CLASSES))
    logits[np.arange(len(labels)), labels] += margin
    return softmax(logits)


def embedding(clips: int, seed: int, *, features: int = 12, shift: float = 0.0) -> Embedding:
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=clips)
    centres = np.random.default_rng(0).normal(size=(CLASSES, features))
    return Embedding(
        features=centres[labels] + 0.5 * rng.normal(size=(clips, features)) + shift,
        probabilities=sure(labels, 5.0, rng),
    )
