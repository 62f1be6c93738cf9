"""What one tracker has of each trial, and the rest of it: from a trial's own files, live and at its end."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.contracts import TrackedTrial, Tracker, TrialLog
from harness.store.record import read_record
from harness.suite.trial import Trial
from harness.training.history import HISTORY, HistoryRow, read_history
from harness.tuning.watched import Curve

DONE = "tracked.txt"
"""In a tracker's folder: a line ``key digest`` for every record that it has whole. Where it is removed,
the next run hands everything over again."""


@dataclass
class _Open:
    """The log of a trial that is being trained."""

    log: TrialLog
    curve: Curve
    given: list[HistoryRow] = field(default_factory=list)


class Logbook:
    """All but `wants` is called in the tracker's thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done: dict[str, str] | None = None
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()

    def wants(self, key: str, record_path: Path) -> bool:
        """Whether the tracker does not have this very record."""
        try:
            digest = _digest(record_path)
        except OSError:
            return False
        with self._lock:
            return self._known().get(key) != digest

    def begin(self, tracker: Tracker, trial: Trial, folder: Path) -> None:
        self._open[trial.key] = _Open(tracker.begin(told(trial)), Curve(folder))

    def follow(self, tracker: Tracker, trial: Trial, folder: Path) -> None:
        """Hand over what the learning curve has gained."""
        if (opened := self._open.get(trial.key)) is not None:
            for row in opened.curve.new_points():
                opened.log.point(row.step, numbers(asdict(row)))
                opened.given.append(row)

    def end(self, tracker: Tracker, trial: Trial, folder: Path) -> None:
        """Hand over the whole of what a trial has left."""
        digest = _digest(folder / "record.json")
        record = read_record(folder / "record.json")
        rows = read_history(folder / HISTORY)
        opened = self._open.pop(trial.key, None)
        if opened is None or list(map(repr, opened.given)) != list(map(repr, rows[: len(opened.given)])):
            opened = _Open(tracker.begin(told(trial)), Curve(folder))
        for row in rows[len(opened.given) :]:
            opened.log.point(row.step, numbers(asdict(row)))
        opened.log.end(record.status, numbers(record.columns), record.error)
        self._note(trial.key, digest)

    def close(self, tracker: Tracker) -> None:
        """What was begun and did not end."""
        while self._open:
            _, opened = self._open.popitem()
            opened.log.end("interrupted", {}, "")

    def _note(self, key: str, digest: str) -> None:
        with self._lock:
            self._known()[key] = digest
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / DONE).open("a", encoding="utf-8") as file:
                file.write(f"{key} {digest}\n")

    def _known(self) -> dict[str, str]:
        if self._done is None:
            self._done = {}
            path = self.folder / DONE
            for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
                key, _, digest = line.partition(" ")
                self._done[key] = digest
        return self._done


def told(trial: Trial) -> TrackedTrial:
    """A trial as trackers see it."""
    return TrackedTrial(
        name=trial.folder_name,
        variant=trial.variant,
        seed=trial.seed,
        key=trial.key,
        config=trial.config,
    )


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those that are finite numbers; a log has no use for others."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and name != "step" and math.isfinite(value)
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
