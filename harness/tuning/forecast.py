"""What the searches that are not over may cost: as if no search trial were stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.execution.plan import Plan, cost_of, seconds_of
from harness.tuning.stage import Tuning

if TYPE_CHECKING:
    from harness.suite.trial import Trial


@dataclass(frozen=True)
class SearchCost:
    """Of all searches that are missing."""

    trials: int
    slot_seconds: float
    slots: int

    @property
    def seconds(self) -> float:
        """Wall-clock on the slots at hand."""
        return self.slot_seconds / self.slots


def search_cost(tuning: Tuning, plan: Plan) -> SearchCost:
    """At the speed that the plan's finished trials had, where there are any."""
    missing = tuning.missing
    seconds = sum(len(search.trials) * _seconds(search.trials[0], plan) for search in missing)
    return SearchCost(sum(len(search.trials) for search in missing), seconds, plan.slots)


def _seconds(trial: Trial, plan: Plan) -> float:
    """Of the first draw; others may differ where sizes are searched."""
    return seconds_of(cost_of(trial.config), plan.speed, trial.variant, plan.workers)
