"""Trained classifiers on disk: trained once, under a digest of all they depend on.

    <root>/classifiers/<data set>-<network>-<16 hex digits>/
        weights.safetensors
        about.json      accuracy and confusion matrix of validation and test, settings, data, how trained

The digest covers every token and label of the data set, how its tokens sound, the settings and
`settings.VERSION`. An entry appears whole, made by whoever holds its lock; a damaged one is trained again.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from harness import configuration
from harness.cache import cache_root
from harness.contracts import Dataset
from harness.data.token_cache import locked
from harness.errors import DataError
from harness.evaluation.classifier.front_end import FrontEnd
from harness.evaluation.classifier.labelled import Labelled
from harness.evaluation.classifier.published import file_sha256
from harness.evaluation.classifier.settings import VERSION, ClassifierSettings
from harness.evaluation.classifier.training import Progress, Trained, Verdict, build, train
from harness.store.atomic import replacing, write_text

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A classifier in the cache."""

    folder: Path
    about: dict[str, Any]
    network: nn.Module
    front_end: FrontEnd


def open_or_train(
    dataset: Dataset,
    settings: ClassifierSettings,
    device: torch.device,
    progress: Progress,
    again: bool = False,
) -> Entry:
    """The classifier of this data set and these settings, trained where there is none, or `again`.

    Raises: DataError for a data set that cannot teach one, or when the cache cannot be written.
    """
    labelled = Labelled.of(dataset)
    key = _key(labelled, settings)
    folder = cache_root() / "classifiers" / f"{labelled.name}-{settings.network}-{key[:16]}"
    with locked(folder):
        found = None if again else _opened(folder, labelled, settings)
        if found is None:
            trained = train(labelled, settings, device, progress)
            try:
                _write(folder, labelled, settings, trained, device)
            except OSError as error:
                raise DataError(f"cannot write the classifier to {folder}: {error}") from error
            found = _opened(folder, labelled, settings)
    if found is None:
        raise DataError(f"the classifier in {folder} cannot be read although it was just written")
    return found._replace(network=found.network.to(device))


def _key(labelled: Labelled, settings: ClassifierSettings) -> str:
    identity = {
        "version": VERSION,
        "data": labelled.digest(),
        "settings": configuration.plain(settings),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _opened(folder: Path, labelled: Labelled, settings: ClassifierSettings) -> Entry | None:
    """None where there is none, or none that is whole."""
    weights = folder / "weights.safetensors"
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        if about["weights_sha256"] != file_sha256(weights):
            raise ValueError("the checksum of its weights does not match")
        network, front_end = build(settings, labelled.classes, labelled.sample_rate, labelled.dataset.length)
        network.load_state_dict(load_file(weights))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as damage:
        log.warning("training the classifier %s again: %s", folder, damage)
        return None
    return Entry(folder, about, network.eval(), front_end)


def _write(
    folder: Path, labelled: Labelled, settings: ClassifierSettings, trained: Trained, device: torch.device
) -> None:
    """The weights first: without the other file, which has their checksum, they count for nothing."""
    tensors = {name: value.cpu().contiguous() for name, value in trained.network.state_dict().items()}
    path = folder / "weights.safetensors"
    with replacing(path) as temporary:
        save_file(tensors, temporary)
    provenance = labelled.dataset.provenance
    about = {
        "classifier": settings.network,
        "weights_sha256": file_sha256(path),
        "accuracy": {"validation": trained.validation.accuracy, "test": trained.test.accuracy},
        "confusion": {name: _table(found) for name, found in _splits(trained)},
        "epochs": trained.epochs,
        "best_epoch": trained.best_epoch,
        "settings": configuration.plain(settings),
        "front_end": dataclasses.asdict(trained.front_end),
        "data": {
            "name": labelled.name,
            "classes": labelled.classes,
            "source": provenance.source,
            "version": provenance.version,
            "sha256": provenance.sha256,
            "clips": dict(provenance.clips),
            "digest": labelled.digest(),
        },
        "seconds": round(trained.seconds, 1),
        "device": str(device),
        "torch_version": torch.__version__,
        "trained_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": VERSION,
    }
    write_text(folder / "about.json", json.dumps(about, indent=1) + "\n")


def _splits(trained: Trained) -> tuple[tuple[str, Verdict], ...]:
    return ("validation", trained.validation), ("test", trained.test)


def _table(verdict: Verdict) -> list[list[int]]:
    return verdict.confusion.tolist()
