"""Bins whose shares differ: the test of a bin, samples of one distribution, lost modes, few clips."""

import numpy as np
import pytest

from harness.evaluation.quality.bins import BINS, differ, different_bins


def test_a_bin_differs_by_the_two_proportion_test():
    # z of 30 in 100 against 20 in 100 is 1.633, of 35 against 20 it is 2.376.
    assert not differ(np.array([30, 70]), np.array([20, 80])).any()
    assert differ(np.array([35, 65]), np.array([20, 80])).all()


def test_a_bin_that_is_empty_in_both_does_not_differ_and_one_empty_in_one_may():
    assert differ(np.array([0, 0, 50]), np.array([0, 20, 80])).tolist() == [False, True, True]


def test_samples_of_one_distribution_differ_in_few_bins_and_half_of_the_modes_in_most():
    rng = np.random.default_rng(0)
    centres = 5 * rng.normal(size=(10, 8))
    training = centres[rng.integers(10, size=3000)] + rng.normal(size=(3000, 8))
    same = centres[rng.integers(10, size=1500)] + rng.normal(size=(1500, 8))
    half = centres[rng.integers(5, size=1500)] + rng.normal(size=(1500, 8))
    assert different_bins(same, training, np.random.default_rng(0)) < 0.2
    assert different_bins(half, training, np.random.default_rng(0)) > 0.8


def test_a_set_does_not_differ_from_itself_and_the_seed_decides_the_bins():
    features = np.random.default_rng(1).normal(size=(200, 4))
    assert different_bins(features, features, np.random.default_rng(0)) == 0
    other = np.random.default_rng(2).normal(size=(200, 4)) + 0.5
    once, again = (different_bins(other, features, np.random.default_rng(7)) for _ in range(2))
    assert once == again


@pytest.mark.parametrize("training", [np.ones((500, 4)), np.eye(BINS - 1)])
def test_fewer_different_clips_than_bins_have_no_bins(training):
    assert np.isnan(different_bins(training[:10], training, np.random.default_rng(0)))
