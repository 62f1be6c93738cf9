"""A search in this process, one trial after another: for a debugger, and where there is no Ray."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.execution.executor import Interrupted
from harness.execution.run_trial import Task, run_task
from harness.execution.signals import StopAsked
from harness.store.record import Record
from harness.training.history import HistoryRow
from harness.training.stopping import Stopped
from harness.tuning.halving import Halving
from harness.tuning.outcome import SearchRow
from harness.tuning.search import Search
from harness.tuning.watched import Curve, finished_record, row_of

Watch = Callable[[float, str], None]
"""(fraction of the search done, a few words)"""


def run_search(search: Search, tasks: Sequence[Task], watch: Watch, stop: StopAsked) -> list[SearchRow]:
    """Raises: Interrupted; HarnessError for a search that this cannot do."""
    if search.tune.search != "random":
        raise HarnessError(f"tune: search {search.tune.search} runs through Ray Tune: leave out --serial")
    asha = search.tune.scheduler == "asha"
    halving = Halving(
        grace=search.grace_steps if asha else search.steps,
        reduction=search.tune.reduction,
        most=search.steps,
    )
    rows: list[SearchRow] = []
    for number, task in enumerate(tasks):
        if stop():
            raise Interrupted
        rows.append(_Run(search, number, task, halving, watch, stop).row())
    return rows


class _Run:
    """One search trial, stopped where halving says so."""

    def __init__(
        self, search: Search, number: int, task: Task, halving: Halving, watch: Watch, stop: StopAsked
    ) -> None:
        self.search, self.number, self.task = search, number, task
        self.halving, self.watch, self.stop = halving, watch, stop
        self.curve = Curve(task.folder)
        self.halted_at: HistoryRow | None = None

    def row(self) -> SearchRow:
        record = finished_record(self.task)
        if record is None:
            self.curve.forget()
            try:
                record = self._train()
            except Stopped:
                if self.halted_at is None:
                    raise Interrupted from None
        self._look()
        points = self.curve.points
        halted = self.halted_at
        return row_of(
            self.number,
            self.task.trial.key,
            self.search.values[self.number],
            halted or (points[-1] if points else None),
            stopped_early=halted is not None and halted.step < self.search.steps,
            status="ok" if record is None else record.status,
            error="" if record is None else record.error,
        )

    def _train(self) -> Record:
        folder = Path(self.task.folder)
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(folder / "log.txt")
        logging.getLogger("harness").addHandler(handler)
        try:
            return run_task(self.task, self._progress, self._halted)
        finally:
            logging.getLogger("harness").removeHandler(handler)
            handler.close()

    def _progress(self, fraction: float, text: str) -> None:
        of = len(self.search.trials)
        self.watch((self.number + fraction) / of, f"search trial {self.number + 1}/{of}, {text}")

    def _halted(self) -> bool:
        """Asked after each update."""
        self._look()
        return self.halted_at is not None or self.stop()

    def _look(self) -> None:
        for point in self.curve.new_points():
            if self.halted_at is None and not self.halving.goes_on(
                self.number, point.step, point.nll_bits_validation
            ):
                self.halted_at = point
