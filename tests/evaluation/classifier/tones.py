"""Three tones, as a data set that a small classifier learns in a second."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from harness.contracts import Provenance, Split
from harness.data.quantisation import decode, encode

RATE, LENGTH = 4000, 1000
PITCHES = (300.0, 600.0, 1200.0)
CLIPS = {"train": 36, "validation": 12, "test": 15}


def tones(labels: np.ndarray, seed: int) -> np.ndarray:
    """Float32[N, L]: a tone of the label's pitch, a little off, in noise."""
    draw = np.random.default_rng(seed)
    pitch = np.array(PITCHES)[labels][:, None] * draw.uniform(0.95, 1.05, (len(labels), 1))
    tone = np.sin(2 * np.pi * pitch * np.arange(LENGTH) / RATE)
    return (tone + 0.05 * draw.standard_normal(tone.shape)).astype(np.float32)


def make_split(count: int, seed: int, labels: np.ndarray | None = None) -> Split:
    pitches = np.arange(count) % len(PITCHES)
    return Split(
        tokens=encode(tones(pitches, seed)),
        lengths=np.full(count, LENGTH),
        labels=pitches if labels is None else labels,
    )


def make_dataset(**differences: Any) -> Any:
    splits = {name: make_split(count, seed) for seed, (name, count) in enumerate(CLIPS.items())}
    provenance = Provenance(source="tones", version="1", licence="none", sha256="tones", clips=CLIPS)
    parts = {
        "name": "tones",
        "splits": splits,
        "sample_rate": RATE,
        "length": LENGTH,
        "vocab_size": 256,
        "provenance": provenance,
        "decode": decode,
        **differences,
    }
    return SimpleNamespace(**parts)
