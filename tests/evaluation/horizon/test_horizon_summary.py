"""From curves to the few numbers of a row."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_memories import few

from harness.evaluation.horizon.cut import Rises, distances
from harness.evaluation.horizon.summary import depth, half_distance, long_distance, rank_correlation


def curve(rises):
    return {every: Rises(rise, math.nan) for every, rise in rises.items()}


def test_half_of_a_rise_is_found_between_two_cuts():
    assert half_distance(curve({1: 1.0, 2: 1.0, 4: 1.0, 16: 0.0})) == pytest.approx(8.0)
    assert math.isinf(half_distance(curve({1: 1.0, 2: 0.9})))
    assert math.isnan(half_distance(curve({1: 1e-5, 2: 0.0})))
    assert math.isnan(half_distance(curve({1: -0.1, 2: 0.0})))


def test_depth_is_the_mean_level_of_what_is_worth_something():
    assert depth({0: 1.0, 1: 0.0, 2: 1.0}) == 1.0
    assert depth({0: 1.0, 3: -5.0}) == 0.0
    assert math.isnan(depth({0: 0.0, 1: -1.0}))


def test_rank_correlation_leaves_out_what_is_not_known():
    assert rank_correlation([0, 1, 2, 3], [1.0, 8.0, math.nan, 9.0]) == pytest.approx(1.0)
    assert math.isnan(rank_correlation([0, 1], [1.0, math.nan]))
    assert rank_correlation([0, 1, 2], [5.0, 5.0, 1.0]) == pytest.approx(-math.sqrt(3) / 2)


@given(length=st.integers(2, 10**6))
@few
def test_what_counts_as_long_is_one_of_the_distances(length):
    assert long_distance(length) in distances(length)
