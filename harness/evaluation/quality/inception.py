"""Scores from class probabilities: inception score, what goes by its name, modified one, AM score.

With p_x the probabilities of clip x, KL in nats, and E the mean over clips:

    inception score            exp E_x KL(p_x ‖ E p)                                Salimans et al. 2016
    modified inception score   exp E_{x,x'} KL(p_x ‖ p_x')                          Gurumurthy et al. 2017
    AM score                   KL(E_train p ‖ E p) + E_x H(p_x)                     Zhou et al. 2018

The script that the published numbers of SC09 come from (state-spaces/s4, models/sashimi/metrics.py) takes
the divergence of its inception score along the clips instead of along the classes. With p_c the
probabilities of class c over N clips, scaled to sum to one, that is

    exp mean_c KL(p_c ‖ uniform over N clips)

of half of the clips; the other half's mean, which it divides by, cancels. For balanced classes and a sure
classifier the two agree; otherwise they do not: rare classes count as much as frequent ones, and the value
can exceed the number of classes. Both are computed here and never called by the same name.

Probabilities are taken to be at least `FLOOR` where they are divided by. Shapes: N clips, C classes.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import xlogy

PUBLISHED_SEED = 0
"""Of numpy's legacy generator, in the published script; its draws are the same in every version."""
PAIRS = 10_000
FLOOR = float(np.finfo(np.float32).tiny)
"""1.2e-38, the least that a softmax in single precision returns with all its digits. What underflows
would make a mean of divergences infinite for one pair."""


def inception_score(probabilities: np.ndarray) -> float:
    """Float64[N, C] -> from 1 to C, over all clips at once (papers on images average ten splits)."""
    return float(resampled_inception_scores(probabilities, np.ones((1, len(probabilities))))[0])


def resampled_inception_scores(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Float64[N, C], Float64[R, N] weights of the clips in each resample -> Float64[R]."""
    marginals = weights @ probabilities / len(probabilities)
    mean_entropies = weights @ entropies(probabilities) / len(probabilities)
    return np.exp(entropies(marginals) - mean_entropies)


def inception_score_sashimi(probabilities: np.ndarray) -> float:
    """The published script's, on the half of the clips that it takes; NaN where a class is empty.

    A class is empty if no clip of a half has any probability of it, where the script divides 0 by 0.
    """
    order = np.random.RandomState(PUBLISHED_SEED).permutation(len(probabilities))
    half = len(order) // 2
    scored, other = probabilities[order[:half]], probabilities[order[half:]]
    of_classes = scored.sum(axis=0)
    if not (of_classes > 0).all() or not (other.sum(axis=0) > 0).all():
        return math.nan
    within = scored / of_classes
    return math.exp(np.mean(math.log(half) - entropies(within.T)))


def modified_inception_score(probabilities: np.ndarray, pairs: np.ndarray | None = None) -> float:
    """Float64[N, C] -> at least 1, unbounded; by default over the published script's 10,000 random pairs.

    Few unsure clips decide it, for the divergence from a sure clip of another class has no bound.
    """
    if pairs is None:
        size = PAIRS, 2
        pairs = np.random.RandomState(PUBLISHED_SEED).randint(0, len(probabilities), size=size)
    p, q = probabilities[pairs[:, 0]], probabilities[pairs[:, 1]]
    return math.exp(divergences(p, q).mean())


def am_score(generated: np.ndarray, reference: np.ndarray) -> float:
    """Float64[N, C] of drawn clips, Float64[M, C] of the training set -> at least 0, in nats."""
    of_marginals = divergences(reference.mean(axis=0), generated.mean(axis=0))
    return float(of_marginals + entropies(generated).mean())


def entropies(p: np.ndarray) -> np.ndarray:
    """Along the last axis, in nats."""
    return -xlogy(p, p).sum(axis=-1)


def divergences(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p ‖ q) along the last axis, in nats."""
    return (xlogy(p, p) - xlogy(p, np.maximum(q, FLOOR))).sum(axis=-1)
