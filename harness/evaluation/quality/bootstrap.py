"""Intervals of scores of drawn clips, by resampling the clips.

A resample gives clip i the weight w_i, how often it is among N draws with replacement (Efron 1979).
The interval is [s + q_low - m, s + q_high - m], with s the score of all clips, and m, q_low and q_high
the mean and the 2.5 and 97.5 % quantiles of the resampled scores. Their mean, not s, is the centre:
fewer different clips are in a resample, and scores whose value depends on the number of clips, as the
Fréchet distance does, are all moved by it, so that plain quantiles can leave out s itself. A score
that takes long to compute is resampled to first order in the weights (`frechet.influences`).

What it covers: which clips the model happened to draw, at this number of them. Not the bias that
the number brings, nor another seed of the training, another training set or another classifier.

Shapes: N clips, R resamples.
"""

from __future__ import annotations

import math

import numpy as np

CONFIDENCE = 0.95


def resample_weights(clips: int, resamples: int, seed: int) -> np.ndarray:
    """Float64[R, N], each row adding up to N."""
    counts = np.random.default_rng(seed).multinomial(clips, np.full(clips, 1 / clips), size=resamples)
    return counts.astype(np.float64)


def interval(score: float, resampled: np.ndarray, *, least: float = -math.inf) -> tuple[float, float]:
    """Both ends, from Float64[R], none below the `least` possible score; NaN for fewer than two resamples."""
    if len(resampled) < 2 or not np.isfinite(resampled).all():
        return math.nan, math.nan
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled - resampled.mean(), [tail, 1 - tail])
    return max(least, float(score + low)), max(least, float(score + high))
