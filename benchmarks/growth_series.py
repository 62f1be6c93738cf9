"""One model along one axis, what its next point is expected to cost, and whether that is worth it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.exponents import Fit, fit, predict
from benchmarks.training import Spec

UNTIMED = 2
"""Steps of a point before the timed ones: those whose memory is measured."""


@dataclass
class Series:
    """One model along one axis, as far as it has been measured."""

    name: str
    spec: Spec
    axis: str
    ours: bool
    rows: list[dict[str, Any]] = field(default_factory=list)
    over: bool = False

    @property
    def measured(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["status"] == "ok"]

    def expected(self, column: str, size: int, at_least: float) -> float:
        """0 where nothing is known yet."""
        if not self.measured:
            return 0.0
        sizes, costs = zip(*((row[self.axis], row[column]) for row in self.measured), strict=True)
        return predict(sizes, costs, size, at_least)

    def fit(self, column: str, last: int) -> Fit:
        rows = self.measured[-last:]
        return fit([row[self.axis] for row in rows], [row[column] for row in rows])


@dataclass(frozen=True, kw_only=True)
class Limits:
    memory_mib: float
    seconds: float
    repetitions: int

    def exceeded(self, series: Series, size: int) -> tuple[str, str] | None:
        """Status and note of a point that is not worth starting."""
        # memory in proportion at least: too early a stop is better than a machine that swaps
        memory = series.expected("peak_memory_mib", size, 1.0)
        if memory > self.memory_mib:
            return "out of memory limit", f"expected {memory:.0f} MiB, limit {self.memory_mib:.0f} MiB"
        seconds = self._step_seconds(series, size) * (UNTIMED + 1)
        if seconds > self.seconds:
            return "out of time limit", f"expected {seconds:.0f} s, limit {self.seconds:.0f} s"
        return None

    def affordable(self, series: Series, size: int) -> int:
        """Timed steps: fewer where they take long."""
        step = self._step_seconds(series, size)
        if step * (UNTIMED + self.repetitions) <= self.seconds:
            return self.repetitions
        return max(1, int(self.seconds / step) - UNTIMED)

    @staticmethod
    def _step_seconds(series: Series, size: int) -> float:
        return series.expected("median_ms", size, 0.0) / 1e3
