"""A summary as a person reads it: which columns, what heads them, numbers with their uncertainty.

What is decided here holds for the terminal, Markdown and LaTeX alike; they add only their markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.analysis.quantities import compact, quantity
from harness.analysis.statistics import Estimate, Verdict
from harness.contracts import Column

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANT = 4
"""Digits of a mean without an interval, and of the widest mean printed with one."""


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
        if self.interval:
            lines.append(
                "Mean ± half width of the 95 % t interval over seeds; n: successful trials. "
                f"{best}: best of the column; ≈: indistinguishable from it, paired by seed."
            )
        else:
            lines.append(f"One seed each: no interval, no verdict. {best}: best of the column.")
        if self.interval and any(header.name == "difference" for header in self.headers):
            lines.append(f"Δ: difference to {self.base}, paired by seed; {verdicts}.")
        if self.failures:
            lines.append(f"Not ok, and in no average: {'; '.join(self.failures)}.")
        return lines


def lay_out(summary: pd.DataFrame, columns: Mapping[str, Column], base: str) -> Layout:
    """Columns that are empty in every row are left out; the first result carries its difference."""
    names = [str(name).removesuffix("_mean") for name in summary.columns if str(name).endswith("_mean")]
    shown = compact([name for name in names if summary[f"{name}_mean"].notna().any()], columns)
    leading = next((name for name in shown if quantity(name, columns).better), None)
    with_difference = leading is not None and summary[f"{leading}_difference"].notna().any()

    headers = [Header("variant", "Variant"), Header("n", "n")]
    for name in shown:
        what = quantity(name, columns)
        headers.append(Header(name, what.label, what.unit, what.arrow))
        if name == leading and with_difference:
            headers.append(Header("difference", "Δ to base", what.unit))
    return Layout(
        headers,
        [[_cell(row, header, leading, base) for header in headers] for row in summary.to_dict("records")],
        failures=[f"{row.variant}: {row.not_ok}" for row in summary.itertuples() if row.not_ok],
        interval=any((summary[f"{name}_n"] > 1).any() for name in shown),
        base=base,
    )


def number(estimate: Estimate, *, signed: bool = False) -> str:
    """``1.234 ± 0.012``, ``68.4k``: two digits of the half width decide how many the mean has."""
    mean, half_width = estimate.mean, estimate.half_width
    if math.isnan(mean):
        return ""
    if math.isinf(mean):
        return "∞" if mean > 0 else "−∞"
    scale, suffix = _scale(mean)
    mean, half_width = mean / scale, half_width / scale
    most = max(0, SIGNIFICANT - 1 - _exponent(mean))
    if math.isnan(half_width) or half_width == 0:
        decimals = 0 if float(mean).is_integer() and scale == 1 else most
        half = ""
    else:
        decimals = min(max(0, 1 - _exponent(half_width)), most + 1)
        half = f" ± {half_width:.{decimals}f}{suffix}"
        if float(f"{half_width:.{decimals}f}") == 0:  # far below the digits worth printing
            half = ""
    sign = "+" if signed and float(f"{mean:.{decimals}f}") > 0 else ""
    return f"{sign}{mean:.{decimals}f}{suffix}{half}".replace("-", "−")


def _cell(row: dict[Any, Any], header: Header, leading: str | None, base: str) -> Cell:
    if header.name == "variant":
        return Cell(row["variant"])
    if header.name == "n":
        total = row["n_ok"] + row["n_not_ok"]
        return Cell(f"{row['n_ok']}" if row["n_ok"] == total else f"{row['n_ok']}/{total}")
    if header.name == "difference":
        if row["variant"] == base:
            return Cell("base")
        parts = ("difference", "difference_low", "difference_high", "pairs")
        text = number(Estimate(*(row[f"{leading}_{part}"] for part in parts)), signed=True)
        return Cell(text, verdict=row[f"{leading}_verdict"])
    own = Estimate(*(row[f"{header.name}_{part}"] for part in ("mean", "low", "high", "n")))
    standing = row[f"{header.name}_standing"]
    return Cell(number(own), best=standing == "best", tied=standing == "tied")


def _scale(value: float) -> tuple[float, str]:
    """Thousands and millions by their letters, so that columns stay narrow."""
    for scale, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= scale:
            return (scale if suffix != "k" else 1e3), suffix
    return 1.0, ""


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0
