import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis.statistics import (
    Estimate,
    best_of,
    by_seed,
    check_one_row_a_trial,
    estimate,
    estimates,
    paired_difference,
    verdict,
)

numbers = st.floats(-1e3, 1e3, allow_nan=False)


@given(st.lists(numbers, min_size=2, max_size=8))
@settings(max_examples=30, deadline=None)
def test_the_interval_is_that_of_scipy(values):
    found = estimate(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    if np.ptp(values) > 1e-6:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    else:
        assert found.half_width == pytest.approx(0, abs=1e-5)


def test_an_interval_worked_out_by_hand():
    # mean 2, standard deviation 1, t(0.975, 2) = 4.302653, divided by the root of 3
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3)
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)


def test_one_seed_has_a_mean_and_no_interval():
    found = estimate([3.5])
    assert found.mean == 3.5 and found.n == 1
    assert math.isnan(found.low) and math.isnan(found.high)


def test_what_was_not_measured_is_left_out_and_nothing_at_all_is_nan():
    assert estimate([1.0, math.nan, 3.0]) == estimate([1.0, 3.0])
    assert estimate([]).n == 0 and math.isnan(estimate([math.nan]).mean)


def test_an_infinite_value_stays_visible_in_the_mean():
    found = estimate([1.0, math.inf])
    assert found.mean == math.inf and math.isnan(found.low)


def test_the_paired_difference_uses_the_seeds_that_both_have():
    variant = pd.Series({0: 1.1, 1: 2.1, 2: 9.0})
    base = pd.Series({0: 1.0, 1: 2.05, 3: 7.0})
    found = paired_difference(variant, base)
    assert found.n == 2
    low, high = stats.ttest_rel([1.1, 2.1], [1.0, 2.05]).confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high))


def test_pairing_sees_through_what_seeds_have_in_common():
    common = pd.Series({0: 1.0, 1: 5.0, 2: 9.0})
    variant = common - pd.Series({0: 0.10, 1: 0.11, 2: 0.09})
    assert verdict(paired_difference(variant, common), "lower") == "better"
    assert estimate(variant).low < estimate(common).mean < estimate(variant).high


@pytest.mark.parametrize(
    ("low", "high", "better", "expected"),
    [
        (-0.3, -0.1, "lower", "better"),
        (-0.3, -0.1, "higher", "worse"),
        (0.1, 0.3, "lower", "worse"),
        (-0.1, 0.3, "lower", "indistinguishable"),
        (0.0, 0.0, "lower", "indistinguishable"),
        (0.2, 0.2, "higher", "better"),
        (0.1, 0.3, None, "-"),
        (math.nan, math.nan, "lower", "-"),
    ],
)
def test_a_verdict_needs_an_interval_that_leaves_out_zero(low, high, better, expected):
    assert verdict(Estimate((low + high) / 2, low, high, 3), better) == expected


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(5.0, 2.0, (2000, 3))
    covered = [found.low <= 5.0 <= found.high for found in map(estimate, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_a_failed_trial_enters_no_average(data):
    table = data.table.copy()
    failed = (table["variant"] == "mixer=attention") & (table["status"] != "ok")
    table.loc[failed, "nll_bits_test"] = 1e9
    assert failed.sum() == 1
    assert estimates(table, "nll_bits_test", data.variants)["mixer=attention"].n == 2
    assert "layers=4" not in by_seed(table, "nll_bits_test")


def test_a_column_that_is_not_there_has_no_estimates(data):
    assert estimates(data.table, "no_such_column", data.variants) == {}


def test_the_best_is_the_lowest_or_the_highest_or_nobody():
    means = {"a": 2.0, "b": 1.0, "c": math.nan}
    assert best_of(means, "lower") == "b"
    assert best_of(means, "higher") == "a"
    assert best_of(means, None) is None


def test_a_table_with_strangers_or_doubles_is_refused(data):
    with pytest.raises(ValueError, match="does not list: unigram"):
        check_one_row_a_trial(data.table, data.variants[:-1])
    with pytest.raises(ValueError, match="'base', seed 0"):
        check_one_row_a_trial(pd.concat([data.table, data.table.iloc[:1]]), data.variants)
