"""What the curves of all levels say, in a few numbers: does memory move down the levels with distance?

    half(level)     the distance k at which the rise of the NLL is half of that at k = 1
    correlation     Spearman's, of the level's number with that distance
    depth           the mean level, weighted by rises: of memory shorter than K, rise(1) - rise(K), and
                    of memory longer than K, rise(K)

Rises of different levels need not add up to that of all: levels can stand in for each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

WORTHLESS_BITS = 1e-3
"""A level whose whole memory is worth less has no half of it that could be told from noise."""

Curve = Mapping[int, float]
"""Samples between cuts -> rise of the NLL in bits per sample, from the smallest on."""


def half_distance(curve: Curve) -> float:
    """Samples between cuts at which half of the rise is left, between two of the curve on a logarithmic axis.

    NaN for a level whose memory is worth nothing; infinite where more than half is left at the longest.
    """
    ways = sorted(curve)
    half = curve[ways[0]] / 2
    if 2 * half < WORTHLESS_BITS:
        return math.nan
    for near, far in pairwise(ways):
        if curve[far] <= half:
            part = (curve[near] - half) / (curve[near] - curve[far])
            return 2 ** (math.log2(near) + part * math.log2(far / near))
    return math.inf


def long_distance(length: int) -> int:
    """K: the largest power of two up to a quarter of a window, so that most of it lies beyond K."""
    return int(2 ** math.floor(math.log2(max(length // 4, 1))))


def depth(weights: Mapping[int, float]) -> float:
    """The mean level by weight, those below zero counted as zero; NaN where nothing is left."""
    positive = {level: max(weight, 0.0) for level, weight in weights.items()}
    total = sum(positive.values())
    return sum(level * weight for level, weight in positive.items()) / total if total > 0 else math.nan


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's, ties by their mean rank, pairs with NaN left out; NaN for fewer than two values."""
    import pandas as pd

    pairs = pd.DataFrame({"x": x, "y": y}).dropna().rank()
    if len(pairs) < 2 or (pairs.nunique() < 2).any():
        return math.nan
    return float(np.corrcoef(pairs["x"], pairs["y"])[0, 1])
