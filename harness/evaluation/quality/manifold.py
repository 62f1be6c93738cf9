"""How much of two sets of features lies near the other: precision, recall, density, coverage.

B_k(x) is the closed ball around a clip that reaches to its k-th nearest clip of its own set.

    precision   share of drawn clips in any B_3 of a training clip     Kynkäänniemi et al. 2019, equation 2
    recall      share of training clips in any B_3 of a drawn clip
    density     number of B_5 of training clips that a drawn clip lies in, over 5, in the mean
    coverage    share of training clips whose B_5 holds a drawn clip   Naeem et al. 2020, equations 3 and 4

Precision and density say how good the drawn clips are, recall and coverage how varied. Density can exceed
one; coverage falls with the number of drawn clips per training clip, so compare at equal numbers.

Shapes: N, M clips, F features.
"""

from __future__ import annotations

import math

import numpy as np

from harness.evaluation.quality.pairwise import row_blocks, squared_distances, thinned

NEIGHBOURS = 3
NEIGHBOURS_OF_DENSITY = 5
ROUNDING = 1e-10
"""Relative to the largest square, what two squared distances may differ by and count as equal."""


def manifold_scores(
    generated: np.ndarray, reference: np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
    """Float64[N, F], Float64[M, F] -> the four; NaN for those with too few clips to have neighbours.

    Sets above 10,000 clips are thinned.
    """
    drawn, real = thinned(generated, rng), thinned(reference, rng)
    centre = real.mean(axis=0)  # distances are differences of squares: the smaller, the more digits stay
    drawn, real = drawn - centre, real - centre
    slack = ROUNDING * max(float((drawn**2).sum(axis=1).max()), float((real**2).sum(axis=1).max()))
    most = NEIGHBOURS, NEIGHBOURS_OF_DENSITY
    of_real, of_drawn = squared_radii(real, most) + slack, squared_radii(drawn, most) + slack

    precise = np.empty(len(drawn), dtype=bool)
    recalled = np.zeros(len(real), dtype=bool)
    covered = np.zeros(len(real), dtype=bool)
    balls = 0
    for rows in row_blocks(len(drawn), len(real)):
        squares = squared_distances(drawn[rows], real)
        precise[rows] = (squares <= of_real[0]).any(axis=1)
        recalled |= (squares <= of_drawn[0, rows, None]).any(axis=0)
        inside = squares <= of_real[1]
        covered |= inside.any(axis=0)
        balls += int(inside.sum())
    return {
        "precision": defined(precise.mean(), of_real[0]),
        "recall": defined(recalled.mean(), of_drawn[0]),
        "density": defined(balls / (NEIGHBOURS_OF_DENSITY * len(drawn)), of_real[1]),
        "coverage": defined(covered.mean(), of_real[1]),
    }


def squared_radii(features: np.ndarray, neighbours: tuple[int, ...]) -> np.ndarray:
    """Squared distance of each clip to its k-th nearest other, Float64[k's, N]; NaN if there is none."""
    count = len(features)
    radii = np.full((len(neighbours), count), math.nan)
    wanted = [k for k in neighbours if k < count]
    if wanted:
        for rows in row_blocks(count, count):
            squares = squared_distances(features[rows], features)
            # The least is the clip itself or one equal to it, so that the k-th nearest other is at k.
            nearest = np.partition(squares, wanted, axis=1)
            for at, k in enumerate(neighbours):
                if k < count:
                    radii[at, rows] = nearest[:, k]
    return radii


def defined(value: float, radii: np.ndarray) -> float:
    return math.nan if np.isnan(radii).any() else float(value)
