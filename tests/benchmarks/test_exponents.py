"""Slopes of log cost over log size, and what they predict."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.exponents import fit, predict

sizes = [2.0**k for k in range(10, 17)]


@given(exponent=st.floats(-1, 4), constant=st.floats(1e-3, 1e3))
def test_a_power_is_found_exactly_and_its_interval_is_narrow(exponent, constant):
    found = fit(sizes, [constant * size**exponent for size in sizes])
    assert found.exponent == pytest.approx(exponent, abs=1e-9)
    assert found.constant == pytest.approx(constant, rel=1e-6)
    assert found.high - found.low < 1e-6
    assert found.points == len(sizes)


def test_the_interval_is_that_of_linear_regression():
    noise = np.random.default_rng(0).normal(0, 0.1, len(sizes))
    costs = [size**1.5 * math.exp(e) for size, e in zip(sizes, noise, strict=True)]
    expected = stats.linregress(np.log(sizes), np.log(costs))
    half_width = stats.t.ppf(0.975, len(sizes) - 2) * expected.stderr
    found = fit(sizes, costs)
    assert found.exponent == pytest.approx(expected.slope)
    assert (found.low, found.high) == pytest.approx(
        (expected.slope - half_width, expected.slope + half_width)
    )


def test_two_points_have_a_slope_without_an_interval_and_one_has_nothing():
    two = fit([1, 4], [3, 6])
    assert two.exponent == pytest.approx(0.5) and math.isnan(two.low) and math.isnan(two.high)
    assert math.isnan(fit([5], [7]).exponent)
    assert math.isnan(fit([5, 5], [7, 8]).exponent)
    assert fit([], []).points == 0


def test_the_next_cost_is_expected_to_rise_as_the_last_three_did():
    assert predict([1, 2, 4, 8], [100, 2, 8, 32], 16) == pytest.approx(128)
    assert predict([4], [8], 16) == pytest.approx(32)
    assert predict([1, 2], [10, 10], 4) == pytest.approx(10)
    assert predict([1, 2], [10, 10], 4, at_least=1.0) == pytest.approx(20)
