"""What so few seeds cannot show: the smallest difference that would have been seen.

    P(|T'_{n−1}(δ √n / s)| > t(n − 1, 1 − α / 2m)) = power,    solved for δ

T' is the noncentral t distribution, s the standard deviation of the differences paired by seed, m the
number of comparisons that share the level α (the first of Holm's steps). The chance of crossing the
threshold on the wrong side is left out: it is below 1e-6 at any useful power.
"""

from __future__ import annotations

import math
from functools import cache

from harness.analysis.statistics.estimates import CONFIDENCE

POWER = 0.8
"""Chance of being seen that a difference needs to be called visible."""

MANY_SEEDS = 1000
"""Where counting seeds ends: nobody trains more."""


def smallest_difference(
    deviation: float,
    n: int,
    *,
    comparisons: int = 1,
    power: float = POWER,
    confidence: float = CONFIDENCE,
) -> float:
    """The difference that `n` pairs of seeds would show with this chance; NaN for fewer than two."""
    if n < 2 or not math.isfinite(deviation):
        return math.nan
    return _noncentrality(n - 1, comparisons, power, confidence) * deviation / math.sqrt(n)


@cache
def _noncentrality(degrees: int, comparisons: int, power: float, confidence: float) -> float:
    from scipy.special import nctdtrinc, stdtrit

    threshold = stdtrit(degrees, 1 - (1 - confidence) / 2 / comparisons)
    return float(nctdtrinc(degrees, 1 - power, threshold))


def seeds_needed(
    deviation: float,
    difference: float,
    *,
    comparisons: int = 1,
    power: float = POWER,
    confidence: float = CONFIDENCE,
) -> int | None:
    """Pairs of seeds that would show this difference; None for more than `MANY_SEEDS`."""

    def visible(n: int) -> bool:
        smallest = smallest_difference(
            deviation, n, comparisons=comparisons, power=power, confidence=confidence
        )
        return smallest <= difference

    low, high = 2, MANY_SEEDS  # the smallest difference falls with n: search by halves
    if not visible(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if visible(middle):
            high = middle
        else:
            low = middle + 1
    return high
