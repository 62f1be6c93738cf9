"""What so few seeds cannot show: the smallest difference that would have been seen.

    P(|T'_{n−1}(δ √n / s)| > t(n − 1, 1 − α / 2m)) = power,    solved for δ

T' is the noncentral t distribution, s the standard deviation of the differences paired by seed, m the
number of comparisons that share the level α (the first of Holm's steps). The chance of crossing the
threshold on the wrong side is left out: it is below 1e-6 at any useful power.
"""

from __future__ import annotations

import math

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
    from scipy.special import nctdtrinc, stdtrit

    if n < 2 or not math.isfinite(deviation):
        return math.nan
    threshold = stdtrit(n - 1, 1 - (1 - confidence) / 2 / comparisons)
    return float(nctdtrinc(n - 1, 1 - power, threshold)) * deviation / math.sqrt(n)


def seeds_needed(
    deviation: float,
    difference: float,
    *,
    comparisons: int = 1,
    power: float = POWER,
    confidence: float = CONFIDENCE,
) -> int | None:
    """Pairs of seeds that would show this difference; None for more than `MANY_SEEDS`."""
    known = {"comparisons": comparisons, "power": power, "confidence": confidence}
    low, high = 2, MANY_SEEDS  # the smallest difference falls with n: search by halves
    if not smallest_difference(deviation, high, **known) <= difference:  # type: ignore[arg-type]
        return None
    while low < high:
        middle = (low + high) // 2
        if smallest_difference(deviation, middle, **known) <= difference:  # type: ignore[arg-type]
            high = middle
        else:
            low = middle + 1
    return high
