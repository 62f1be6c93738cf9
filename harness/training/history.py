"""The learning curve of one trial."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from harness.store.atomic import replacing


@dataclass(frozen=True, kw_only=True)
class HistoryRow:
    """One point. Not a number where there is nothing to report (training loss before step 1)."""

    step: int
    """Updates so far, skipped ones included."""
    seconds: float
    """On the training clock, which stands still during set-up and validation."""
    tokens: int
    """True tokens trained on so far."""
    learning_rate: float
    """Of the last update."""
    nll_bits_train: float
    """Mean over the true tokens since the previous row, before each update, with dropout."""
    nll_bits_validation: float
    """Of the averaged weights, on a fixed part of the validation split."""


def write_history(path: Path, rows: Sequence[HistoryRow]) -> None:
    """A CSV file, written whole or not at all. Numbers are written so that they read back exactly."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(HistoryRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
