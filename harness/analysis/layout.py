"""A summary as a person reads it: which columns, what heads them, numbers with their uncertainty.

What is decided here holds for the terminal, Markdown and LaTeX alike; they add only their markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.analysis.numbers import decimals, number
from harness.analysis.quantities import compact, quantity
from harness.analysis.statistics import POWER, Estimate, Verdict, seeds_needed, smallest_difference
from harness.contracts import Column

if TYPE_CHECKING:
    import pandas as pd

NAMED = 8
"""Variants that ended alike and are named; of more, half of these and the number of the others."""


@dataclass(frozen=True)
class Header:
    """`name` is the column's name in the table, or variant, n, difference."""

    name: str
    title: str
    unit: str = ""
    arrow: str = ""
    words: bool = False  # not numbers: set to the left, may be broken


@dataclass(frozen=True)
class Cell:
    text: str
    best: bool = False
    tied: bool = False  # with the best, as far as the seeds can tell
    verdict: Verdict = "-"  # of a difference


@dataclass(frozen=True)
class Layout:
    """Rows of cells under headers, and how to read them."""

    headers: list[Header]
    rows: list[list[Cell]]

    def notes(self, best: str, verdicts: str) -> list[str]:
        """In the words of a medium that shows the best and verdicts like this."""
        return []


@dataclass(frozen=True)
class SummaryLayout(Layout):
    """One row a variant."""

    failures: list[str] = field(default_factory=list)  # "layers=2, layers=4: 1 diverged"
    remarks: list[str] = field(default_factory=list)  # "Of all: the classifier is too weak"
    interval: bool = True  # some variant has two seeds or more
    base: str = ""
    power: str = ""

    def notes(self, best: str, verdicts: str) -> list[str]:
        lines = []
        marks = f" {best}: best of the column" if any(cell.best for row in self.rows for cell in row) else ""
        if len(self.headers) == 2:
            lines.append("Nothing was measured.")
        elif self.interval:
            if marks:
                marks += "; ≈ beside a mean: may be as good, for all that the seeds say."
            lines.append(f"Mean ± half width of the 95 % t interval over seeds; n: successful trials.{marks}")
        else:
            lines.append(f"One seed each: no interval, no verdict.{f'{marks}.' if marks else ''}")
        if self.interval and any(header.name == "difference" for header in self.headers):
            lines.append(
                f"Δ: difference to {self.base}, paired by seed; {verdicts}: at most 5 % that any verdict "
                "of the column is false (Holm)."
            )
        if self.power:
            lines.append(self.power)
        lines += [f"{remark}." for remark in self.remarks]
        if self.failures:
            lines.append(f"Not ok, and in no average: {'; '.join(self.failures)}.")
        return lines


def lay_out(
    summary: pd.DataFrame,
    columns: Mapping[str, Column],
    base: str,
    *,
    narrow: bool = False,
    shown: Sequence[str] = (),
) -> SummaryLayout:
    """Columns that are empty in every row are left out; the leading result carries its difference.

    `narrow` is for a terminal: fewer columns, short titles, and only the leading result's interval.
    `shown`: these measured columns in this order, instead of the usual ones.
    """
    names = [str(name).removesuffix("_mean") for name in summary.columns if str(name).endswith("_mean")]
    filled = [name for name in names if summary[f"{name}_mean"].notna().any()]
    chosen = [name for name in shown if name in filled] or compact(filled, columns, narrow=narrow)
    leading = next((name for name in chosen if quantity(name, columns).better), None)

    headers = [Header("variant", "Variant", words=True), Header("n", "n")]
    for name in chosen:
        what = quantity(name, columns)
        headers.append(Header(name, what.short if narrow else what.label, what.unit, what.arrow))
        if name == leading and summary[f"{leading}_difference"].notna().any():
            headers.append(Header("difference", "Δ to base", what.unit))
    rows = summary.to_dict("records")
    exact = {leading} if narrow and leading else None
    cells = [_cells(rows, header, leading, base, exact) for header in headers]
    return SummaryLayout(
        headers,
        [list(row) for row in zip(*cells, strict=True)],
        failures=not_ok(rows),
        remarks=remarks(rows),
        interval=any((summary[f"{name}_n"] > 1).any() for name in chosen),
        base=base,
        power=power_note(summary, leading, columns) if leading else "",
    )


def not_ok(rows: Sequence[Mapping[Any, Any]]) -> list[str]:
    """``layers=2, layers=4: 1 diverged``: who counts failures, those that ended alike together."""
    found = []
    for what, variants in _alike(rows, "not_ok"):
        who = "every variant" if 1 < len(rows) == len(variants) else _named(variants)
        found.append(f"{who}: {what.replace('_', ' ')}")
    return found


def remarks(rows: Sequence[Mapping[Any, Any]]) -> list[str]:
    """What metrics say of their numbers, and of which variants."""
    return [
        f"Of {'all' if len(variants) == len(rows) else ', '.join(variants)}: {note}"
        for note, variants in _alike(rows, "notes")
    ]


def _alike(rows: Sequence[Mapping[Any, Any]], name: str) -> list[tuple[str, list[str]]]:
    """What rows have to say under this name, and which variants say it."""
    of: dict[str, list[str]] = {}
    for row in rows:
        if row[name]:
            of.setdefault(row[name], []).append(row["variant"])
    return [*of.items()]


def _named(variants: Sequence[str]) -> str:
    """``a, b``; of many, the first ones ``and 90 others``: n of the table says which."""
    if len(variants) <= NAMED:
        return ", ".join(variants)
    first = variants[: NAMED // 2]
    return f"{', '.join(first)} and {len(variants) - len(first)} others"


def power_note(summary: pd.DataFrame, name: str, columns: Mapping[str, Column]) -> str:
    """What so few seeds cannot show of a column, of the variant in the middle; empty where nobody knows."""
    known = summary[summary[f"{name}_detectable"] > 0]
    if known.empty:
        return ""
    pairs = sorted({int(n) for n in known[f"{name}_pairs"]})
    family = int(summary[f"{name}_p"].notna().sum())
    what = quantity(name, columns)
    smallest = float(known[f"{name}_detectable"].median())
    comparisons = f"{family} comparisons" if family > 1 else "one comparison"
    seeds = f"{pairs[0]}" if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]}"
    half = smallest_difference(1.0, pairs[-1], comparisons=family) / 2
    return (
        f"With {seeds} seeds and {comparisons}, a difference in {what.label} under "
        f"{f'{smallest:.2g} {what.unit}'.strip()} would probably not be seen "
        f"({100 * POWER:.0f} % power, the typical variant); half of it takes about "
        f"{seeds_needed(1.0, half, comparisons=family)} seeds."
    )


def count_of(ok: int, not_ok: int) -> str:
    """``3``, or ``2/3`` where one failed."""
    return f"{ok}/{ok + not_ok}" if not_ok else f"{ok}"


def _cells(
    rows: list[dict[Any, Any]], header: Header, leading: str | None, base: str, exact: set[str] | None
) -> list[Cell]:
    """One column, top to bottom."""
    if header.name == "variant":
        return [Cell(row["variant"]) for row in rows]
    if header.name == "n":
        return [Cell(count_of(row["n_ok"], row["n_not_ok"])) for row in rows]
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
    rivals = sum(each.n > 0 for each in column) > 1  # alone, nobody is the best
    return [
        Cell(number(each, digits, interval=interval), best=rivals and place == "best", tied=place == "tied")
        for each, place in zip(column, standing, strict=True)
    ]


def _estimate(row: dict[Any, Any], name: str, parts: tuple[str, ...], count: str) -> Estimate:
    mean, low, high = (row[f"{name}{part}"] for part in parts)
    return Estimate(mean, low, high, row[count])
