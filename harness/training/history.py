"""The learning curve of one trial."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from harness.store.atomic import replacing

HISTORY = "history.csv"
"""In a trial's folder."""


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


def read_history(path: Path) -> list[HistoryRow]:
    """What `write_history` has written; nothing where there is no such file (yet)."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_row(row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []


def _row(said: Mapping[str, str]) -> HistoryRow:
    return HistoryRow(
        step=int(said["step"]),
        seconds=float(said["seconds"]),
        tokens=int(said["tokens"]),
        learning_rate=float(said["learning_rate"]),
        nll_bits_train=float(said["nll_bits_train"]),
        nll_bits_validation=float(said["nll_bits_validation"]),
    )
