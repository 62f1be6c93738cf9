"""Fewer clips to train on, of any other data set: how a model learns from little, and overfits.

The training split's clips are put into an order that the seed draws, and the first of them are kept:
of one seed, the clips of a smaller subset are all in a larger one. Validation and test stay whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np

from harness import configuration
from harness.contracts import Component, Dataset, Provenance, Spec, Split, require
from harness.errors import DataError


class Subset:
    """Some training clips of another data set, nested by seed; its validation and test are whole."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        of: Annotated[Spec, Component("datasets")] = "synthetic_digits"
        clips: int = 100
        """Of the training split."""
        seed: int = 0
        """Which ones. Part of the data, not of a trial's randomness."""

        def __post_init__(self) -> None:
            require(self.clips >= 1, "clips", f"must be at least 1, got {self.clips}")
            require(self.seed >= 0, "seed", "must not be negative")

        @cached_property
        def _facts(self) -> Any:
            return configuration.resolve("datasets", self.of).config

        @property
        def length(self) -> int:
            return self._facts.length

        @property
        def vocab_size(self) -> int:
            return self._facts.vocab_size

        @property
        def sample_rate(self) -> int | None:
            return self._facts.sample_rate

    def __init__(self, config: Config) -> None:
        """Raises: DataError where there are not so many clips, and what the other data set raises."""
        self.config = config
        self.whole: Dataset = configuration.build("datasets", config.of)
        """What drawn clips are scored against, so that subsets are judged by one measure."""
        self.vocab_size, self.sample_rate = self.whole.vocab_size, self.whole.sample_rate
        self.length = self.whole.length
        train = self.whole.splits["train"]
        if config.clips > len(train):
            raise DataError(f"a subset of {config.clips} clips: the training split has {len(train)}")
        kept = np.sort(order(len(train), config.seed)[: config.clips])
        self.splits: Mapping[str, Split] = {
            **self.whole.splits,
            "train": Split(
                tokens=train.tokens[kept],
                lengths=train.lengths[kept],
                labels=None if train.labels is None else train.labels[kept],
            ),
        }
        self.provenance = self._provenance(self.whole.provenance, len(train), kept)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        return self.whole.decode(tokens)

    def _provenance(self, whole: Provenance, count: int, kept: np.ndarray) -> Provenance:
        return dataclasses.replace(
            whole,
            sha256=hashlib.sha256(f"{whole.sha256}:".encode() + kept.astype("<i8").tobytes()).hexdigest(),
            clips={**whole.clips, "train": len(kept)},
            notes=(*whole.notes, f"{len(kept)} of {count} training clips, drawn by seed {self.config.seed}"),
        )


def order(count: int, seed: int) -> np.ndarray:
    """The order in which clips enter a subset: a permutation of `count` numbers."""
    return np.random.Generator(np.random.Philox(key=seed)).permutation(count)
