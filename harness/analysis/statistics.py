"""What a few seeds can say: means with intervals, differences paired by seed, verdicts.

Every interval is Student's t interval over *seeds*, the independent repetitions; never over the
steps of one run, which are not. One seed has no interval, and so nothing is concluded from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

CONFIDENCE = 0.95

Verdict = Literal["better", "worse", "indistinguishable", "-"]
"""`-`: nobody can say, for want of seeds or because neither direction is better."""


class Estimate(NamedTuple):
    """A mean over `n` seeds and its interval, which is NaN for fewer than two."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def estimate(values: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Mean and t interval of the values that are there (NaN: not measured, left out)."""
    from scipy.special import stdtrit  # the quantile of scipy.stats.t, without its half second of import

    array = np.asarray(values, dtype=float)
    array = array[~np.isnan(array)]
    n = len(array)
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = float(array.mean())
    if n == 1 or not np.isfinite(array).all():
        return Estimate(mean, math.nan, math.nan, n)
    half_width = float(stdtrit(n - 1, (1 + confidence) / 2) * array.std(ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half_width, mean + half_width, n)


def paired_difference(values: pd.Series, base: pd.Series, confidence: float = CONFIDENCE) -> Estimate:
    """`values` minus `base`, both indexed by seed; `n` counts the seeds that both have.

    Seeds share the order of the data across variants, so what they have in common cancels.
    """
    return estimate(values.astype(float) - base.astype(float), confidence)


def verdict(difference: Estimate, better: Literal["lower", "higher"] | None) -> Verdict:
    """Whether a difference to the base is an improvement: only if its interval leaves out zero."""
    if better is None or math.isnan(difference.low):
        return "-"
    if difference.low <= 0 <= difference.high:
        return "indistinguishable"
    return "better" if (difference.mean < 0) == (better == "lower") else "worse"


def by_seed(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """One column of the trials that succeeded: seeds down, variants across, NaN where not measured.

    A trial that failed is counted elsewhere and never averaged, whatever it measured before.
    """
    rows = table[table["status"] == "ok"]
    return rows.pivot(index="seed", columns="variant", values=column).astype(float).sort_index()


def estimates(table: pd.DataFrame, column: str, variants: Iterable[str]) -> dict[str, Estimate]:
    """variant -> mean and interval of one column, for those with a finite mean, in order."""
    if column not in table:
        return {}
    values = by_seed(table, column)
    found = {variant: estimate(values[variant]) for variant in variants if variant in values}
    return {variant: value for variant, value in found.items() if math.isfinite(value.mean)}


def best_of(means: dict[str, float], better: Literal["lower", "higher"] | None) -> str | None:
    """The variant with the best mean (the first of equals); None where no direction is better."""
    known = {variant: mean for variant, mean in means.items() if not math.isnan(mean)}
    if better is None or not known:
        return None
    sign = 1 if better == "lower" else -1
    return min(known, key=lambda variant: sign * known[variant])


def check_one_row_a_trial(table: pd.DataFrame, variants: Sequence[str]) -> None:
    """Raises: ValueError for a table from which no average could be trusted."""
    strangers = sorted({*table["variant"]} - {*variants})
    if strangers:
        raise ValueError(f"the table has variants that the suite does not list: {', '.join(strangers)}")
    doubles = table[table.duplicated(["variant", "seed"])]
    if len(doubles):
        variant, seed = doubles.iloc[0][["variant", "seed"]]
        raise ValueError(f"the table has more than one row for variant {variant!r}, seed {seed}")
