"""What drawn clips are held against: the training set, and how the recordings themselves score.

All of it depends on the data set and the classifier alone, so it is computed once and kept in the
cache, under a digest of all it depends on:

    <root>/quality/<what>-<split>-<16 hex digits>.npz    what a classifier, or spectra, say of a split
    <root>/quality/<what>-<16 hex digits>.json            scores of the training and of the test set
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.cache import cache_root
from harness.contracts import Dataset
from harness.data.token_cache import locked
from harness.evaluation.classifier.extractor import Extractor
from harness.evaluation.quality.embedding import Embedding, QualityError
from harness.evaluation.quality.mel_distance import mel_scores
from harness.evaluation.quality.scores import score
from harness.evaluation.quality.waveforms import Progress, Recordings, describe_all, embed_all
from harness.store.atomic import replacing, write_text
from harness.suite.trial import canonical

FORMAT = 1
"""Part of every digest. Raise it when the same data and classifier have to give other numbers."""

SETS = ("train", "test")

Scores = Mapping[str, Mapping[str, float]]
"""Of the split "train" (against itself: a check) and of "test", both against the training set."""

Arrays = Mapping[str, np.ndarray]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A data set as something to compare clips with. `data` is its resolved configuration."""

    dataset: Dataset
    data: Mapping[str, Any]
    resamples: int
    progress: Progress

    def embeddings(self, extractor: Extractor) -> tuple[Embedding, Scores]:
        """Of the training set by a classifier, and the scores by it."""
        identity = {"extractor": extractor.sha256, "front_end": repr(extractor.front_end)}

        def arrays(split: str) -> Arrays:
            recordings, rate = Recordings(self.dataset, split), self._rate
            embedding = embed_all(recordings, extractor, rate, f"clips of {split}", self.progress)
            return {name: value.astype(np.float32) for name, value in vars(embedding).items()}

        found = {name: Embedding(**self._arrays("embedding", name, identity, arrays)) for name in SETS}

        def scores(split: str) -> Mapping[str, float]:
            return score(found[split], found["train"], seed=0, resamples=self.resamples)

        return found["train"], self._scores("scores", identity, scores)

    def descriptions(self) -> tuple[np.ndarray, Scores]:
        """Log-mel statistics of the training set, and the scores by them."""

        def arrays(split: str) -> Arrays:
            recordings = Recordings(self.dataset, split)
            return {"described": describe_all(recordings, self._rate, f"clips of {split}", self.progress)}

        found = {name: self._arrays("mel", name, {}, arrays)["described"] for name in SETS}

        def scores(split: str) -> Mapping[str, float]:
            return mel_scores(found[split], found["train"], seed=0, resamples=self.resamples)

        return found["train"], self._scores("mel_scores", {}, scores)

    @property
    def _rate(self) -> int:
        assert self.dataset.sample_rate is not None
        return self.dataset.sample_rate

    def _arrays(
        self, what: str, split: str, identity: Mapping[str, Any], compute: Callable[[str], Arrays]
    ) -> Arrays:
        path = self._entry(f"{what}-{split}", identity, ".npz")
        with locked(path):
            if (cached := _read_arrays(path)) is not None:
                return cached
            found = compute(split)
            with replacing(path) as temporary:
                np.savez(temporary, **found)  # type: ignore[arg-type]
            return found

    def _scores(
        self, what: str, identity: Mapping[str, Any], compute: Callable[[str], Mapping[str, float]]
    ) -> Scores:
        path = self._entry(what, {**identity, "resamples": self.resamples}, ".json")
        with locked(path):
            if (cached := _read_scores(path)) is not None:
                return cached
            found = {}
            for number, name in enumerate(SETS):
                self.progress(number / len(SETS), f"scoring the {name} set")
                found[name] = dict(compute(name))
            plain = {
                name: {key: value if math.isfinite(value) else None for key, value in each.items()}
                for name, each in found.items()
            }
            write_text(path, json.dumps(plain, indent=1) + "\n")
            return found

    def _entry(self, name: str, identity: Mapping[str, Any], suffix: str) -> Path:
        everything = {
            **identity,
            "what": name,
            "format": FORMAT,
            "data": self.data,
            "tokens": self.dataset.provenance.sha256,
        }
        key = hashlib.sha256(canonical(everything).encode()).hexdigest()
        return cache_root() / "quality" / f"{name}-{key[:16]}{suffix}"


def _read_arrays(path: Path) -> Arrays | None:
    """None where there are none, or none that are whole."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, QualityError) as damage:
        log.warning("computing %s again: %s", path, damage)
        return None


def _read_scores(path: Path) -> Scores | None:
    try:
        cached = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: {key: math.nan if value is None else float(value) for key, value in cached[name].items()}
            for name in SETS
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as damage:
        log.warning("computing %s again: %s", path, damage)
        return None
