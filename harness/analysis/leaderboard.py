"""The variants in order of one column, best first, with how far each is behind the best.

A rank is of means; which of them the seeds do not tell from the best stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from harness.analysis.layout import Cell, Header, Layout, count_of, not_ok
from harness.analysis.numbers import decimals, number
from harness.analysis.quantities import quantity
from harness.analysis.statistics import Estimate, by_seed, estimate, may_be_best, paired_difference
from harness.analysis.summary import counts, measured
from harness.contracts import Column
from harness.errors import HarnessError, did_you_mean


@dataclass(frozen=True)
class LeaderboardLayout(Layout):
    failures: list[str] = field(default_factory=list)

    def notes(self, best: str, verdicts: str) -> list[str]:
        lines = [
            "Mean ± half width of the 95 % t interval over seeds; behind: difference to the best, paired by "
            "seed; ≈: may be as good, for all that the seeds say."
        ]
        if self.failures:
            lines.append(f"Not ok, and in no average: {'; '.join(self.failures)}.")
        return lines


def leaderboard(
    table: pd.DataFrame, columns: Mapping[str, Column], variants: Sequence[str], by: str
) -> pd.DataFrame:
    """One row a variant, best first; those without a value last, without a rank. Columns:

    rank (equal means share one), variant, n_ok, n_not_ok, not_ok, mean, low, high, n,
    behind, behind_low, behind_high, pairs (to the best), standing (best, tied or nothing)

    Raises: HarnessError for a column that nobody measured, or of which neither direction is better.
    """
    known = [name for name in measured(table) if quantity(name, columns).better]
    if by not in known:
        raise HarnessError(f"no order by {by!r}: {did_you_mean(by, known)}")
    sign = 1.0 if quantity(by, columns).better == "lower" else -1.0
    values = by_seed(table, by).reindex(columns=[*variants])
    means = {variant: estimate(values[variant]) for variant in variants}
    placed = [variant for variant in variants if not math.isnan(means[variant].mean)]
    placed.sort(key=lambda variant: sign * means[variant].mean)  # stable: equals stay in the suite's order
    best = placed[0]
    tied = may_be_best(values, best)
    found = counts(table, variants)
    rows = []
    for variant in [*placed, *(variant for variant in variants if variant not in placed)]:
        mean = means[variant]
        behind = paired_difference(values[variant], values[best])
        ranked = variant in placed
        rank = 1 + sum(sign * means[other].mean < sign * mean.mean for other in placed) if ranked else None
        rows.append(
            {"rank": rank, "variant": variant, **found.loc[variant]}
            | dict(zip(("mean", "low", "high", "n"), mean, strict=True))
            | dict(zip(("behind", "behind_low", "behind_high", "pairs"), behind, strict=True))
            | {"standing": "best" if variant == best else "tied" if variant in tied else ""}
        )
    return pd.DataFrame(rows).astype({"rank": "Int64"})


def lay_out_leaderboard(board: pd.DataFrame, columns: Mapping[str, Column], by: str) -> LeaderboardLayout:
    """As a person reads it."""
    what = quantity(by, columns)
    rows = board.to_dict("records")
    means = [Estimate(row["mean"], row["low"], row["high"], row["n"]) for row in rows]
    behind = [Estimate(row["behind"], row["behind_low"], row["behind_high"], row["pairs"]) for row in rows]
    digits, behind_digits = decimals(means), decimals(behind)
    cells = [
        [
            Cell("" if pd.isna(row["rank"]) else f"{row['rank']}"),
            Cell(row["variant"]),
            Cell(count_of(row["n_ok"], row["n_not_ok"])),
            Cell(number(mean, digits), best=row["standing"] == "best", tied=row["standing"] == "tied"),
            Cell("" if row["standing"] == "best" else number(gap, behind_digits, signed=True)),
        ]
        for row, mean, gap in zip(rows, means, behind, strict=True)
    ]
    headers = [
        Header("rank", "Rank"),
        Header("variant", "Variant", words=True),
        Header("n", "n"),
        Header(by, what.label, what.unit, what.arrow),
        Header("behind", "Behind", what.unit),
    ]
    return LeaderboardLayout(headers, cells, failures=not_ok(rows))
