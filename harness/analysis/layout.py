"""A summary as a person reads it: which columns, what heads them, numbers with their uncertainty.

What is decided here holds for the terminal, Markdown and LaTeX alike; they add only their markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.analysis.quantities import compact, quantity, scale_of
from harness.analysis.statistics import Estimate, Verdict
from harness.contracts import Column

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Header:
    """`name` is the column's name in the table, or variant, n, difference."""

    name: str
    title: str
    unit: str = ""
    arrow: str = ""


@dataclass(frozen=True)
class Cell:
    text: str
    best: bool = False
    tied: bool = False  # with the best, as far as the seeds can tell
    verdict: Verdict = "-"  # of a difference


@dataclass(frozen=True)
class Layout:
    headers: list[Header]
    rows: list[list[Cell]]
    failures: list[str] = field(default_factory=list)  # "layers=2: 1 diverged"
    interval: bool = True  # some variant has two seeds or more
    base: str = ""

    def notes(self, best: str, verdicts: str) -> list[str]:
        """How to read the table, in the words of a medium that shows the best and verdicts like this."""
        lines = []
        if len(self.headers) == 2:
            lines.append("Nothing was measured.")
        elif self.interval:
            lines.append(
                "Mean ± half width of the 95 % t interval over seeds; n: successful trials. "
                f"{best}: best of the column; ≈: indistinguishable from it, paired by seed."
            )
        else:
            lines.append(f"One seed each: no interval, no verdict. {best}: best of the column.")
        if self.interval and any(header.name == "difference" for header in self.headers):
            lines.append(
                f"Δ: difference to {self.base}, paired by seed, one comparison at a time; {verdicts}."
            )
        if self.failures:
            lines.append(f"Not ok, and in no average: {'; '.join(self.failures)}.")
        return lines


def lay_out(
    summary: pd.DataFrame, columns: Mapping[str, Column], base: str, *, narrow: bool = False
) -> Layout:
    """Columns that are empty in every row are left out; the leading result carries its difference.

    `narrow` is for a terminal: fewer columns, short titles, and only the leading result's interval.
    """
    names = [str(name).removesuffix("_mean") for name in summary.columns if str(name).endswith("_mean")]
    filled = [name for name in names if summary[f"{name}_mean"].notna().any()]
    shown = compact(filled, columns, narrow=narrow)
    leading = next((name for name in shown if quantity(name, columns).better), None)

    headers = [Header("variant", "Variant"), Header("n", "n")]
    for name in shown:
        what = quantity(name, columns)
        headers.append(Header(name, what.short if narrow else what.label, what.unit, what.arrow))
        if name == leading and summary[f"{leading}_difference"].notna().any():
            headers.append(Header("difference", "Δ to base", what.unit))
    rows = summary.to_dict("records")
    exact = {leading} if narrow and leading else None
    cells = [_cells(rows, header, leading, base, exact) for header in headers]
    return Layout(
        headers,
        [list(row) for row in zip(*cells, strict=True)],
        failures=[f"{row['variant']}: {row['not_ok']}" for row in rows if row["not_ok"]],
        interval=any((summary[f"{name}_n"] > 1).any() for name in shown),
        base=base,
    )


def decimals(column: Sequence[Estimate]) -> int:
    """Digits after the point for a whole column: two of its typical half width, within reason."""
    known = [each for each in column if math.isfinite(each.mean) and not scale_of(each.mean)[1]]
    if all(float(each.mean).is_integer() for each in known):
        return 0
    magnitude = _exponent(median(abs(each.mean) for each in known if each.mean))
    most = max(0, (3 if magnitude >= 0 else 2) - magnitude)
    half_widths = [each.half_width for each in known if each.half_width > 0]
    return min(max(0, 1 - _exponent(median(half_widths))), most) if half_widths else most


def number(estimate: Estimate, digits: int, *, interval: bool = True, signed: bool = False) -> str:
    """``1.234 ± 0.012``; from ten thousand on in thousands and so forth, ``68.4k ± 0.3k``.

    A half width that vanishes at these digits is left out, as is one that nobody knows.
    """
    mean, half_width = estimate.mean, estimate.half_width
    if math.isnan(mean):
        return ""
    if math.isinf(mean):
        return "∞" if mean > 0 else "−∞"
    scale, suffix = scale_of(mean)
    if suffix:
        digits = max(0, 2 - _exponent(mean / scale))
    text = f"{mean / scale:+z.{digits}f}" if signed else f"{mean / scale:z.{digits}f}"
    half = f"{half_width / scale:.{digits}f}"
    if interval and not math.isnan(half_width) and float(half) > 0:
        text += f"{suffix} ± {half}"
    return f"{text}{suffix}".replace("-", "−")


def _cells(
    rows: list[dict[Any, Any]], header: Header, leading: str | None, base: str, exact: set[str] | None
) -> list[Cell]:
    """One column, top to bottom."""
    if header.name == "variant":
        return [Cell(row["variant"]) for row in rows]
    if header.name == "n":
        return [Cell(_count(row["n_ok"], row["n_not_ok"])) for row in rows]
    if header.name == "difference":
        column = [
            _estimate(row, f"{leading}_difference", ("", "_low", "_high"), f"{leading}_pairs") for row in rows
        ]
        digits = decimals(column)
        return [
            Cell("base")
            if row["variant"] == base
            else Cell(number(each, digits, signed=True), verdict=row[f"{leading}_verdict"])
            for row, each in zip(rows, column, strict=True)
        ]
    column = [_estimate(row, header.name, ("_mean", "_low", "_high"), f"{header.name}_n") for row in rows]
    digits = decimals(column)
    interval = exact is None or header.name in exact
    standing = [row[f"{header.name}_standing"] for row in rows]
    return [
        Cell(number(each, digits, interval=interval), best=place == "best", tied=place == "tied")
        for each, place in zip(column, standing, strict=True)
    ]


def _estimate(row: dict[Any, Any], name: str, parts: tuple[str, ...], count: str) -> Estimate:
    mean, low, high = (row[f"{name}{part}"] for part in parts)
    return Estimate(mean, low, high, row[count])


def _count(ok: int, not_ok: int) -> str:
    return f"{ok}/{ok + not_ok}" if not_ok else f"{ok}"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0
