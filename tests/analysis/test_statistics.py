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
    contrasts,
    estimate,
    estimates,
    holm,
    may_be_best,
    paired_difference,
    seeds_needed,
    smallest_difference,
    t_interval,
    verdict,
)
from harness.analysis.statistics.paired import p_value

numbers = st.floats(-1e3, 1e3, allow_nan=False)


# ------------------------------------------------------------------------------------- estimates


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


def test_the_interval_covers_the_truth_as_often_as_it_says():
    for seeds in (2, 3, 5):
        found = t_interval(np.random.default_rng(0).normal(5.0, 2.0, (seeds, 4000)))
        covered = (found.low <= 5.0) & (found.high >= 5.0)
        assert covered.mean() == pytest.approx(0.95, abs=0.02)


# ----------------------------------------------------------------------------- paired differences


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


@pytest.fixture(scope="module")
def values():
    """Four variants and a base, four seeds; one variant lacks a seed, one has a single one."""
    draws = np.random.default_rng(3).normal(3.0, 0.1, (4, 5))
    frame = pd.DataFrame(draws, columns=["base", "a", "b", "c", "once"])
    frame["b"] += 2.0
    frame.loc[1, "c"] = math.nan
    frame.loc[1:, "once"] = math.nan
    return frame


def test_the_p_value_of_a_contrast_is_that_of_scipys_paired_t_test(values):
    found = contrasts(values, "base", "lower")
    for variant in ("a", "b", "c"):
        both = values[[variant, "base"]].dropna()
        expected = stats.ttest_rel(both[variant], both["base"])
        assert found[variant].p == pytest.approx(expected.pvalue, rel=1e-9)
        assert found[variant].deviation == pytest.approx((both[variant] - both["base"]).std(ddof=1))
        assert found[variant].difference == pytest.approx(paired_difference(values[variant], values["base"]))


def test_a_verdict_goes_by_the_p_value_corrected_for_all_variants(values):
    found = contrasts(values, "base", "lower")
    known = ["a", "b", "c"]
    corrected = holm([found[variant].p for variant in known])
    assert [found[variant].p_corrected for variant in known] == pytest.approx(corrected.tolist())
    assert found["b"].verdict == "worse" and contrasts(values, "base", "higher")["b"].verdict == "better"
    assert found["a"].verdict == "indistinguishable"


def test_one_seed_gets_no_verdict_and_costs_the_others_nothing(values):
    assert contrasts(values, "base", "lower")["once"].verdict == "-"
    without = contrasts(values.drop(columns="once"), "base", "lower")
    assert without["a"].p_corrected == contrasts(values, "base", "lower")["a"].p_corrected


def test_what_never_varies_is_exact():
    frame = pd.DataFrame({"base": [8.0] * 3, "same": [8.0] * 3, "more": [16.0] * 3})
    found = contrasts(frame, "base", "lower")
    assert (found["same"].p, found["same"].verdict) == (1.0, "indistinguishable")
    assert (found["more"].p, found["more"].verdict) == (0.0, "worse")


def test_an_infinite_value_gets_no_verdict():
    frame = pd.DataFrame({"base": [1.0, 2.0, 3.0], "a": [1.0, math.inf, 3.0]})
    assert contrasts(frame, "base", "lower")["a"].verdict == "-"


@given(
    st.integers(2, 8),
    st.integers(1, 8),
    st.floats(0.0, 12.0),
    st.sampled_from(["lower", "higher"]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_the_corrected_interval_leaves_out_zero_exactly_where_the_verdict_is_better_or_worse(
    seeds, variants, shift, better, seed
):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(seeds, 1 + variants)) + shift * np.arange(1 + variants) ** 2)
    frame.columns = ["base", *map(str, range(variants))]
    for found in contrasts(frame, "base", better).values():
        low, high = found.low_corrected, found.high_corrected
        side = "better" if (low > 0) == (better == "higher") else "worse"
        assert found.verdict == ("indistinguishable" if low <= 0 <= high else side)
        assert low <= found.difference.low + 1e-9 and found.difference.high <= high + 1e-9


def test_the_corrected_interval_of_the_smallest_p_value_is_that_of_bonferroni(values):
    found = contrasts(values, "base", "lower")
    smallest = min(found.values(), key=lambda each: each.p if each.p == each.p else 2)
    differences = (values["b"] - values["base"]).to_numpy()
    low, high = stats.t.interval(1 - 0.05 / 3, 3, differences.mean(), stats.sem(differences))
    assert found["b"] is smallest
    assert (smallest.low_corrected, smallest.high_corrected) == pytest.approx((low, high))


def test_what_never_varies_has_an_interval_without_width_and_one_seed_has_none(values):
    frame = pd.DataFrame({"base": [8.0] * 3, "same": [8.0] * 3, "more": [16.0] * 3})
    found = contrasts(frame, "base", "lower")
    assert (found["same"].low_corrected, found["same"].high_corrected) == (0.0, 0.0)
    assert (found["more"].low_corrected, found["more"].high_corrected) == (8.0, 8.0)
    assert math.isnan(contrasts(values, "base", "lower")["once"].low_corrected)


# -------------------------------------------------------------------------------------- correction


def test_holms_correction_is_that_of_statsmodels():
    # multipletests([.001, .02, .03, .04, .6], method="holm")[1], statsmodels 0.15.0
    assert holm([0.001, 0.02, 0.03, 0.04, 0.6]) == pytest.approx([0.005, 0.08, 0.09, 0.09, 0.6])
    assert holm([0.6, 0.04, 0.001, 0.03, 0.02]) == pytest.approx([0.6, 0.09, 0.005, 0.09, 0.08])


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(p_values)
@settings(max_examples=50, deadline=None)
def test_a_correction_keeps_the_order_and_lowers_nothing(p):
    found = holm(p)
    assert (found >= np.array(p) - 1e-12).all() and (found <= 1).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert found.min() == pytest.approx(min(1.0, len(p) * min(p)))


@given(p_values, st.floats(0.1, 10))
@settings(max_examples=30, deadline=None)
def test_equal_weights_change_nothing(p, weight):
    assert holm(p, weights=weight) == pytest.approx(holm(p))


def test_a_heavier_comparison_is_corrected_less():
    p = [0.02, 0.02, 0.02]
    found = holm(p, weights=[0.5, 0.25, 0.25])
    assert found[0] == pytest.approx(0.04) and found[1] == found[2] == pytest.approx(0.04)
    assert holm([0.02, 0.9, 0.9], weights=[0.5, 0.25, 0.25])[0] == pytest.approx(0.04)


def test_families_are_corrected_apart_and_what_was_not_compared_stays_out():
    both = holm([[0.01, math.nan, 0.04], [0.5, 0.5, 0.5]])
    assert both[0] == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    assert both[1] == pytest.approx([1.0, 1.0, 1.0])


def test_a_part_of_a_family_is_corrected_for_all_of_it():
    assert holm([0.01, 0.02], comparisons=10) == pytest.approx([0.1, 0.18])


def test_at_most_one_null_suite_in_twenty_has_a_false_verdict():
    random = np.random.default_rng(1)
    shares = {}
    for seeds, variants in ((3, 6), (5, 14)):
        draws = random.normal(size=(seeds, 1000, variants)) + 2 * random.normal(size=(seeds, 1000, 1))
        p = p_value(t_interval(draws[..., 1:] - draws[..., :1]))
        shares[seeds] = (holm(p) <= 0.05).any(axis=-1).mean()
        assert (p <= 0.05).any(axis=-1).mean() > 0.15, "each asked alone, they are wrong far more often"
    # 1000 suites: a share of 5 % is seen within 1.4 points of it
    assert all(share <= 0.064 for share in shares.values()), shares


# -------------------------------------------------------------------------- who may be the best


def test_who_is_clearly_behind_is_not_among_the_possibly_best():
    common = np.random.default_rng(0).normal(size=(5, 1))
    noise = np.random.default_rng(1).normal(scale=0.01, size=(5, 3))
    frame = pd.DataFrame(common + noise + [0.0, 0.001, 1.0], columns=["best", "near", "far"])
    assert may_be_best(frame, frame.mean().idxmin()) >= {"near"} or frame.mean().idxmin() == "near"
    assert "far" not in may_be_best(frame, frame.mean().idxmin())


def test_the_truly_best_is_among_the_possibly_best():
    random = np.random.default_rng(2)
    hits = 0
    for _ in range(60):
        frame = pd.DataFrame(random.normal(size=(4, 6)) + 0.3 * np.arange(6), columns=list("abcdef"))
        best = frame.mean().idxmin()
        hits += "a" in {best, *may_be_best(frame, best)}
    assert hits / 60 >= 0.93


# ------------------------------------------------------------------------------------------- power


@pytest.mark.parametrize(
    ("n", "comparisons", "expected"), [(3, 1, 3.264043553), (5, 1, 1.681997083), (10, 4, 1.284296605)]
)
def test_the_smallest_visible_difference_is_that_of_statsmodels(n, comparisons, expected):
    # TTestPower().solve_power(nobs=n, alpha=.05 / comparisons, power=.8), statsmodels 0.15.0
    assert smallest_difference(1.0, n, comparisons=comparisons) == pytest.approx(expected, rel=1e-6)
    assert smallest_difference(0.02, n, comparisons=comparisons) == pytest.approx(0.02 * expected, rel=1e-6)


def test_such_a_difference_is_seen_as_often_as_it_says():
    random = np.random.default_rng(4)
    for n, comparisons in ((3, 1), (3, 13), (5, 13)):
        draws = smallest_difference(1.0, n, comparisons=comparisons) + random.normal(size=(n, 4000))
        seen = comparisons * p_value(t_interval(draws)) <= 0.05
        assert seen.mean() == pytest.approx(0.8, abs=0.025)


def test_the_seeds_needed_are_those_of_statsmodels_rounded_up():
    # TTestPower().solve_power: 9.94 for one deviation, 59.9 for half of one at a thirteenth of the level
    assert seeds_needed(1.0, 1.0) == 10
    assert seeds_needed(1.0, 0.5, comparisons=13) == 60
    assert seeds_needed(1.0, 1e-6) is None


def test_one_seed_sees_nothing():
    assert math.isnan(smallest_difference(1.0, 1)) and math.isnan(smallest_difference(math.nan, 3))


# ------------------------------------------------------------------------------------------ tables


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
