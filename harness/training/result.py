"""What a training leaves besides the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.training.history import HistoryRow


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """How a training went. The model itself carries the evaluation weights afterwards."""

    history: Sequence[HistoryRow]
    steps: int
    """Updates made, skipped ones included."""
    tokens: int
    """True tokens trained on."""
    seconds: float
    """On the training clock."""
    skipped_updates: int
    compile_seconds: float | None = None
    """Before the clock started; None: nothing was compiled."""
    micro_batches: int = 1
    """Parts in which the batch of an update was worked through, at the end."""
    workers: int = 1
    """Processes that shared each batch, at the end."""
    resumes: Sequence[Mapping[str, Any]] = ()
    """Each time that the training was continued, as `ResumeFile` says."""
    diverged: bool = False
    reason: str = ""
    """Why it is said to have diverged."""

    def columns(self) -> dict[str, Any]:
        """For the record."""
        return {
            "train_steps": self.steps,
            "train_tokens": self.tokens,
            "train_seconds": self.seconds,
            "skipped_updates": self.skipped_updates,
            **({} if self.compile_seconds is None else {"compile_seconds": self.compile_seconds}),
            **({} if self.micro_batches == 1 else {"gradient_accumulation": self.micro_batches}),
            **({} if self.workers == 1 else {"workers": self.workers}),
        }
