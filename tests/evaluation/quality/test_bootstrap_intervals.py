"""Intervals by resampling: what they cover, in simulation, and when there are none."""

import math

import numpy as np
import pytest
from embeddings import CLASSES, sure

from harness.evaluation.quality.bootstrap import interval, resample_weights
from harness.evaluation.quality.frechet import Gaussian, frechet_distance, influences
from harness.evaluation.quality.inception import inception_score, resampled_inception_scores


def coverage(draw, scored, intervals, simulations):
    """Share of intervals that hold the mean score of many draws of as many clips."""
    draws = [draw(np.random.default_rng(seed)) for seed in range(simulations)]
    expected = np.mean([scored(x) for x in draws])
    ends = [intervals(x, seed) for seed, x in enumerate(draws)]
    return np.mean([low <= expected <= high for low, high in ends])


def test_nineteen_of_twenty_intervals_of_the_frechet_distance_hold_its_expectation():
    reference = Gaussian.of(np.random.default_rng(1000).normal(size=(200, 6)))

    def draw(rng):
        return rng.gamma(4.0, size=(80, 1)) * rng.normal(size=(80, 6)) + 0.5

    def scored(x):
        return frechet_distance(Gaussian.of(x), reference)

    def intervals(x, seed):
        resampled = scored(x) + (resample_weights(80, 200, seed) - 1) @ influences(x, reference)
        return interval(scored(x), resampled)

    assert 0.90 <= coverage(draw, scored, intervals, 250) <= 0.98


def test_nineteen_of_twenty_intervals_of_the_inception_score_hold_its_expectation():
    def draw(rng):
        return sure(np.minimum(rng.geometric(0.3, size=150) - 1, CLASSES - 1), 3.0, rng)

    def intervals(p, seed):
        return interval(inception_score(p), resampled_inception_scores(p, resample_weights(150, 200, seed)))

    assert 0.90 <= coverage(draw, inception_score, intervals, 250) <= 0.98


def test_weights_count_the_draws_with_replacement():
    weights = resample_weights(30, 50, seed=0)
    assert weights.shape == (50, 30)
    assert (weights.sum(axis=1) == 30).all()
    assert (weights == resample_weights(30, 50, seed=0)).all()


def test_a_bias_of_resampling_does_not_move_the_interval():
    low, high = interval(1.0, 7.0 + np.linspace(-1, 1, 401))
    assert (low, high) == pytest.approx((0.05, 1.95))


def test_an_interval_does_not_leave_the_possible_scores():
    assert interval(0.5, np.linspace(-1, 1, 401), least=0.0)[0] == 0.0


@pytest.mark.parametrize("resampled", [np.empty(0), np.ones(1), np.array([1.0, math.nan])])
def test_without_resamples_there_is_no_interval(resampled):
    assert np.isnan(interval(1.0, resampled)).all()
