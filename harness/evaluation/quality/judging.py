"""From clips to the columns of a row: which classifier, which clips of them, against what.

The same for a model's own clips and for a folder of somebody else's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.contracts import Column, Dataset
from harness.evaluation.classifier.extractor import Extractor, extractor_for
from harness.evaluation.classifier.settings import PRESETS
from harness.evaluation.classifier.training import TooShort
from harness.evaluation.quality.embedding import Embedding
from harness.evaluation.quality.mel_distance import COLUMNS as MEL_SCORES
from harness.evaluation.quality.mel_distance import mel_scores
from harness.evaluation.quality.reference import SETS, Reference, Scores
from harness.evaluation.quality.rejection import Rule, kept
from harness.evaluation.quality.scores import COLUMNS as SCORES
from harness.evaluation.quality.scores import score, undefined
from harness.evaluation.quality.waveforms import Lengths, Progress, Waveforms, describe_all, embed_all

OF_RECORDINGS = (
    *("fid", "fid_infinity", "inception_score", "inception_score_sashimi"),
    *("modified_inception_score", "am_score"),
)
"""Scores that a row repeats of the training and of the test set."""

PROTOCOL: Mapping[str, Column] = {
    "quality_samples": Column(description="clips that were scored", unit="clips"),
    "quality_drawn": Column(description="clips that they were chosen from", unit="clips"),
    "quality_seed": Column(description="seed of the clips"),
    "quality_rejection": Column(description="which clips were left out by their likelihood"),
    "quality_lengths": Column(description="data: clips end where training clips end; full: as drawn"),
    "quality_extractor": Column(description="the classifier, and the sha256 of its weights"),
    "quality_extractor_accuracy": Column(description="of the classifier, on clips held out from it"),
    "quality_extractor_too_weak": Column(description="its scores say more about it than about the clips"),
    "quality_test_clips": Column(description="clips of the test set behind the scores of it", unit="clips"),
    "quality_note": Column(description="which scores are missing, and why"),
}


def all_columns() -> dict[str, Column]:
    """Of all rows."""
    found = {**SCORES, **MEL_SCORES, **PROTOCOL}
    for name in (*OF_RECORDINGS, "mel_distance"):
        for split in SETS:
            found[f"{name}_{split}_set"] = Column(
                description=f"{name} of the {split} set itself, by the same classifier"
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How clips are scored."""

    extractor: str = "small"
    rejection: Rule = "none"
    lengths: Lengths = "data"
    resamples: int = 200
    seed: int | None = None
    """Of the clips, where it is known."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A row's columns, and what the classifier said of every clip, left out ones included."""

    columns: dict[str, Any]
    embedding: Embedding | None


def judge(
    waveforms: Waveforms,
    log_likelihood: np.ndarray | None,
    dataset: Dataset,
    data: Mapping[str, Any],
    protocol: Protocol,
    *,
    device: torch.device,
    progress: Progress,
) -> Judged:
    """Clips at the data set's rate and length against its training set; `data` is its configuration.

    `log_likelihood` Float64[N] is needed by the rejection rule "published" alone.
    Raises: QualityError for too few clips or missing likelihoods; HarnessError of the classifier.
    """
    dataset, data = whole(dataset, data)
    assert dataset.sample_rate is not None
    nobody_knows = np.full(len(waveforms), np.nan)
    chosen = kept(nobody_knows if log_likelihood is None else log_likelihood, protocol.rejection)
    found: dict[str, Any] = {
        "quality_samples": len(chosen),
        "quality_drawn": len(waveforms),
        "quality_seed": protocol.seed,
        "quality_rejection": protocol.rejection,
        "quality_lengths": protocol.lengths,
        "quality_test_clips": len(dataset.splits["test"]),
        "quality_note": "",
    }
    ours = Reference(dataset=dataset, data=data, resamples=protocol.resamples, progress=progress)
    described = describe_all(waveforms, dataset.sample_rate, "clips", progress)
    training, of_recordings = ours.descriptions()
    found |= mel_scores(described[chosen], training, seed=0, resamples=protocol.resamples)
    found |= _repeated(of_recordings, ("mel_distance",))
    try:
        extractor = classifier_of(dataset, protocol.extractor, device, progress)
        why = "the data set has no labels to train a classifier on"
    except TooShort as error:  # no reason to lose the trial
        extractor, why = None, str(error)
    if extractor is None:
        found["quality_note"] = f"{why}: mel_distance alone"
        return Judged(columns=_defined(found), embedding=None)
    embedding = embed_all(waveforms, extractor, dataset.sample_rate, "clips", progress)
    reference, of_recordings = ours.embeddings(extractor)
    progress(0.0, f"scoring {len(chosen)} clips")
    scores = score(embedding[chosen], reference, seed=0, resamples=protocol.resamples)
    found |= scores | _repeated(of_recordings, OF_RECORDINGS)
    found |= {
        "quality_extractor": f"{extractor.name} {extractor.sha256[:12]}",
        "quality_extractor_accuracy": extractor.accuracy,
        "quality_extractor_too_weak": extractor.too_weak,
    }
    notes = _missing(scores, of_recordings)
    if extractor.too_weak:
        notes.insert(0, f"the classifier is too weak ({_accuracy(extractor)}): its scores mean little")
    found["quality_note"] = "; ".join(notes)
    return Judged(columns=_defined(found), embedding=embedding)


def whole(dataset: Dataset, data: Mapping[str, Any]) -> tuple[Dataset, Mapping[str, Any]]:
    """The data set that clips are scored against: itself, or what it is a subset of."""
    inner = getattr(dataset, "whole", None)
    return (dataset, data) if inner is None else whole(inner, data["of"])


def classifier_of(dataset: Dataset, spec: str, device: torch.device, progress: Progress) -> Extractor | None:
    """None where it would have to learn from labels that the data set does not have."""
    if dataset.splits["train"].labels is None and spec in PRESETS:
        return None
    return extractor_for(dataset, spec, device, progress)


def _missing(scores: Mapping[str, float], of_recordings: Scores) -> list[str]:
    """Which columns have no number, and what they need for one."""
    notes = [f"no {name}, which needs {needed}" for name, needed in undefined(scores).items()]
    for split in SETS:
        needs = undefined(of_recordings[split])
        notes += [
            f"no {name}_{split}_set, which needs {needs[name]}" for name in OF_RECORDINGS if name in needs
        ]
    return notes


def _repeated(scores: Scores, names: Sequence[str]) -> dict[str, float]:
    return {f"{name}_{split}_set": scores[split][name] for name in names for split in SETS}


def _defined(found: Mapping[str, Any]) -> dict[str, Any]:
    """Without the numbers that so few clips do not have."""
    return {k: v for k, v in found.items() if not (isinstance(v, float) and not math.isfinite(v))}


def _accuracy(extractor: Extractor) -> str:
    if extractor.accuracy is None:
        return "its accuracy is unknown"
    return f"{extractor.accuracy:.1%} right of {extractor.held_out}"
