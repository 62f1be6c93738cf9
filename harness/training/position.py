"""How far a training has come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.training.history import HistoryRow


@dataclass
class Position:
    """What changes in a training besides weights, moments and random states."""

    step: int = 0
    tokens: int = 0
    bits: float = 0.0
    """Summed over the tokens since the last point of the curve."""
    learning_rate: float = math.nan
    """Of the last update."""
    broken: int = 0
    """Updates in a row, up to now, that were not finite."""
    seconds: float = 0.0
    compile_seconds: float | None = None
    micro_batches: int = 1
    history: list[HistoryRow] = field(default_factory=list)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Position:
        """Of what `asdict` made."""
        return cls(**{**plain, "history": [HistoryRow(**row) for row in plain["history"]]})
