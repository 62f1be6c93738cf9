"""Fréchet distance between the Gaussians of two sets of features (FID; Heusel et al. 2017, equation 6).

    d(a, b) = |m_a - m_b|² + tr(S_a) + tr(S_b) - 2 tr((S_a^½ S_b S_a^½)^½)

with means m and covariances S, the latter divided by N - 1. With any factors S = Rᵀ R the last trace is
the sum of the singular values of R_a R_bᵀ: no matrix root is taken, nothing becomes complex, and
singular covariances, those of fewer clips than features for instance, lose no digits.

The distance of a sample is biased upwards by about c / N in expectation, c depending on the
distributions (Bińkowski et al. 2018, appendix D): compare at equal N only. `extrapolated` estimates what
infinitely many drawn clips would give (FID∞; Chong and Forsyth 2020). The bias from the finite
reference stays in it, as it does in every published number.

Shapes: N clips, F features, Q = min(clips, features) rows of a factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from harness.evaluation.quality.embedding import QualityError

SIZES = 15
"""Subsets for the extrapolation, as many as in the paper."""
SMALLEST = 0.5
"""Share of the clips in the smallest of them. The bias is linear in 1/N for large N only, so that smaller
subsets bend the line. What stays of the bias has the other sign: a fifth at N = F, an eighth at N = 3 F for
features of equal variance, a few per cent where few directions have most of it (`python -m
benchmarks.quality_scores`)."""
FEWEST_TO_EXTRAPOLATE = 2 * SIZES


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Mean and covariance of a set of features."""

    mean: np.ndarray  # Float64[F]
    factor: np.ndarray  # Float64[Q, F]; factorᵀ factor is the covariance

    @classmethod
    def of(cls, features: np.ndarray) -> Gaussian:
        """Float64[N, F]. Raises: QualityError for one clip, which has no covariance."""
        if len(features) < 2:
            raise QualityError(f"a Fréchet distance needs at least 2 clips, got {len(features)}")
        mean = features.mean(axis=0)
        (factor,) = linalg.qr(features - mean, mode="r", overwrite_a=True, check_finite=False)
        return cls(mean=mean, factor=factor[: features.shape[1]] / math.sqrt(len(features) - 1))

    @property
    def trace(self) -> float:
        """Of the covariance."""
        return float((self.factor**2).sum())


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Never negative, and zero for equal Gaussians up to rounding."""
    roots = linalg.svdvals(a.factor @ b.factor.T, check_finite=False).sum()
    return max(0.0, float(((a.mean - b.mean) ** 2).sum() + a.trace + b.trace - 2 * roots))


def influences(features: np.ndarray, reference: Gaussian) -> np.ndarray:
    """The distance's derivative by the weight of each clip, Float64[N], with mean zero.

    A resample with the weights w has the distance d + sum_i (w_i - 1) influence_i to first order: the
    bootstrap without a decomposition a resample. It is also the better one for few clips: a resample
    holds 63 % of them, which changes the rank of the covariance, and the spread of resampled distances
    can be several times that of true redraws; weights that stay above zero leave the rank as it is.

    With z_i the centred features, Y = Z R_refᵀ and Y = U s Vᵀ, the trace of the root is sum(s) / √(N-1),
    and its derivative by w_i is half of sum_k U_ik² s_k / √(N-1), whatever the rank of Y.
    """
    count = len(features)
    mean = features.mean(axis=0)
    centred = features - mean
    left, roots, _ = linalg.svd(centred @ reference.factor.T, full_matrices=False, check_finite=False)
    of_mean = 2 * centred @ (mean - reference.mean) / count
    of_trace = (centred**2).sum(axis=1) / (count - 1)
    of_roots = left**2 @ roots / math.sqrt(count - 1)
    values = of_mean + of_trace - of_roots
    return values - values.mean()


def extrapolated(features: np.ndarray, reference: Gaussian, rng: np.random.Generator) -> float:
    """Where a straight line in 1/N through distances of subsets meets 1/N = 0.

    Being an estimate it can be below zero. NaN for fewer clips than 30.
    """
    if len(features) < FEWEST_TO_EXTRAPOLATE:
        return math.nan
    shifted = features - reference.mean
    projected = shifted @ reference.factor.T
    sizes = np.linspace(SMALLEST * len(features), len(features), SIZES).astype(int)
    distances = []
    for size in sizes:
        subset = rng.permutation(len(features))[:size]
        traces = shifted[subset].var(axis=0, ddof=1).sum() + reference.trace
        means = (shifted[subset].mean(axis=0) ** 2).sum()
        distances.append(means + traces - 2 * root_trace(projected[subset]))
    return float(np.polyfit(1 / sizes, distances, 1)[1])


def root_trace(projected: np.ndarray) -> float:
    """Sum of the singular values of centred rows, Float64[N, Q], over √(N-1), by the smaller Gram matrix.

    Several times faster than by singular values, and good to about 1e-7 of it: enough for a fit.
    """
    centred = projected - projected.mean(axis=0)
    tall = centred if centred.shape[0] >= centred.shape[1] else centred.T
    squares = linalg.eigvalsh(tall.T @ tall / (len(projected) - 1), check_finite=False, overwrite_a=True)
    rounding = np.finfo(np.float64).eps * len(squares) * max(squares[-1], 0.0)
    return float(np.sqrt(squares[squares > rounding]).sum())
