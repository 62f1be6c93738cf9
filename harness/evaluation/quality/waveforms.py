"""Where waveforms to be judged come from, read piece by piece so that no set has to fit in memory.

Shapes: N clips, L samples of a padded clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, get_args

import numpy as np

from harness.contracts import Dataset
from harness.evaluation.clip_folder import ClipFolder
from harness.evaluation.quality.embedding import Embedding
from harness.evaluation.quality.mel_distance import describe
from harness.training.seeds import derive_seed

CHUNK = 512
"""Clips read at once."""

Lengths = Literal["data", "full"]
LENGTHS: tuple[Lengths, ...] = get_args(Lengths)

Progress = Callable[[float, str], None]


class Waveforms(Protocol):
    """Clips of one rate and length by number."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """Float32[N, L] in [-1, 1]"""
        ...


class Embedder(Protocol):
    """What is needed of a classifier."""

    def embed(self, waveforms: np.ndarray, sample_rate: int) -> Embedding: ...


class Recordings:
    """A split of a data set as a model sees it: through the tokens and back, padding included."""

    def __init__(self, dataset: Dataset, split: str) -> None:
        self.dataset, self.split = dataset, dataset.splits[split]

    def __len__(self) -> int:
        return len(self.split)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.dataset.decode(np.asarray(self.split.tokens[start:stop]))


class Drawn:
    """The first clips of a folder, each as long as a clip of the data set.

    Models are trained on the true samples of a clip alone, and none of them says where a clip ends:
    behind that a drawn clip goes on with what was never learnt, where a recording has silence. With
    ``lengths="data"`` clip i ends where a training clip that its seed chooses ends, and has that
    clip's padding behind; ``"full"`` leaves it as it was drawn, as the published protocol does.
    """

    def __init__(self, clips: ClipFolder, count: int, lengths: Lengths, dataset: Dataset) -> None:
        self.clips, self.count, self.lengths, self.dataset = clips, count, lengths, dataset

    def __len__(self) -> int:
        return min(self.count, len(self.clips))

    def read(self, start: int, stop: int) -> np.ndarray:
        stop = min(stop, len(self))
        waveforms = self.clips.read(start, stop)
        if self.lengths == "data":
            split = self.dataset.splits["train"]
            for waveform, clip in zip(waveforms, self.clips.clips[start:stop], strict=True):
                like = derive_seed("length", clip.seed) % len(split)
                end = int(split.lengths[like])
                waveform[end:] = self.dataset.decode(np.asarray(split.tokens[like, end:]))
        return waveforms


def embed_all(
    waveforms: Waveforms, extractor: Embedder, sample_rate: int, what: str, progress: Progress
) -> Embedding:
    """What a classifier says of all of them."""
    parts = []
    for start in range(0, len(waveforms), CHUNK):
        progress(start / len(waveforms), f"classified {start} of {len(waveforms)} {what}")
        parts.append(extractor.embed(waveforms.read(start, start + CHUNK), sample_rate))
    return Embedding(
        features=np.concatenate([part.features for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )


def describe_all(waveforms: Waveforms, sample_rate: int, what: str, progress: Progress) -> np.ndarray:
    """Log-mel statistics of all of them, see `mel_distance.describe`."""
    parts = []
    for start in range(0, len(waveforms), CHUNK):
        progress(start / len(waveforms), f"described {start} of {len(waveforms)} {what}")
        parts.append(describe(waveforms.read(start, start + CHUNK), sample_rate))
    return np.concatenate(parts)
