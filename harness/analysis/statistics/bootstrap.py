"""Aggregates that outliers do not move, and their bootstrap intervals: rliable's definitions.

    interquartile mean   the mean of what is left when a quarter is cut off at either end
    P(X > Y)             mean over tasks of  U / (n m),  U = Σ_ij [x_i > y_j] + ½ [x_i = y_j]
    stratified bootstrap runs are drawn with replacement within each task, never across tasks

Agarwal et al. (2021), Deep Reinforcement Learning at the Edge of the Statistical Precipice, sections
4.2 to 4.4; Mann and Whitney (1947) for U. Shapes: R resamples, N runs (seeds), T tasks.

A percentile interval of a handful of values is too narrow (docs/statistics.md counts how often it
misses): it is given from `ENOUGH` values on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.statistics.estimates import CONFIDENCE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ENOUGH = 10
"""Values behind an aggregate, over all runs and tasks, from which on its bootstrap interval is told."""

RESAMPLES = 2000

CHUNK = 100
"""Resamples of a comparison at a time, each with draws of its own."""


def interquartile_mean(values: ArrayLike) -> NDArray[Any]:
    """Over runs and tasks together, the last two axes: Float[…, N, T] -> Float[…]."""
    array = np.asarray(values, dtype=float)
    flat = np.sort(array.reshape(*array.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    middle: NDArray[Any] = flat[..., cut : flat.shape[-1] - cut].mean(axis=-1)
    return middle


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> NDArray[Any]:
    """How often a run of X exceeds a run of Y: Float[…, N, T] and Float[…, M, T] -> Float[…].

    Negate both where lower is better.
    """
    ours, theirs = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    left, right = ours[..., :, None, :], theirs[..., None, :, :]
    wins = (left > right) + 0.5 * (left == right)
    share: NDArray[Any] = wins.mean(axis=(-3, -2, -1))
    return share


def stratified_resamples(values: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> NDArray[Any]:
    """Float[N, T] -> Float[R, N, T]: in each task as many runs as there are, drawn with replacement."""
    return _drawn(np.asarray(values, dtype=float), resamples, np.random.default_rng(seed))


def percentile_interval(statistics: ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The middle of a bootstrap distribution; NaN for fewer values than two."""
    array = np.asarray(statistics, dtype=float)
    if len(array) < 2:
        return math.nan, math.nan
    low, high = np.percentile(array, [50 * (1 - confidence), 50 * (1 + confidence)])
    return float(low), float(high)


def improvement_interval(
    x: ArrayLike, y: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Stratified bootstrap interval of `probability_of_improvement`; the runs of X and Y drawn apart.

    Two runs are compared once: a resample only says how often each pair of them counts.
    """
    ours, theirs = (np.asarray(values, dtype=float).T for values in (x, y))  # Float[T, N], Float[T, M]
    left, right = ours[:, :, None], theirs[:, None, :]
    wins = (left > right) + 0.5 * (left == right)
    drawn = []
    for chunk in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - chunk)
        generator = np.random.default_rng([seed, chunk])
        how_often = _times_drawn(ours.shape, size, generator)
        how_often_theirs = _times_drawn(theirs.shape, size, generator)
        drawn.append(((how_often @ wins) * how_often_theirs).sum(axis=(0, 2)) / wins.size)
    return percentile_interval(np.concatenate(drawn), confidence)


def _times_drawn(shape: tuple[int, ...], size: int, generator: np.random.Generator) -> NDArray[Any]:
    """How often each run of each task is in each of `size` resamples: Float[T, size, N]."""
    tasks, runs = shape
    chosen = generator.integers(runs, size=(size, runs, tasks))
    first = runs * np.arange(size * tasks).reshape(size, 1, tasks)
    counts = np.bincount((chosen + first).ravel(), minlength=size * tasks * runs)
    return counts.reshape(size, tasks, runs).swapaxes(0, 1).astype(float)


def _drawn(array: NDArray[Any], size: int, generator: np.random.Generator) -> NDArray[Any]:
    chosen = generator.integers(len(array), size=(size, *array.shape))
    drawn: NDArray[Any] = np.take_along_axis(array[None], chosen, axis=1)
    return drawn
