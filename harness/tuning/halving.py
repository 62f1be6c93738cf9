"""Asynchronous successive halving without Ray, for searches that run one trial after another.

Rung r is at ``grace * reduction^r`` updates. A trial that reaches a rung goes on only if its value is
within the best ``1 / reduction`` of those that have reached the rung so far, itself left out; the first
always goes on (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2, with
the rule that Ray Tune's ASHAScheduler has: stop instead of pause).
"""

from __future__ import annotations

import math
from collections.abc import Sequence


class Halving:
    """Told the points of all trials; says which shall stop."""

    def __init__(self, *, grace: int, reduction: int, most: int) -> None:
        self.reduction = reduction
        self.rungs: list[int] = []
        while grace < most:
            self.rungs.append(grace)
            grace *= reduction
        self._values: dict[int, list[float]] = {rung: [] for rung in self.rungs}
        self._passed: dict[int, int] = {}
        """trial -> how many rungs it has behind it"""

    def goes_on(self, trial: int, step: int, value: float) -> bool:
        """Whether a trial may continue, after a point of its learning curve at `step`; lower is better."""
        value = value if math.isfinite(value) else math.inf
        passed = self._passed.get(trial, 0)
        goes_on = True
        while passed < len(self.rungs) and step >= self.rungs[passed]:
            reached = self._values[self.rungs[passed]]
            goes_on = goes_on and (not reached or value <= _quantile(reached, 1.0 / self.reduction))
            reached.append(value)
            passed += 1
        self._passed[trial] = passed
        return goes_on


def _quantile(values: Sequence[float], share: float) -> float:
    """Linear between neighbours, as numpy's."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    if low == place or math.isinf(ordered[high]):
        return ordered[low if low == place else high]
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
