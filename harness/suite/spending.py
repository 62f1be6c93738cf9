"""What a suite may cost: how many trials, and how long they may be expected to take."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contracts import require


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """A run that is expected to cost more is refused before it starts. No part of a trial's key."""

    trials: int | None = None
    """Of the final stage, those that are done included."""
    hours: float | None = None
    """Wall-clock of what is still to do, on the slots at hand."""
    gpu_hours: float | None = None
    """Of what is still to do; trials on a CPU cost none."""

    def __post_init__(self) -> None:
        for name in ("trials", "hours", "gpu_hours"):
            value = getattr(self, name)
            require(value is None or value > 0, name, f"must be above 0, or left out, got {value}")
