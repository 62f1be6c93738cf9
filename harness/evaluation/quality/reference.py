"""What drawn clips are held against: the training set's embedding, and how the recordings themselves score.

Both depend on the data set and the classifier alone, so they are computed once and kept in the
cache, under a digest of all they depend on:

    <root>/quality/<split>-<16 hex digits>.npz       features and probabilities, float32
    <root>/quality/reference-<16 hex digits>.json    scores of the training and of the test set
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.cache import cache_root
from harness.contracts import Dataset
from harness.data.token_cache import locked
from harness.evaluation.classifier.extractor import Extractor
from harness.evaluation.quality.embedding import Embedding, QualityError
from harness.evaluation.quality.scores import score
from harness.evaluation.quality.waveforms import Progress, Recordings, embed_all
from harness.store.atomic import replacing, write_text
from harness.suite.trial import canonical

FORMAT = 1
"""Part of every digest. Raise it when the same data and classifier have to give other numbers."""

SETS = ("train", "test")

log = logging.getLogger(__name__)


class Reference(NamedTuple):
    """What clips of a data set are compared with, by one classifier."""

    train: Embedding
    scores: Mapping[str, Mapping[str, float]]
    """Scores of the splits "train" (against itself: a check) and "test" against the training set."""
    clips: Mapping[str, int]


def reference(
    dataset: Dataset, data: Mapping[str, Any], extractor: Extractor, resamples: int, progress: Progress
) -> Reference:
    """Of a data set with its resolved configuration."""
    identity = {
        "format": FORMAT,
        "data": data,
        "tokens": dataset.provenance.sha256,
        "extractor": extractor.sha256,
        "front_end": repr(extractor.front_end),
    }
    found = {name: _embedding(dataset, name, extractor, identity, progress) for name in SETS}
    scores = _scores(found, {**identity, "resamples": resamples}, resamples, progress)
    return Reference(found["train"], scores, {name: len(found[name]) for name in SETS})


def _embedding(
    dataset: Dataset, split: str, extractor: Extractor, identity: Mapping[str, Any], progress: Progress
) -> Embedding:
    path = _entry(split, {**identity, "split": split}, ".npz")
    with locked(path):
        if (cached := _read(path)) is not None:
            return cached
        assert dataset.sample_rate is not None
        found = embed_all(
            Recordings(dataset, split), extractor, dataset.sample_rate, f"clips of {split}", progress
        )
        with replacing(path) as temporary:
            np.savez(
                temporary,
                features=found.features.astype(np.float32),
                probabilities=found.probabilities.astype(np.float32),
            )
        read = _read(path)  # as everybody after us will have it
        assert read is not None
        return read


def _scores(
    found: Mapping[str, Embedding], identity: Mapping[str, Any], resamples: int, progress: Progress
) -> Mapping[str, Mapping[str, float]]:
    path = _entry("reference", identity, ".json")
    with locked(path):
        try:
            cached = json.loads(path.read_text(encoding="utf-8"))
            return {name: {key: _number(value) for key, value in cached[name].items()} for name in SETS}
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            pass
        scores = {}
        for number, name in enumerate(SETS):
            progress(number / len(SETS), f"scoring the {name} set")
            scores[name] = score(found[name], found["train"], seed=0, resamples=resamples)
        plain = {
            name: {key: value if math.isfinite(value) else None for key, value in each.items()}
            for name, each in scores.items()
        }
        write_text(path, json.dumps(plain, indent=1) + "\n")
        return scores


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _entry(name: str, identity: Mapping[str, Any], suffix: str) -> Path:
    key = hashlib.sha256(canonical(identity).encode()).hexdigest()
    return cache_root() / "quality" / f"{name}-{key[:16]}{suffix}"


def _read(path: Path) -> Embedding | None:
    """A cached embedding; None where there is none, or none that is whole."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Embedding(features=arrays["features"], probabilities=arrays["probabilities"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, QualityError) as damage:
        log.warning("computing %s again: %s", path, damage)
        return None
