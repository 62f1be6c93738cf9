"""Kernel distance between two sets of features (KID; Bińkowski et al. 2018, section 4).

    MMD² = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),   k(x, y) = (xᵀ y / F + 1)³

over x of the one set, y of the other, x' and y' another clip of the same set. Unbiased at any number
of clips, so numbers of different sample sizes can be compared; it can be slightly negative, and of
a set with itself it is, for its pairs k(x, x) count on one side only.

Shapes: N clips, F features.
"""

from __future__ import annotations

import math

import numpy as np

from harness.evaluation.quality.pairwise import row_blocks, thinned


def kernel_distance(generated: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> float:
    """Float64[N, F], Float64[M, F]; sets above 10,000 clips are thinned. NaN for fewer than two clips."""
    x, y = thinned(generated, rng), thinned(reference, rng)
    if min(len(x), len(y)) < 2:
        return math.nan
    return _mean_within(x) + _mean_within(y) - 2 * _sum_of_pairs(x, y) / (len(x) * len(y))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    base = x @ y.T / x.shape[1] + 1
    return base * base * base  # a tenth of the time of ** 3


def _sum_of_pairs(x: np.ndarray, y: np.ndarray) -> float:
    return math.fsum(float(_kernel(x[rows], y).sum()) for rows in row_blocks(len(x), len(y)))


def _mean_within(x: np.ndarray) -> float:
    """Over pairs of different clips."""
    with_themselves = ((x**2).sum(axis=1) / x.shape[1] + 1) ** 3
    return (_sum_of_pairs(x, x) - float(with_themselves.sum())) / (len(x) * (len(x) - 1))
