"""Quality of a model's own clips: drawn into the trial's folder, then scored against the training set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from harness.contracts import Column, Dataset, Lane, MetricContext, require
from harness.errors import DataError
from harness.evaluation.clip_folder import ClipFolder
from harness.evaluation.clips import BATCH, clips_folder, draw_clips
from harness.evaluation.quality.embedding import Embedding, QualityError
from harness.evaluation.quality.judging import Protocol, all_columns, classifier_of, judge, whole
from harness.evaluation.quality.rejection import RULES, Rule
from harness.evaluation.quality.waveforms import LENGTHS, Drawn, Lengths, Progress, embed_all
from harness.evaluation.real_clips import keep_real_clips
from harness.store.atomic import write_text

DRAWING = 0.7
"""Share of drawing in the time, roughly; only the time left uses it."""


class Quality:
    """Quality of drawn clips: FID, inception scores, AM, NDB, precision, recall, mel distance."""

    lane: ClassVar[Lane] = "training"
    columns: ClassVar[Mapping[str, Column]] = all_columns()

    @dataclass(frozen=True, kw_only=True)
    class Config:
        clips: int = 256
        """Drawn from each model; `harness sample` draws more later. Published on SC09: 5120."""
        batch: int = BATCH
        """Clips side by side."""
        extractor: str = "small"
        """The classifier: small or resnext, trained on the data set's labels on first use, or the path of
        published weights."""
        rejection: Rule = "none"
        """published: drop the 40 % of least and the 5 % of highest likelihood."""
        lengths: Lengths = "data"
        """data: a clip ends where a training clip ends; full: it is scored as it was drawn, as published."""
        resamples: int = 200
        """Of the clips, behind an interval."""

        def __post_init__(self) -> None:
            require(self.clips >= 2, "clips", f"must be at least 2, got {self.clips}")
            require(self.batch >= 1, "batch", f"must be at least 1, got {self.batch}")
            require(self.resamples >= 0, "resamples", "must not be negative")
            require(self.rejection in RULES, "rejection", f"knows {', '.join(RULES)}")
            require(self.lengths in LENGTHS, "lengths", f"knows {', '.join(LENGTHS)}")
            require(bool(self.extractor), "extractor", "needs a name or a path")

        def protocol(self, seed: int | None) -> Protocol:
            """How clips of this seed are scored."""
            return Protocol(
                extractor=self.extractor,
                rejection=self.rejection,
                lengths=self.lengths,
                resamples=self.resamples,
                seed=seed,
            )

    def __init__(self, config: Config) -> None:
        self.config = config

    def measure(self, context: MetricContext) -> dict[str, Any]:
        """Clips that a stopped run, or `harness sample`, has drawn of these weights are kept."""
        keep_real_clips(context.dataset, context.folder)
        clips = draw_clips(
            context.model,
            context.dataset,
            clips_folder(context.folder),
            count=self.config.clips,
            seed=context.seed,
            device=context.device,
            batch=self.config.batch,
            progress=lambda fraction, text: context.progress(DRAWING * fraction, text),
        )
        try:
            return score_clips(
                clips,
                context.dataset,
                context.config["data"],
                self.config,
                count=self.config.clips,
                device=context.device,
                progress=lambda fraction, text: context.progress(DRAWING + (1 - DRAWING) * fraction, text),
            )
        except QualityError as error:  # no reason to lose the trial
            return {"quality_note": f"not scored: {error}"}


def score_clips(
    clips: ClipFolder,
    dataset: Dataset,
    data: Mapping[str, Any],
    config: Quality.Config,
    *,
    count: int,
    device: torch.device,
    progress: Progress,
) -> dict[str, Any]:
    """Columns of the first `count` clips of a folder, which learns their labels.

    They are written into `quality.json` beside the clips, too.
    Raises: QualityError, DataError.
    """
    assert clips.drawing is not None
    dataset, data = whole(dataset, data)
    if clips.drawing.sample_rate is None:
        return {"quality_note": "the data are no sound: clips were drawn, and not scored"}
    if len(clips) < count:
        raise DataError(f"{clips.folder} holds {len(clips)} clips, not {count}; `harness sample` draws them")
    judged = judge(
        Drawn(clips, count, config.lengths, dataset),
        clips.log_likelihood_bits[:count],
        dataset,
        data,
        config.protocol(clips.drawing.seed),
        device=device,
        progress=progress,
    )
    if judged.embedding is not None:
        _note_labels(clips, judged.embedding)
    write_text(clips.folder / "quality.json", json.dumps(judged.columns, indent=1) + "\n")
    return judged.columns


def label_clips(
    clips: ClipFolder,
    dataset: Dataset,
    data: Mapping[str, Any],
    config: Quality.Config,
    *,
    device: torch.device,
    progress: Progress,
) -> bool:
    """Note in the folder's table what the classifier hears; False where the data set has no labels.

    Raises: HarnessError of the classifier.
    """
    dataset, _ = whole(dataset, data)
    extractor = classifier_of(dataset, config.extractor, device, progress)
    if extractor is None or dataset.sample_rate is None:
        return False
    drawn = Drawn(clips, len(clips), config.lengths, dataset)
    _note_labels(clips, embed_all(drawn, extractor, dataset.sample_rate, "clips", progress))
    return True


def _note_labels(clips: ClipFolder, embedding: Embedding) -> None:
    probabilities = embedding.probabilities
    clips.label(probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist())
