"""Events of a run on their way to others: passes them on and feeds the trackers of the suite.

While the exclusive lane measures, trackers rest: its timings are of an idle machine.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness import configuration
from harness.contracts import Tracker
from harness.store.store import Store
from harness.suite.trial import Trial
from harness.tracking.feed import PATIENCE, Feed
from harness.tracking.logbook import Logbook

if TYPE_CHECKING:
    from harness.execution.executor import Events
    from harness.execution.plan import Plan
    from harness.execution.run_trial import Task
    from harness.store.record import Record

SECONDS = 2.0
"""How often a growing learning curve is looked at."""

HURRY = 2.0
"""Seconds for a tracker to end in, of a run that is stopped."""


class Tracked:
    """Events on their way; as a context it hands over what trackers lack, before and after the run."""

    def __init__(self, store: Store, plan: Plan, events: Events) -> None:
        self.store, self.plan, self.events = store, plan, events
        self.fed = [
            (
                Feed(spec["name"], partial(_made, spec, plan.suite.name, folder)),
                Logbook(folder),
            )
            for spec in plan.suite.config.trackers
            for folder in (store.folder / spec["name"],)
        ]
        self.looked_at: dict[str, float] = {}
        self.resting = False

    def __enter__(self) -> Tracked:
        self._hand_over()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stopped = kind is not None
        if not stopped:
            self._hand_over()
        for feed, book in self.fed:
            if feed.used:
                feed.put(book.close)
            feed.close(HURRY if stopped else PATIENCE)

    def waiting(self, words: str) -> None:
        self.events.waiting(words)

    def planned(self, plan: Plan) -> None:
        self.events.planned(plan)

    def started(self, task: Task) -> None:
        self.events.started(task)
        if task.lane == "training":
            self._put("begin", task.trial, Path(task.folder))
        elif not self.resting:
            self.resting = True
            for feed, _ in self.fed:
                feed.wait()

    def progress(self, task: Task, fraction: float, text: str) -> None:
        self.events.progress(task, fraction, text)
        now = time.monotonic()
        if task.lane == "training" and now - self.looked_at.get(task.trial.key, 0.0) > SECONDS:
            self.looked_at[task.trial.key] = now
            self._put("follow", task.trial, Path(task.folder))

    def ended(self, task: Task, record: Record) -> None:
        self.events.ended(task, record)
        if task.lane == "training":
            self._put("end", task.trial, Path(task.folder))

    def _put(self, what: Literal["begin", "follow", "end"], trial: Trial, folder: Path) -> None:
        for feed, book in self.fed:
            feed.put(partial(getattr(book, what), trial=trial, folder=folder))

    def _hand_over(self) -> None:
        """What is on disk and not with the trackers: of earlier runs, of the exclusive lane."""
        for feed, book in self.fed:
            feed.wait()
            for planned in self.plan.trials:
                folder = self.store.trial_folder(planned.trial)
                if not feed.failed and book.wants(planned.trial.key, folder / "record.json"):
                    feed.put(partial(book.end, trial=planned.trial, folder=folder))


def _made(spec: Any, suite: str, folder: Path) -> Tracker:
    return configuration.build("trackers", spec, suite=suite, folder=folder)
