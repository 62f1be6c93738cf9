"""The rows of a comparison: one metric of one variant in A and in B, tested but not yet judged together.

`harness.analysis.compare` corrects their p values for each other and gives verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.analysis.circumstances import measured_under, of_the_machine, why_not_comparable
from harness.analysis.quantities import quantity
from harness.analysis.results import Results
from harness.analysis.statistics import CONFIDENCE, Difference, Estimate, by_seed, difference, estimate
from harness.contracts import Column

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["better", "worse", "same", "unknown"]

ROUNDING = 1e-6
"""Of a value: what another processor's arithmetic makes of the same computation."""

MACHINE_TOLERANCE = 0.1
"""Of a time or a memory in use: seeds of one run are measured within minutes, and a machine is not the
same the next day. Less than this between two runs on equal hardware is never called better or worse."""

TRIALS = "trials_ok"
"""The rows of how many trials succeeded, as if it were a metric."""

MEAN = ""
"""The variant of the row of a metric's mean over variants."""

NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True, kw_only=True)
class Margin:
    """A difference that does not matter: an amount in the metric's unit, or a share of A's value."""

    amount: float
    relative: bool = False

    def of(self, value: float) -> float:
        return self.amount * abs(value) if self.relative else self.amount


@dataclass(frozen=True, kw_only=True)
class Row:
    """`difference` is B minus A, with the 95 % interval of this row alone."""

    metric: str
    variant: str
    before: Estimate
    after: Estimate
    difference: Estimate
    paired: bool = False
    p: float = math.nan
    """That the difference is no larger than what is tolerated; NaN where nothing is tested."""
    p_corrected: float = math.nan
    tolerated: float = 0.0
    verdict: Verdict = "unknown"
    reason: str = ""


def metric_rows(
    before: Results, after: Results, name: str, variants: Sequence[str], margin: Margin | None
) -> list[Row]:
    """A row for each variant that was measured in A or in B; first, of several, one for their mean.

    The mean over variants is taken seed by seed, of the seeds that have all of them: what the variants
    of one seed have in common is then in its spread.
    """
    a, b = (by_seed(results.table, name).reindex(columns=[*variants]) for results in (before, after))
    there = [variant for variant in variants if a[variant].notna().any() and b[variant].notna().any()]
    sides = {variant: (a[variant], b[variant]) for variant in there}
    if len(there) > 1:
        means = [frame[there].mean(axis="columns", skipna=False) for frame in (a, b)]
        sides = {MEAN: (means[0], means[1]), **sides}
    under = measured_under(before, name), measured_under(after, name)
    machine = of_the_machine(name, before.columns)
    rows = []
    for variant, pair in sides.items():
        reason = why_not_comparable(*under, there if variant == MEAN else [variant], machine=machine)
        rows.append(_tested(name, variant, *pair, margin, before.columns, reason))
    for variant in variants:
        if a[variant].notna().any() != b[variant].notna().any():
            rows.append(
                Row(
                    metric=name,
                    variant=variant,
                    before=estimate(a[variant]),
                    after=estimate(b[variant]),
                    difference=NOTHING,
                    reason=f"no trial of {'A' if a[variant].isna().all() else 'B'} has it",
                )
            )
    return rows


def _tested(
    name: str,
    variant: str,
    before: pd.Series,
    after: pd.Series,
    margin: Margin | None,
    columns: Mapping[str, Column],
    reason: str,
) -> Row:
    """With a verdict at once where there is nothing to test: no noise, or a reason against it."""
    found = difference(before, after)
    tolerated = _tolerated(name, columns, margin, float(before.mean()))
    row = Row(
        metric=name,
        variant=variant,
        before=estimate(before),
        after=estimate(after),
        difference=found.interval(),
        paired=found.paired,
        tolerated=tolerated,
        reason=reason,
    )
    within = abs(found.mean) <= tolerated
    if reason:
        return row
    if found.exact:
        return replace(row, verdict="same" if within else direction(row, columns))
    if not found.known:
        equal = found.paired and abs(found.mean) <= ROUNDING * abs(float(before.mean()))
        return replace(row, verdict="same") if equal else replace(row, reason=_unknown(found, before, after))
    row = replace(row, p=found.p_beyond(tolerated))
    if margin is not None and found.p_within(tolerated) > 1 - CONFIDENCE:
        return replace(row, reason="a difference beyond the margin is not ruled out: more seeds would tell")
    return replace(row, verdict="same")


def direction(row: Row, columns: Mapping[str, Column]) -> Verdict:
    """What the sign of a difference means."""
    lower = quantity(row.metric, columns).better == "lower"
    return "better" if (row.difference.mean < 0) == lower else "worse"


def _tolerated(name: str, columns: Mapping[str, Column], margin: Margin | None, value: float) -> float:
    least = ROUNDING * abs(value)
    if margin is not None:
        return max(least, margin.of(value))
    return MACHINE_TOLERANCE * abs(value) if of_the_machine(name, columns) else least


def _unknown(found: Difference, before: pd.Series, after: pd.Series) -> str:
    if not np.isfinite([*before.dropna(), *after.dropna()]).all():
        return "a value is infinite"
    return "no seed has all variants" if found.n == 0 else "one seed tells nothing of the noise"


def trial_rows(before: pd.DataFrame, after: pd.DataFrame, variants: Sequence[str]) -> list[Row]:
    """Of each variant the share of trials that succeeded, of those that ran: no statistics, a fact."""
    rows = []
    statuses = [_statuses(table, variants) for table in (before, after)]
    for variant in variants:
        sides = [side[variant] for side in statuses]
        shares = [
            Estimate(
                sum(status == "ok" for status in side) / len(side) if side else math.nan,
                *NOTHING[1:3],
                len(side),
            )
            for side in sides
        ]
        change = shares[1].mean - shares[0].mean
        failures = [
            f"{side.count(status)} {status} in {name}"
            for name, side in zip("AB", sides, strict=True)
            for status in sorted({*side} - {"ok"})
        ]
        rows.append(
            Row(
                metric=TRIALS,
                variant=variant,
                before=shares[0],
                after=shares[1],
                difference=Estimate(change, *NOTHING[1:3], min(map(len, sides))),
                verdict=_change(change),
                reason="; ".join(failures) if all(sides) else "nothing ran in one of them",
            )
        )
    return rows


def _statuses(table: pd.DataFrame, variants: Sequence[str]) -> dict[str, list[str]]:
    """variant -> how its trials ended, of those that ran."""
    found: dict[str, list[str]] = {variant: [] for variant in variants}
    for variant, status in zip(table["variant"], table["status"], strict=True):
        if variant in found and status != "missing":
            found[variant].append(status)
    return found


def _change(change: float) -> Verdict:
    if math.isnan(change):
        return "unknown"
    return "same" if change == 0 else "better" if change > 0 else "worse"
