"""A trial once more from its record alone, and whether it gives the same numbers.

The training lane runs again in a folder that is thrown away: what was recorded stays as it is. The
exclusive lane measures time and memory, which no two runs share.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.execution.executor import SerialExecutor, Silence
from harness.execution.provenance import command_line
from harness.execution.run_trial import Progress, Task
from harness.store.record import Record, read_record
from harness.store.store import Store
from harness.suite.trial import Trial

TIMED = frozenset({"train_seconds", "compile_seconds"})
"""Columns of the training lane that no two runs share."""

CIRCUMSTANCES = (
    *("device", "device_name", "threads", "platform", "python_version", "torch_version"),
    *("git_commit", "git_dirty", "dataset_version", "dataset_sha256", "scan_backend"),
)
"""Provenance that may explain another result."""


@dataclass(frozen=True)
class Repeated:
    """One number, then and now."""

    column: str
    recorded: Any
    now: Any

    @property
    def same(self) -> bool:
        return _equal(self.recorded, self.now)


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """What came of it."""

    status: Repeated
    columns: list[Repeated]
    circumstances: list[Repeated]
    """Of the provenance, what is not as it was."""
    error: str = ""

    @property
    def same(self) -> bool:
        return self.status.same and all(each.same for each in self.columns)

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"same": self.same, **asdict(self)}


def rerun(store: Store, trial: Trial, progress: Progress, *, device: str | None = None) -> Rerun:
    """Train and measure this trial again, with the threads and on the kind of device that it had.

    Raises: HarnessError for a trial without a record, or whose training ended with none of its numbers.
    """
    recorded = store.record(trial)
    if recorded is None:
        raise HarnessError(
            f"{trial.variant}, seed {trial.seed}, has no record in {store.folder}; run it first"
        )
    with tempfile.TemporaryDirectory(prefix="harness-rerun-") as folder:
        task = Task(
            trial=trial,
            lane="training",
            folder=folder,
            threads=recorded.provenance.get("threads", 1),
            workers=recorded.columns.get("workers", 1),
            device=device or recorded.provenance.get("device", "cpu"),
            command=command_line(),
        )
        with SerialExecutor() as executor:
            executor.run([task], _Watched(progress), lambda: False)
        found = read_record(Path(folder) / "record.json")
    return compare(recorded, found)


class _Watched(Silence):
    """Events of the only task, of which progress alone matters."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def progress(self, task: Task, fraction: float, text: str) -> None:
        self._progress(fraction, text)


def compare(recorded: Record, found: Record) -> Rerun:
    """What the training lane measured, where one of them has it."""
    # Exclusive measurements are in the record as well: what the rerun lacks was measured there.
    names = [name for name in found.columns if name not in TIMED]
    return Rerun(
        status=Repeated("status", recorded.status, found.status),
        columns=[Repeated(name, recorded.columns.get(name), found.columns[name]) for name in sorted(names)],
        circumstances=[
            each for each in _circumstances(recorded.provenance, found.provenance) if not each.same
        ],
        error=found.error,
    )


def _circumstances(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Repeated]:
    names = [name for name in CIRCUMSTANCES if name in then or name in now]
    found = [Repeated(name, then.get(name), now.get(name)) for name in names]
    packages = sorted({*then.get("packages", {}), *now.get("packages", {})})
    return found + [
        Repeated(f"packages.{name}", then.get("packages", {}).get(name), now.get("packages", {}).get(name))
        for name in packages
    ]


def _equal(a: Any, b: Any) -> bool:
    """To the last bit; not-a-number is null in a record."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return bool(json.dumps(a) == json.dumps(b))
