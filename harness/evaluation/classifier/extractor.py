"""From waveforms to what a classifier says of them.

Shapes: N clips, T samples, F features, C classes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.cache import cache_root
from harness.contracts import Dataset, Spec
from harness.data.token_cache import locked
from harness.errors import ConfigError, DataError
from harness.evaluation.classifier.cached import open_or_train
from harness.evaluation.classifier.front_end import FrontEnd, published_front_end
from harness.evaluation.classifier.labelled import Labelled
from harness.evaluation.classifier.published import CLASSES, file_sha256, load_network
from harness.evaluation.classifier.settings import PRESETS, settings_of
from harness.evaluation.classifier.training import Progress, classify, silent
from harness.evaluation.quality.embedding import Embedding
from harness.store.atomic import write_text
from harness.training.average import evaluating
from harness.training.precision import precision

FLOOR = 0.9
"""Held-out accuracy below which a classifier is too weak to judge clips.

A calibrated classifier that errs on a tenth of ten classes leaves 0.54 nats of entropy a clip, so that
even the recordings score an inception score of exp(ln 10 − 0.54) = 5.8. The best published generator
reaches 5.94 (baselines of SC09): below the floor the ruler's own error is as large as what separates
generators from recordings.
"""

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A trained classifier with all that a row must say about it."""

    name: str
    """``small`` or ``resnext`` trained here, ``published`` for weights from a file."""
    sha256: str
    """Of the weights' file."""
    accuracy: float | None
    """On clips that it was not trained on; None where that could not be measured."""
    held_out: str
    """Which clips these were: data set and split."""
    front_end: FrontEnd
    network: torch.nn.Module
    """Float[B, m, n] -> features Float[B, F], logits Float[B, C]."""
    device: torch.device

    @property
    def too_weak(self) -> bool:
        """Not known to be accurate enough, see `FLOOR`."""
        return self.accuracy is None or self.accuracy < FLOOR

    @property
    def sample_rate(self) -> int:
        """What it listens at; clips of another rate are resampled."""
        return self.front_end.sample_rate

    def embed(self, waveforms: np.ndarray, sample_rate: int, progress: Progress = silent) -> Embedding:
        """Float32[N, T] -> the Embedding of each; clips are cut or padded to `front_end.length`."""
        features: list[Any] = []
        logits: list[Any] = []
        with evaluating(self.network), precision("float32"), torch.inference_mode():
            for start in range(0, len(waveforms), BATCH):
                progress(start / len(waveforms), f"classified {start} of {len(waveforms)} clips")
                batch = self.front_end.load(waveforms[start : start + BATCH], sample_rate).to(self.device)
                for found, values in zip(
                    (features, logits), self.network(self.front_end(batch)), strict=True
                ):
                    found.append(values.double().cpu())
        return Embedding(
            features=torch.cat(features).numpy(), probabilities=torch.cat(logits).softmax(dim=1).numpy()
        )


def extractor_for(
    dataset: Dataset, spec: Spec, device: torch.device, progress: Progress = silent
) -> Extractor:
    """``"small"``, ``"resnext"``, a mapping of their settings, or the path of published weights.

    The first two learn from the data set's labels on first use (`cached`); the accuracy of published
    weights is measured on its test split, where that has labels.
    Raises: ConfigError for an unknown name, DataError for a data set without labels, WeightsError.
    """
    if isinstance(spec, str) and spec not in PRESETS:
        path = Path(spec).expanduser()
        if not path.suffix and not path.exists():
            raise ConfigError((), f"{spec!r} is neither {' nor '.join(PRESETS)} nor a file of weights")
        return _judged(load_published(path, device), dataset, progress)
    settings = settings_of(spec)
    entry = open_or_train(dataset, settings, device, progress)
    data = entry.about["data"]
    return Extractor(
        name=settings.network,
        sha256=entry.about["weights_sha256"],
        accuracy=entry.about["accuracy"]["test"],
        held_out=_test_split(data["clips"]["test"], data["name"]),
        front_end=entry.front_end,
        network=entry.network,
        device=device,
    )


def load_published(path: Path, device: torch.device | str = "cpu") -> Extractor:
    """The published classifier of SC09 with the weights of a file; nobody has measured it yet.

    Raises: WeightsError
    """
    device = torch.device(device)
    return Extractor(
        name="published",
        sha256=file_sha256(path) if path.is_file() else "",
        accuracy=None,
        held_out="",
        front_end=published_front_end(),
        network=load_network(path).to(device),
        device=device,
    )


def _judged(extractor: Extractor, dataset: Dataset, progress: Progress) -> Extractor:
    """With its accuracy on the data set's test split, measured once and kept in the cache."""
    if dataset.splits["test"].labels is None:
        return extractor
    labelled = Labelled.of(dataset)
    if labelled.classes != CLASSES:
        raise DataError(
            f"the published classifier knows {CLASSES} spoken digits, but {labelled.name} has "
            f"{labelled.classes} classes; use the classifier 'small', which learns them"
        )
    path = (
        cache_root()
        / "classifiers"
        / f"{labelled.name}-published-{extractor.sha256[:16]}-{labelled.digest()[:16]}.json"
    )
    with locked(path):
        try:
            accuracy = float(json.loads(path.read_text(encoding="utf-8"))["accuracy"])
        except (OSError, ValueError, KeyError, TypeError):
            progress(0.0, f"listening to the test split of {labelled.name}")
            with evaluating(extractor.network), precision("float32"):
                verdict = classify(
                    extractor.network, extractor.front_end, labelled, "test", extractor.device, progress
                )
            accuracy = verdict.accuracy
            about = {"accuracy": accuracy, "confusion": verdict.confusion.tolist()}
            write_text(path, json.dumps(about, indent=1) + "\n")
    held_out = _test_split(labelled.count("test"), labelled.name)
    return replace(extractor, accuracy=accuracy, held_out=held_out)


def _test_split(clips: int, name: str) -> str:
    return f"{clips} clips of the test split of {name}"
