"""A data set in numbers, for people and for JSON: sizes, hours, labels, digests, quantisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.contracts import Dataset, Split


def describe(dataset: Dataset, config: Any) -> dict[str, Any]:
    """What a built data set is; whatever a stranger's does not say is left out."""
    rate = dataset.sample_rate
    found: dict[str, Any] = {
        "source": dataset.provenance.source,
        "version": dataset.provenance.version,
        "licence": dataset.provenance.licence,
        "notes": list(dataset.provenance.notes),
        "length": dataset.length,
        "vocab_size": dataset.vocab_size,
        "sample_rate": rate,
        "splits": {name: _split(split, rate) for name, split in dataset.splits.items()},
        "tokens_sha256": dataset.provenance.sha256,
    }
    if files := getattr(dataset, "files_sha256", None):
        found["files_sha256"] = files
    for field in ("quantiser", "min_max", "recipe"):
        if hasattr(config, field):
            found[field] = getattr(config, field)
    if labels := histogram(dataset):
        found["labels"] = labels
    return found


def histogram(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Label -> split -> number of clips; empty for a set without labels."""
    labelled = {name: split.labels for name, split in dataset.splits.items() if split.labels is not None}
    if not labelled:
        return {}
    names = label_names(dataset)
    counts = {name: np.bincount(labels, minlength=len(names)) for name, labels in labelled.items()}
    return {
        label: {name: int(found[number]) for name, found in counts.items()}
        for number, label in enumerate(names)
    }


def label_names(dataset: Dataset) -> list[str]:
    """What the set says of its labels, and their numbers where it says nothing."""
    highest = max(int(split.labels.max()) for split in dataset.splits.values() if split.labels is not None)
    names = list(getattr(dataset, "label_names", ()))
    return [*names, *map(str, range(len(names), highest + 1))]


def _split(split: Split, rate: int | None) -> Mapping[str, Any]:
    samples = int(split.lengths.sum())
    found: dict[str, Any] = {
        "clips": len(split),
        "samples": samples,
        "shortest": int(split.lengths.min()),
        "longest": int(split.lengths.max()),
        "padded_clips": int((split.lengths < split.tokens.shape[1]).sum()),
    }
    if rate:
        found["hours"] = samples / rate / 3600
    return found
