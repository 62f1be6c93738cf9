"""A small model and a small data set, for tests of training alone."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import Split

torch.set_num_threads(1)

VOCABULARY = 16


class Bigram(nn.Module):
    """Predicts from the previous token alone, with a hidden layer and dropout."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 8
        dropout: float = 0.0

    def __init__(self, config: Config, vocab_size: int = VOCABULARY) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size + 1, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, vocab_size)
        self.start = vocab_size

    def forward(self, tokens: Tensor) -> Tensor:
        previous = F.pad(tokens[:, :-1], (1, 0), value=self.start)
        return self.head(self.dropout(self.table(previous)))


class Uniform(nn.Module):
    """Gives every token the same probability; fitting it only counts what it was shown."""

    def __init__(self, vocab_size: int = VOCABULARY) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(vocab_size, dtype=torch.long))

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.zeros(*tokens.shape, len(self.seen))

    def fit(self, batches) -> None:
        for tokens, lengths in batches:
            for row, length in zip(tokens, lengths, strict=True):
                self.seen += torch.bincount(row[:length], minlength=len(self.seen))


def make_split(clips: int, length: int, seed: int, *, ragged: bool = True) -> Split:
    """Clips that count upwards from a random start, so that a bigram can learn them."""
    draw = np.random.default_rng(seed)
    tokens = (draw.integers(VOCABULARY, size=(clips, 1)) + np.arange(length)) % VOCABULARY
    lengths = draw.integers(1, length + 1, size=clips) if ragged else np.full(clips, length)
    return Split(tokens=tokens.astype(np.uint8), lengths=lengths.astype(np.int64))


@pytest.fixture
def bigram():
    def build(seed: int = 0, **config) -> Bigram:
        torch.manual_seed(seed)
        return Bigram(Bigram.Config(**config))

    return build


@pytest.fixture
def uniform() -> Uniform:
    return Uniform()


@pytest.fixture
def dataset() -> SimpleNamespace:
    splits = {
        name: make_split(clips, 24, seed)
        for seed, (name, clips) in enumerate([("train", 12), ("validation", 5), ("test", 5)])
    }
    return SimpleNamespace(splits=splits, vocab_size=VOCABULARY, length=24, sample_rate=8000)
