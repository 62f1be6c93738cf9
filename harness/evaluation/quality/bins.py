"""Number of statistically different bins, as a share (NDB/K; Richardson and Weiss 2018, section 3).

The training features are cut into K bins by k-means. A bin counts if the shares of training and of drawn
clips in it differ by a two-proportion z-test at the 5 % level:

    |p - q| > 1.96 √(s (1 - s) (1/N + 1/M)),   s the share of both sets together

Two samples of one distribution therefore give about 0.05, and a model that leaves out modes more. It
knows nothing of how clips lie inside a bin. Shapes: N, M clips, F features, K bins.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from scipy.cluster import vq

from harness.evaluation.quality.pairwise import squared_distances

BINS = 50
CRITICAL = 1.959963984540054
"""Two-sided 5 % point of the normal distribution."""
ITERATIONS = 30


def different_bins(generated: np.ndarray, reference: np.ndarray, rng: np.random.Generator) -> float:
    """Share of K = 50 bins; NaN for a training set of fewer different clips than bins."""
    centres = seeds(reference, BINS, rng)
    if len(centres) < BINS:
        return math.nan
    with warnings.catch_warnings():  # a bin without training clips stays where it is
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        centres, assigned = vq.kmeans2(
            reference, centres, iter=ITERATIONS, minit="matrix", check_finite=False
        )
    drawn, _ = vq.vq(generated, centres, check_finite=False)
    of_reference = np.bincount(assigned, minlength=BINS)
    of_generated = np.bincount(drawn, minlength=BINS)
    return float(differ(of_generated, of_reference).mean())


def differ(counts: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Counts of two samples in the same bins -> Bool[K]; bins that are empty in both do not differ."""
    n, m = counts.sum(), others.sum()
    together = (counts + others) / (n + m)
    spread = np.sqrt(together * (1 - together) * (1 / n + 1 / m))
    return np.abs(counts / n - others / m) > CRITICAL * spread


def seeds(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Clips to start k-means from, each drawn by its squared distance to those before (k-means++).

    Fewer than asked for if there are no more different clips.
    """
    chosen = [int(rng.integers(len(features)))]
    nearest = np.full(len(features), np.inf)
    negligible = 1e-12 * float((features**2).sum(axis=1).max())
    while len(chosen) < count:
        np.minimum(nearest, squared_distances(features, features[chosen[-1:]])[:, 0], out=nearest)
        nearest[nearest <= negligible] = 0.0
        if not nearest.any():
            break
        chosen.append(int(rng.choice(len(features), p=nearest / nearest.sum())))
    return features[chosen]
