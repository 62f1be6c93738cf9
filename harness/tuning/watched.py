"""A search trial from the outside: the task that trains it, and its learning curve as it grows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.execution.run_trial import Task
from harness.store.record import Record, read_record
from harness.training.history import HISTORY, HistoryRow, read_history
from harness.tuning.outcome import SearchRow

KEPT = ("record.json", HISTORY, "log.txt")
"""Of a search trial's folder, once its search is over: weights of candidates are of no use."""


class Curve:
    """The points of a search trial's learning curve, each handed out once."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / HISTORY
        self.points: list[HistoryRow] = []
        self._seen: tuple[int, int] | None = None

    def forget(self) -> None:
        """Before a training begins or continues: what an earlier process wrote is not what it does."""
        self.path.unlink(missing_ok=True)

    def new_points(self) -> list[HistoryRow]:
        """Those since it was last asked; the file is read only where it has been replaced."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return []
        stamp = (found.st_ino, found.st_mtime_ns)
        if stamp == self._seen:
            return []
        self._seen = stamp
        points = read_history(self.path)
        new = [point for point in points if not self.points or point.step > self.points[-1].step]
        self.points += new
        return new


def finished_record(task: Task) -> Record | None:
    """The record of a search trial that an earlier, interrupted search has brought to its end."""
    if not task.record_path.is_file():
        return None
    try:
        record = read_record(task.record_path)
    except HarnessError:
        return None
    same = record.key == task.trial.key
    return record if same and record.status in {"ok", "diverged"} else None


def row_of(
    number: int,
    key: str,
    values: Mapping[str, Any],
    point: HistoryRow | None,
    *,
    stopped_early: bool,
    status: str,
    error: str,
) -> SearchRow:
    """A search trial's row from the last point of its learning curve."""
    return SearchRow(
        trial=number,
        key=key,
        values=dict(values),
        steps=0 if point is None else point.step,
        nll_bits_validation=math.nan if point is None else point.nll_bits_validation,
        stopped_early=stopped_early,
        status=status,
        error=error,
        seconds=0.0 if point is None else point.seconds,
    )


def tidy(folder: Path) -> None:
    """Remove weights and resume files of the search trials below `folder`."""
    for trial in folder.glob("trials/*/"):
        for file in trial.iterdir():
            if file.is_file() and file.name not in KEPT:
                file.unlink(missing_ok=True)
