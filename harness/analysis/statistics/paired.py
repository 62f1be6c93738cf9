"""Differences paired by seed, their p values, and verdicts over a whole family of variants.

    d_s = x_s − base_s,    t = mean(d) / (s_d / √n),    p = 2 P(T_{n−1} > |t|)

Seeds share the order of the data across variants, so what they have in common cancels. The variants
of one column are one family: with thirteen comparisons at 5 % each, two suites in five would hold a
false verdict. Their p values are corrected by Holm's method, p_corrected = min(1, f p), and
each difference has a wider interval besides, at the level α / f, which leaves out zero exactly where
p_corrected is at most α.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from harness.analysis.statistics.correction import uncut
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
    deviation: float
    """Standard deviation of the differences of the seeds."""
    p: float
    """Of this comparison alone."""
    p_corrected: float
    """For all comparisons of the family; what the verdict goes by."""
    low_corrected: float
    high_corrected: float
    """The interval that agrees with the verdict: it leaves out zero where `p_corrected` is small enough."""
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
    scaled = uncut(p, comparisons=comparisons)
    corrected = np.minimum(1.0, scaled)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(p > 0, scaled / p, max(1, np.isfinite(p).sum()))
    low, high = _interval(found, (1 - confidence) / factor)
    deviations = found.error * np.sqrt(found.n)
    alone = [Estimate(*row) for row in zip(*(column.tolist() for column in found[:4]), strict=True)]
    return {
        str(variant): Contrast(
            alone[place],
            float(deviations[place]),
            float(p[place]),
            float(corrected[place]),
            float(low[place]),
            float(high[place]),
            _verdict(alone[place].mean, corrected[place], better, confidence),
        )
        for place, variant in enumerate(others.columns)
    }


def may_be_best(values: pd.DataFrame, best: str, confidence: float = CONFIDENCE) -> set[str]:
    """The variants of which the seeds do not show that `best`, the one with the best mean, is better.

    With the best they are a set that holds the truly best with this confidence: each is asked by a
    one-sided test whether it is no worse, at the level shared by all who might have looked the best.
    Gupta (1965), On some multiple decision rules, with each pair's own variance.
    """
    others = contrasts(values, best, None, confidence=confidence)
    rivals = sum(not math.isnan(contrast.p) for contrast in others.values())
    return {variant for variant, contrast in others.items() if contrast.p / 2 * rivals > 1 - confidence}


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


def _interval(means: Means, level: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Student's t interval of each mean at a level of its own: the chance that it misses."""
    from scipy.special import stdtrit

    known = ~np.isnan(means.error)
    half = -stdtrit(np.where(known, means.n - 1, 1), np.where(known, level, 1.0) / 2) * means.error
    return means.mean - half, means.mean + half


def _verdict(mean: float, p: float, better: Direction, confidence: float) -> Verdict:
    if better is None or math.isnan(p):
        return "-"
    if p > 1 - confidence:
        return "indistinguishable"
    return "better" if (mean < 0) == (better == "lower") else "worse"
