"""How far a run is, and how long the rest will take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.execution.plan import Plan
    from harness.execution.run_trial import Task
    from harness.store.record import Record

SHARES = {"training": (0.0, 0.85), "exclusive": (0.85, 0.15)}
"""Lane -> where it begins and how much it is of a trial's time, roughly; only the time left uses it."""

TELLING = 0.05
"""Share of the work that has to be done before its pace tells more than the estimate."""


class Forecast:
    """Is told what an executor does, and knows what the plan expected."""

    def __init__(self, plan: Plan) -> None:
        todo = plan.to_run()
        self.slots = plan.slots
        self.started_at = time.monotonic()
        # A trial that is only to be measured has its training behind it.
        before = {"to measure": SHARES["exclusive"][0]}
        self._expected = {planned.trial.key: planned.estimated_seconds for planned in todo}
        self._fractions = {planned.trial.key: before.get(planned.state, 0.0) for planned in todo}
        self._total = sum(self._expected.values())
        self._done = self._begun = sum(
            self._expected[key] * fraction for key, fraction in self._fractions.items()
        )

    def progress(self, task: Task, fraction: float) -> None:
        before, share = SHARES[task.lane]
        self._set(task.trial.key, before + share * fraction)

    def ended(self, task: Task, record: Record) -> None:
        whole = record.status != "ok" or record.finished
        self._set(task.trial.key, 1.0 if whole else sum(SHARES[task.lane]))

    def _set(self, key: str, fraction: float) -> None:
        self._done += self._expected[key] * (fraction - self._fractions[key])
        self._fractions[key] = fraction

    @property
    def fraction(self) -> float:
        return min(max(self._done / self._total, 0.0), 1.0) if self._total else 1.0

    @property
    def seconds_left(self) -> float:
        """The estimate is all there is at first; then what has been done tells better."""
        left, done = max(self._total - self._done, 0.0), self._done - self._begun
        if done > TELLING * (self._total - self._begun):
            return left * (time.monotonic() - self.started_at) / done
        return left / self.slots
