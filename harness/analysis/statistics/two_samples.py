"""The difference of two runs of one thing: paired by seed where they share seeds, Welch's where not.

    paired    d_s = b_s − a_s,  error² = s_d² / n,             degrees = n − 1
    Welch     d = mean(b) − mean(a),  error² = s_a²/n + s_b²/m,
              degrees = error⁴ / ((s_a²/n)² / (n − 1) + (s_b²/m)² / (m − 1))

Beyond a margin M (the minimum-effect test; M = 0 is the usual t test):
    p = P(T > (|d| − M) / error) + P(T > (|d| + M) / error)
Within it (two one-sided tests, Schuirmann 1987):
    p = P(T > (M − |d|) / error)

Welch (1947), The generalization of Student's problem; Murphy and Myors (1999) for minimum effects.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.analysis.statistics.estimates import CONFIDENCE, Estimate

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class Difference(NamedTuple):
    """`error` is NaN where too few seeds say nothing of it, and 0 where nothing ever varies."""

    mean: float
    error: float
    degrees: float
    n: int
    """Pairs, or seeds of the smaller side."""
    paired: bool

    @property
    def known(self) -> bool:
        return not math.isnan(self.error)

    @property
    def exact(self) -> bool:
        return self.error == 0

    def interval(self, confidence: float = CONFIDENCE) -> Estimate:
        from scipy.special import stdtrit

        half = float(stdtrit(self.degrees, (1 + confidence) / 2)) * self.error if self.known else math.nan
        return Estimate(self.mean, self.mean - half, self.mean + half, self.n)

    def p_beyond(self, margin: float = 0.0) -> float:
        """That a difference no larger than `margin`, either way, would look like this or larger."""
        if not self.known or self.exact:
            return math.nan if not self.known else float(abs(self.mean) <= margin)
        far = abs(self.mean)
        return min(1.0, self._tail((far - margin) / self.error) + self._tail((far + margin) / self.error))

    def p_within(self, margin: float) -> float:
        """That a difference larger than `margin` would look as small as this."""
        if not self.known or self.exact:
            return math.nan if not self.known else float(abs(self.mean) > margin)
        return self._tail((margin - abs(self.mean)) / self.error)

    def _tail(self, t: float) -> float:
        from scipy.special import stdtr

        return float(stdtr(self.degrees, -t))


def difference(before: pd.Series, after: pd.Series) -> Difference:
    """`after` minus `before`, both indexed by seed, NaN where not measured.

    Paired where at least two seeds are in both and the others are no more than half of the smaller
    side; what decides are the seeds, never the values.
    """
    (seeds_a, a), (seeds_b, b) = _there(before), _there(after)
    common, in_a, in_b = np.intersect1d(seeds_a, seeds_b, assume_unique=True, return_indices=True)
    smaller = min(len(a), len(b))
    if smaller and (len(common) == smaller == 1 or len(common) >= max(2, smaller / 2)):
        return _paired(b[in_b] - a[in_a])
    return _welch(a, b)


def _there(values: pd.Series) -> tuple[NDArray[Any], NDArray[Any]]:
    """Seeds and values of those that were measured."""
    array = values.to_numpy(dtype=float)
    measured = ~np.isnan(array)
    return values.index.to_numpy()[measured], array[measured]


def _paired(differences: NDArray[Any]) -> Difference:
    n = len(differences)
    mean, error = _mean(differences)
    return Difference(mean, error, max(1, n - 1), n, paired=True)


def _welch(a: NDArray[Any], b: NDArray[Any]) -> Difference:
    n = min(len(a), len(b))
    if n == 0:
        return Difference(math.nan, math.nan, 1, 0, paired=False)
    (mean_a, error_a), (mean_b, error_b) = _mean(a), _mean(b)
    error = math.hypot(error_a, error_b)
    degrees = 1.0
    if error > 0:
        degrees = error**4 / (error_a**4 / (len(a) - 1) + error_b**4 / (len(b) - 1))
    return Difference(mean_b - mean_a, error, degrees, n, paired=False)


def _mean(values: NDArray[Any]) -> tuple[float, float]:
    """Mean and its standard error: exactly 0 for values that are all equal, NaN for a single one."""
    n = len(values)
    if n == 1 or not np.isfinite(values).all():
        return float(values.mean()), math.nan
    if np.ptp(values) == 0:
        return float(values[0]), 0.0
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n)
