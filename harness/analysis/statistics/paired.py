"""Differences paired by seed, their p values, and verdicts over a whole family of variants.

    d_s = x_s − base_s,    t = mean(d) / (s_d / √n),    p = 2 P(T_{n−1} > |t|)

Seeds share the order of the data across variants, so what they have in common cancels. The variants
of one column are one family: with thirteen comparisons at 5 % each, two suites in five would hold a
false verdict. Their p values are corrected by Holm's method.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from harness.analysis.statistics.correction import holm
from harness.analysis.statistics.estimates import (
    CONFIDENCE,
    Direction,
    Estimate,
    Means,
    estimate,
    t_interval,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Verdict = Literal["better", "worse", "indistinguishable", "-"]
"""`-`: nobody can say, for want of seeds or because neither direction is better."""


class Contrast(NamedTuple):
    """One variant against another that all are compared with."""

    difference: Estimate
    p: float
    """Of this comparison alone."""
    p_corrected: float
    """For all comparisons of the family; what the verdict goes by."""
    verdict: Verdict


def paired_difference(values: pd.Series, base: pd.Series, confidence: float = CONFIDENCE) -> Estimate:
    """`values` minus `base`, both indexed by seed; `n` counts the seeds that both have."""
    return estimate(values.astype(float) - base.astype(float), confidence)


def verdict(difference: Estimate, better: Direction) -> Verdict:
    """Whether one difference is an improvement, asked alone: only if its interval leaves out zero.

    Of several variants ask `contrasts`, which corrects for how many they are.
    """
    if better is None or math.isnan(difference.low):
        return "-"
    if difference.low <= 0 <= difference.high:
        return "indistinguishable"
    return "better" if (difference.mean < 0) == (better == "lower") else "worse"


def contrasts(
    values: pd.DataFrame,
    base: str,
    better: Direction,
    *,
    comparisons: int | None = None,
    confidence: float = CONFIDENCE,
) -> dict[str, Contrast]:
    """variant -> its comparison with `base`, for all the other variants of `values` (as of `by_seed`).

    comparisons: size of the family where these are a part of it, see `holm`.
    """
    others = values.drop(columns=base)
    with np.errstate(invalid="ignore"):  # infinity minus infinity: no difference that anybody knows
        differences = others.to_numpy(dtype=float) - values[[base]].to_numpy(dtype=float)
    found = t_interval(differences, confidence)
    p = p_value(found)
    corrected = holm(p, comparisons=comparisons)
    estimates = map(Estimate, *(part.tolist() for part in (found.mean, found.low, found.high, found.n)))
    return {
        str(variant): Contrast(difference, own, all_, _verdict(difference.mean, all_, better, confidence))
        for variant, difference, own, all_ in zip(
            others.columns, estimates, p.tolist(), corrected.tolist(), strict=True
        )
    }


def p_value(means: Means, against: float | NDArray[Any] = 0.0) -> NDArray[Any]:
    """Two-sided p value of Student's t test that each mean is `against`; NaN without an interval.

    Values that never vary are exact: p is 1 where they are equal to `against`, else 0.
    """
    from scipy.special import stdtr

    away = np.abs(means.mean - against)
    known = ~np.isnan(means.error)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(away == 0, 0.0, away / means.error)
    return np.where(known, 2 * stdtr(np.where(known, means.n - 1, 1), -t), math.nan)


def _verdict(mean: float, p: float, better: Direction, confidence: float) -> Verdict:
    if better is None or math.isnan(p):
        return "-"
    if p > 1 - confidence:
        return "indistinguishable"
    return "better" if (mean < 0) == (better == "lower") else "worse"
