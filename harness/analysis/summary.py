"""One row a variant: how many trials succeeded, and every measured column with its uncertainty.

The frame is tidy and complete, for the CSV file and for further work; people read the compact form
that `layout` makes of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from harness.analysis.layout import lay_out
from harness.analysis.quantities import quantity
from harness.analysis.statistics import (
    ENOUGH,
    Contrast,
    Direction,
    best_of,
    by_seed,
    check_one_row_a_trial,
    contrasts,
    improvement_interval,
    interquartile_mean,
    may_be_best,
    percentile_interval,
    probability_of_improvement,
    smallest_difference,
    stratified_resamples,
    t_interval,
)
from harness.analysis.terminal import TerminalTable
from harness.contracts import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETTINGS = frozenset({"seed", "layers", "width", "length", "threads", "train_steps", "train_tokens"})
"""Numeric columns of a table that were chosen, not measured."""

PARTS = (
    *("mean", "low", "high", "n", "iqm", "iqm_low", "iqm_high"),
    *("difference", "difference_low", "difference_high", "pairs", "p", "p_corrected", "detectable"),
    *("difference_low_corrected", "difference_high_corrected"),
    *("improvement", "improvement_low", "improvement_high", "verdict", "standing"),
)
"""What a summary says of a measured column `x`, each in a column `x_…`; see `summarise`."""


def summarise(
    table: pd.DataFrame, columns: Mapping[str, Column], variants: Sequence[str], base: str
) -> pd.DataFrame:
    """One row a variant, in the order given. Columns:

    variant, n_ok, n_not_ok, not_ok (how often which status), notes (what metrics say of their numbers),
    and for each measured column `x`:
        x_mean, x_low, x_high, x_n: mean and 95 % t interval over the successful seeds
        x_iqm, …_low, …_high: interquartile mean with its bootstrap interval, from `ENOUGH` seeds on
        x_difference, …_low, …_high, x_pairs: to the base, paired by seed; the interval is of this
            comparison alone
        x_p, x_p_corrected: of no difference; corrected for all variants of the column (Holm)
        x_difference_low_corrected, …_high_…: the wider interval that leaves out zero where the verdict is
            better or worse
        x_detectable: the smallest difference that had a chance of 80 % to be seen
        x_improvement, …_low, …_high: how often a seed of it does better than a seed of the base, with
            its bootstrap interval from `ENOUGH` seeds on
        x_verdict: better, worse or indistinguishable, by x_p_corrected; - where nobody can say
        x_standing: best; tied, where it may be the best for all that the seeds say; see `may_be_best`

    Raises: ValueError for a table with rows that do not belong, or with two rows for one trial.
    """
    check_one_row_a_trial(table, variants)
    parts = [counts(table, variants)]
    parts += [_measured(table, name, columns, variants, base) for name in measured(table)]
    whole = pd.concat(parts, axis="columns").copy()  # in one piece, else pandas warns of each column's own
    return whole.reset_index(names="variant")


def measured(table: pd.DataFrame) -> list[str]:
    """The measured columns: numbers that were not settings, and that some successful trial has."""
    ok = table[table["status"] == "ok"]
    return [
        str(name)
        for name in table.columns
        if name not in SETTINGS
        and is_numeric_dtype(table[name])
        and not is_bool_dtype(table[name])
        and ok[name].notna().any()
    ]


def counts(table: pd.DataFrame, variants: Sequence[str]) -> pd.DataFrame:
    """variant -> n_ok, n_not_ok, not_ok, notes: how many succeeded, how the others ended, what to know.

    Notes are what a metric wrote into a column called `…_note`, each once.
    """
    statuses = {variant: Counter[str]() for variant in variants}
    for variant, status in zip(table["variant"], table["status"], strict=True):
        statuses[variant][status] += 1
    rows = {}
    for variant, found in statuses.items():
        ok = found.pop("ok", 0)
        why = ", ".join(f"{count} {status}" for status, count in sorted(found.items()))
        rows[variant] = {"n_ok": ok, "n_not_ok": found.total(), "not_ok": why, "notes": ""}
    successful = table[table["status"] == "ok"]
    for name in (str(name) for name in table.columns if str(name).endswith("_note")):
        for variant, row in rows.items():
            said = {str(note) for note in successful.loc[successful["variant"] == variant, name].dropna()} - {
                ""
            }
            row["notes"] = "; ".join(filter(None, (str(row["notes"]), *sorted(said))))
    return pd.DataFrame.from_dict(rows, orient="index")


def _measured(
    table: pd.DataFrame, name: str, columns: Mapping[str, Column], variants: Sequence[str], base: str
) -> pd.DataFrame:
    better = quantity(name, columns).better
    values = by_seed(table, name).reindex(columns=[*variants])
    means = t_interval(values.to_numpy())
    to_base = contrasts(values, base, better) if base in values else {}
    family = sum(contrast.p == contrast.p for contrast in to_base.values())
    best = best_of(dict(zip(variants, means.mean.tolist(), strict=True)), better)
    tied = may_be_best(values, best) if best is not None else set()
    runs = dict(zip(variants, (_runs(column) for column in values.to_numpy().T), strict=True))
    rows = {}
    for place, variant in enumerate(variants):
        row: dict[str, Any] = {part: getattr(means, part)[place] for part in ("mean", "low", "high", "n")}
        row |= _aggregates(runs[variant], None if variant == base else runs.get(base), better)
        row |= _to_base(to_base.get(variant), family)
        row["standing"] = "best" if variant == best else "tied" if variant in tied else ""
        rows[variant] = row
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.reindex(columns=[*PARTS]).add_prefix(f"{name}_")


def _to_base(contrast: Contrast | None, family: int) -> dict[str, Any]:
    """family: of how many comparisons this is one."""
    if contrast is None:  # the base itself, or a base that was never measured
        return {"pairs": 0, "verdict": "-"}
    difference = contrast.difference
    return {
        "difference": difference.mean,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "pairs": difference.n,
        "p": contrast.p,
        "p_corrected": contrast.p_corrected,
        "difference_low_corrected": contrast.low_corrected,
        "difference_high_corrected": contrast.high_corrected,
        "detectable": smallest_difference(contrast.deviation, difference.n, comparisons=max(1, family)),
        "verdict": contrast.verdict,
    }


def _aggregates(own: NDArray[Any], base: NDArray[Any] | None, better: Direction) -> dict[str, float]:
    """What outliers do not move. The draws depend on the number of seeds alone, not on the suite."""
    row = {}
    if len(own) >= ENOUGH:
        row["iqm"] = float(interquartile_mean(own))
        drawn = interquartile_mean(stratified_resamples(own, seed=0))
        row["iqm_low"], row["iqm_high"] = percentile_interval(drawn)
    if base is None or better is None or not len(own) or not len(base):
        return row
    sign = -1.0 if better == "lower" else 1.0
    row["improvement"] = float(probability_of_improvement(sign * own, sign * base))
    if min(len(own), len(base)) >= ENOUGH:
        row["improvement_low"], row["improvement_high"] = improvement_interval(sign * own, sign * base)
    return row


def _runs(column: NDArray[Any]) -> NDArray[Any]:
    """The successful seeds of a variant, as rliable's runs of one task: Float[N, 1]."""
    return column[~np.isnan(column)][:, None]


def terminal_table(
    summary: pd.DataFrame, columns: Mapping[str, Column], *, base: str, shown: Sequence[str] = ()
) -> TerminalTable:
    """The compact summary for a terminal; `shown` as of `layout.lay_out`."""
    return TerminalTable(lay_out(summary, columns, base, narrow=True, shown=shown))
