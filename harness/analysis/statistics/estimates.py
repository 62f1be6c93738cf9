"""Means over seeds with Student's t interval, and the columns of a table they are taken from.

    mean ± t(n − 1, (1 + confidence) / 2) · s / √n,    s² = Σ (x − mean)² / (n − 1)

Every interval is over *seeds*, the independent repetitions; never over the steps of one run, which
are not. One seed has no interval, and so nothing is concluded from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95

Direction = Literal["lower", "higher"] | None
"""Which way is better; None where neither is."""


class Estimate(NamedTuple):
    """A mean over `n` seeds and its interval, which is NaN for fewer than two."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


class Means(NamedTuple):
    """Estimates of many samples at once: arrays of one shape."""

    mean: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]
    n: NDArray[Any]
    error: NDArray[Any]
    """Standard error of the mean, s / √n; NaN for fewer than two."""


def t_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Means:
    """Mean and t interval along the first axis, of the values that are there (NaN: left out).

    A sample with an infinite value has its mean and no interval.
    """
    from scipy.special import stdtrit  # the quantile of scipy.stats.t, without its half second of import

    array = np.asarray(values, dtype=float)
    missing = np.isnan(array)
    n = len(array) - missing.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # samples of nothing, of one, or with infinities
        mean = np.where(missing, 0.0, array).sum(axis=0) / n
        deviations = np.where(missing, 0.0, array - mean)
        variance = (deviations**2).sum(axis=0) / (n - 1)
    if len(array):  # what never varies is exact, whatever its sum rounds to
        low, high = np.fmin.reduce(array), np.fmax.reduce(array)
        mean, variance = np.where(low == high, low, mean), np.where(low == high, 0.0, variance)
    enough = (n > 1) & np.isfinite(variance) & np.isfinite(mean)
    error = np.where(enough, np.sqrt(variance / np.maximum(n, 1)), math.nan)
    half_width = stdtrit(np.where(enough, n - 1, 1), (1 + confidence) / 2) * error
    return Means(mean, mean - half_width, mean + half_width, n, error)


def estimate(values: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Mean and t interval of one sample (NaN: not measured, left out)."""
    found = t_interval(np.asarray(values, dtype=float).reshape(-1, 1), confidence)
    return Estimate(float(found.mean[0]), float(found.low[0]), float(found.high[0]), int(found.n[0]))


def by_seed(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """One column of the trials that succeeded: seeds down, variants across, NaN where not measured.

    A trial that failed is counted elsewhere and never averaged, whatever it measured before.
    Raises: ValueError for two rows of one variant and seed.
    """
    import pandas as pd

    # As DataFrame.pivot, which takes several times as long: this is asked for every column of a table.
    ok = (table["status"] == "ok").to_numpy(dtype=bool)
    seeds, down = np.unique(table["seed"].to_numpy()[ok], return_inverse=True)
    variants, across = np.unique(table["variant"].to_numpy(dtype=object)[ok], return_inverse=True)
    values = np.full((len(seeds), len(variants)), math.nan)
    values[down, across] = table[column].to_numpy(dtype=float, na_value=math.nan)[ok]
    if len({*zip(down.tolist(), across.tolist(), strict=True)}) < len(down):
        raise ValueError("the table has more than one row for a variant and seed")
    return pd.DataFrame(
        values, index=pd.Index(seeds, name="seed"), columns=pd.Index(variants, name="variant")
    )


def estimates(table: pd.DataFrame, column: str, variants: Iterable[str]) -> dict[str, Estimate]:
    """variant -> mean and interval of one column, for those with a finite mean, in order."""
    if column not in table:
        return {}
    values = by_seed(table, column)
    found = {variant: estimate(values[variant]) for variant in variants if variant in values}
    return {variant: value for variant, value in found.items() if math.isfinite(value.mean)}


def best_of(means: dict[str, float], better: Direction) -> str | None:
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
