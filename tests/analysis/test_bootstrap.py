"""Aggregates against rliable 1.2.0, whose answers to the same numbers stand here."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis.statistics import (
    improvement_interval,
    interquartile_mean,
    percentile_interval,
    probability_of_improvement,
    stratified_resamples,
)


@pytest.fixture(scope="module")
def scores():
    """Two algorithms on three tasks, twelve and ten runs; what rliable was given."""
    random = np.random.default_rng(7)
    x = np.round(random.normal(3.0, 0.2, (12, 3)), 3)
    y = np.round(random.normal(3.1, 0.2, (10, 3)), 3)
    x[0, 0] = y[0, 0]
    return x, y


def test_the_interquartile_mean_is_that_of_rliable(scores):
    assert interquartile_mean(scores[0]) == pytest.approx(2.922444444444445, rel=1e-12)


def test_the_probability_of_improvement_is_that_of_rliable(scores):
    assert probability_of_improvement(*scores) == pytest.approx(0.19305555555555554, rel=1e-12)


def test_the_bootstrap_intervals_are_those_of_rliable_but_for_chance(scores):
    # 50,000 and 20,000 resamples there; the ends move by about half a percent of the width
    drawn = interquartile_mean(stratified_resamples(scores[0], seed=0, resamples=10_000))
    assert percentile_interval(drawn) == pytest.approx((2.86072222, 2.97977778), abs=0.004)
    assert improvement_interval(*scores, resamples=5000) == pytest.approx((0.1, 0.30277778), abs=0.01)


@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=6), st.lists(st.integers(-5, 5), min_size=1, max_size=6)
)
@settings(max_examples=40, deadline=None)
def test_one_task_gives_the_statistic_of_mann_and_whitney(x, y):
    expected = stats.mannwhitneyu(x, y).statistic / (len(x) * len(y))
    assert probability_of_improvement(np.array(x)[:, None], np.array(y)[:, None]) == pytest.approx(expected)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_the_interquartile_mean_is_scipys_trimmed_mean(values):
    expected = stats.trim_mean(values, 0.25)
    assert interquartile_mean(np.array(values)[:, None]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_runs_are_drawn_within_their_task():
    drawn = stratified_resamples([[0.0, 10.0], [1.0, 11.0]], seed=0, resamples=50)
    assert drawn.shape == (50, 2, 2)
    assert {*drawn[..., 0].ravel()} == {0.0, 1.0} and {*drawn[..., 1].ravel()} == {10.0, 11.0}


def test_the_same_seed_draws_the_same():
    values = np.arange(12.0).reshape(6, 2)
    assert (stratified_resamples(values, seed=1) == stratified_resamples(values, seed=1)).all()
    assert improvement_interval(values, values + 1) == improvement_interval(values, values + 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(0, 99))
def test_the_interval_of_an_improvement_is_that_of_the_resampled_runs(n, m, tasks, seed):
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 4, (n, tasks)), random.integers(0, 4, (m, tasks))
    draws = np.random.default_rng([seed, 0])
    drawn = [
        np.take_along_axis(runs[None], draws.integers(len(runs), size=(90, *runs.shape)), axis=1)
        for runs in (x, y)
    ]
    expected = percentile_interval(probability_of_improvement(*drawn))
    assert improvement_interval(x, y, seed=seed, resamples=90) == pytest.approx(expected, abs=1e-12)


def test_an_interval_needs_two_values():
    assert all(map(math.isnan, percentile_interval([1.0])))
