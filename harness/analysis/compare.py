"""Two results folders of one suite, A before and B after: what became better, worse, or stayed the same.

All rows of all metrics share one level of 5 % by Holm's method, each metric an equal part and half of
it for the mean over variants: in a comparison of two runs in which nothing changed, any verdict but
"same" is a one-in-twenty event.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.analysis.circumstances import configuration_differences
from harness.analysis.compared_rows import (
    MEAN,
    TRIALS,
    Margin,
    Row,
    Verdict,
    direction,
    metric_rows,
    trial_rows,
)
from harness.analysis.quantities import compact, quantity
from harness.analysis.results import Results
from harness.analysis.statistics import (
    CONFIDENCE,
    ENOUGH,
    RESAMPLES,
    by_seed,
    holm,
    improvement_interval,
    probability_of_improvement,
)
from harness.analysis.summary import measured
from harness.errors import HarnessError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

SEVERITY: tuple[Verdict, ...] = ("worse", "better", "same", "unknown")
"""A metric's verdict is the first of these that one of its rows has."""


@dataclass(frozen=True, kw_only=True)
class MetricVerdict:
    """What the rows of a metric say together."""

    metric: str
    verdict: Verdict
    variants: Mapping[Verdict, int]
    """How many variants have which verdict."""
    improvement: float = math.nan
    """How often a trial of B does better than one of A of the same variant (rliable's definition)."""
    improvement_low: float = math.nan
    improvement_high: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Comparison:
    rows: Sequence[Row]
    metrics: Sequence[MetricVerdict]
    variants: Sequence[str]
    trials_before: int
    trials_after: int
    pairs: int
    """Trials that both have: the same variant and seed."""
    equal_keys: int
    """Of these, how many have the very same configuration."""
    notes: Sequence[str] = ()

    def has(self, verdicts: Sequence[str]) -> bool:
        return any(metric.verdict in verdicts for metric in self.metrics)


def compare(
    before: Results,
    after: Results,
    *,
    metrics: Sequence[str] = (),
    margins: Mapping[str, Margin] | None = None,
    resamples: int = RESAMPLES,
) -> Comparison:
    """metrics: columns to compare; none: those of the suite's summary that have a direction.

    margins: metric -> a difference that does not matter. "better" and "worse" then mean by more than it,
        and "same" that a larger difference is ruled out, else "unknown".
    resamples: of the bootstrap interval of the chance of improvement; 0: no interval.
    Raises: HarnessError where there is nothing to compare, or for a metric that is not in both.
    """
    margins = margins or {}
    variants = [variant for variant in before.variants if variant in after.variants]
    if not variants:
        raise HarnessError(
            f"no variant is in both: A has {', '.join(before.variants)}; B has {', '.join(after.variants)}"
        )
    names = _metrics(before, after, metrics, margins)
    tested = {name: metric_rows(before, after, name, variants, margins.get(name)) for name in names}
    judged = _judge(tested, before)
    trials = trial_rows(before.table, after.table, variants)
    verdicts = [_together(TRIALS, trials)]
    for name, rows in judged.items():
        verdicts.append(_with_improvement(_together(name, rows), before, after, variants, resamples))
    ours, theirs = _keys(before.table), _keys(after.table)
    common = ours.keys() & theirs.keys()
    return Comparison(
        rows=[*trials, *(row for rows in judged.values() for row in rows)],
        metrics=verdicts,
        variants=variants,
        trials_before=len(ours),
        trials_after=len(theirs),
        pairs=len(common),
        equal_keys=sum(ours[trial] == theirs[trial] for trial in common),
        notes=_notes(before, after, variants),
    )


def _metrics(
    before: Results, after: Results, asked: Sequence[str], margins: Mapping[str, Margin]
) -> list[str]:
    both = [name for name in measured(before.table) if name in measured(after.table)]
    known = [name for name in both if quantity(name, before.columns).better]
    for name in [*asked, *margins]:
        if name not in known:
            why = "has no better direction" if name in both else "is not measured in both"
            raise HarnessError(f"{name!r} {why}; {did_you_mean(name, known)}")
    usual = [name for name in before.shown if name in known] or compact(known, before.columns)
    return list(dict.fromkeys([*(asked or usual), *margins]))


def _judge(tested: Mapping[str, Sequence[Row]], before: Results) -> dict[str, list[Row]]:
    """The same rows, their p values corrected for each other, and verdicts by them."""
    rows = [row for own in tested.values() for row in own]
    weights = [weight for own in tested.values() for weight in _weights(own)]
    corrected: list[float] = holm([row.p for row in rows], weights=weights).tolist()
    judged: dict[str, list[Row]] = {name: [] for name in tested}
    for row, p in zip(rows, corrected, strict=True):
        row = replace(row, p_corrected=p)
        if p <= 1 - CONFIDENCE:  # never so for NaN
            row = replace(row, verdict=direction(row, before.columns), reason="")
        judged[row.metric].append(row)
    return judged


def _weights(rows: Sequence[Row]) -> list[float]:
    """Together 1 a metric: half for the mean over variants, half for the variants."""
    variants = sum(row.variant != MEAN and not math.isnan(row.p) for row in rows)
    mean = any(row.variant == MEAN and not math.isnan(row.p) for row in rows)
    share = (0.5 if mean else 1.0) / max(1, variants)
    return [0.5 if row.variant == MEAN else share for row in rows]


def _together(metric: str, rows: Sequence[Row]) -> MetricVerdict:
    said = {row.verdict for row in rows}
    return MetricVerdict(
        metric=metric,
        verdict=next((verdict for verdict in SEVERITY if verdict in said), "unknown"),
        variants=dict(Counter(row.verdict for row in rows if row.variant != MEAN)),
    )


def _with_improvement(
    verdict: MetricVerdict, before: Results, after: Results, variants: Sequence[str], resamples: int
) -> MetricVerdict:
    """Tasks are the variants that both have, runs the seeds that have all of them."""
    if verdict.verdict == "unknown":
        return verdict
    frames = [by_seed(each.table, verdict.metric).reindex(columns=[*variants]) for each in (before, after)]
    there = [variant for variant in variants if all(frame[variant].notna().any() for frame in frames)]
    sign = -1.0 if quantity(verdict.metric, before.columns).better == "lower" else 1.0
    a, b = (sign * frame[there].dropna().to_numpy(dtype=float) for frame in frames)
    if not len(a) or not len(b):
        return verdict
    known = replace(verdict, improvement=float(probability_of_improvement(b, a)))
    if not resamples or min(a.size, b.size) < ENOUGH or min(len(a), len(b)) < 2:
        return known
    low, high = improvement_interval(b, a, resamples=resamples)
    return replace(known, improvement_low=low, improvement_high=high)


def _keys(table: pd.DataFrame) -> dict[tuple[Any, Any], Any]:
    """(variant, seed) -> key of the trials that ran."""
    ran = table[table["status"] != "missing"]
    return dict(zip(zip(ran["variant"], ran["seed"], strict=True), ran["key"], strict=True))


def _notes(before: Results, after: Results, variants: Sequence[str]) -> list[str]:
    notes = []
    if before.name != after.name:
        notes.append(f"two suites: {before.name} in A, {after.name} in B")
    for side, results in (("A", before), ("B", after)):
        alone = [variant for variant in results.variants if variant not in variants]
        if alone:
            notes.append(f"only in {side}, not compared: {', '.join(alone)}")
        missing = int((results.table["status"] == "missing").sum())
        if missing:
            notes.append(f"missing in {side}: {missing} of {len(results.table)} trials")
    notes += [
        f"configured differently: {text}" for text in configuration_differences(before, after, variants)
    ]
    versions = [
        ", ".join(sorted({*each.table["torch_version"].dropna()})) if "torch_version" in each.table else ""
        for each in (before, after)
    ]
    if versions[0] != versions[1]:
        notes.append(f"torch {versions[0]} in A, {versions[1]} in B")
    return notes
