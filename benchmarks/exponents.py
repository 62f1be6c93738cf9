"""How a cost grows: the slope of a straight line through log cost over log size, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


class Fit(NamedTuple):
    """cost = constant * size ** exponent. The interval is NaN for fewer than three points."""

    exponent: float
    low: float
    high: float
    constant: float
    points: int


def fit(sizes: Sequence[float], costs: Sequence[float]) -> Fit:
    """Least squares in logarithms; Student's t interval with n - 2 degrees of freedom.

    Fewer than two different sizes have no slope: all is NaN.
    """
    x, y = np.log(np.asarray(sizes, dtype=float)), np.log(np.asarray(costs, dtype=float))
    n, nothing = len(x), math.nan
    if n < 2 or np.ptp(x) == 0:
        return Fit(nothing, nothing, nothing, nothing, n)
    around = x - x.mean()
    exponent = float(around @ y / (around @ around))
    constant = float(np.exp(y.mean() - exponent * x.mean()))
    if n == 2:
        return Fit(exponent, nothing, nothing, constant, n)
    residuals = y - y.mean() - exponent * around
    error = math.sqrt(float(residuals @ residuals) / (n - 2) / float(around @ around))
    half_width = float(stdtrit(n - 2, (1 + CONFIDENCE) / 2)) * error
    return Fit(exponent, exponent - half_width, exponent + half_width, constant, n)


def predict(sizes: Sequence[float], costs: Sequence[float], size: float, at_least: float = 0.0) -> float:
    """The cost at a larger size, by the exponent of the last three points, if that is `at_least` so much.

    One point alone is taken to grow in proportion.
    """
    slope = fit(sizes[-3:], costs[-3:]).exponent if len(sizes) > 1 else 1.0
    return costs[-1] * (size / sizes[-1]) ** max(slope, at_least)
