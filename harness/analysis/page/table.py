"""Tables of the page: text, with what a column is sorted by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.layout import Header


@dataclass(frozen=True, kw_only=True)
class Cell:
    """`sort` is what a column is sorted by: a number, or nothing."""

    text: str
    sort: str = ""
    best: bool = False
    tied: bool = False
    verdict: str = "-"
    wide: bool = False
    """Whether it is prose, which may take several lines."""


@dataclass(frozen=True, kw_only=True)
class Table:
    headers: Sequence[Header]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    @property
    def numbers(self) -> Sequence[bool]:
        """Of each column, whether numbers stand in it, which are set to the right, as is its head."""
        return [any(row[column].sort for row in self.rows) for column in range(len(self.headers))]


def sortable(value: Any) -> str:
    """A number as `Cell.sort`; nothing for what is none."""
    return "" if value is None or not math.isfinite(value) else repr(float(value))
