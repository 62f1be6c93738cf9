"""The search finds the width whose cost is closest to a budget, whatever widths a model accepts."""

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from harness.errors import ConfigError
from harness.suite.width_search import closest, search


def quadratic(width):
    return 12 * width**2 + 700 * width + 5000


def test_the_closest_width_is_found_in_a_handful_of_evaluations():
    tried = search(quadratic, lambda width: True, start=64, budget=quadratic(391))
    assert closest(tried, quadratic(391))[0] == 391
    assert len(tried) <= 6


def test_widths_that_a_model_refuses_are_skipped_early_or_late():
    def late(width):
        if width % 16:
            raise ConfigError("width", "must be divisible by 16")
        return quadratic(width)

    tried = search(late, lambda width: width % 8 == 0, start=64, budget=quadratic(100))
    assert closest(tried, quadratic(100), 2) == [96, 112]


def test_nothing_is_found_where_nothing_is_accepted():
    assert search(quadratic, lambda width: False, start=64, budget=1e6) == {}


def test_a_budget_below_the_smallest_width_gives_the_smallest():
    tried = search(quadratic, lambda width: width % 4 == 0, start=64, budget=10.0)
    assert closest(tried, 10.0)[0] == 4


def test_good_enough_ends_the_search():
    tried = search(quadratic, lambda width: True, start=100, budget=1.004 * quadratic(100), enough=0.01)
    assert list(tried) == [100]


@settings(deadline=None, max_examples=60)
@given(
    exponent=st.floats(0.6, 2.3),
    linear=st.floats(0, 50),
    constant=st.floats(0, 5000),
    divisor=st.sampled_from([1, 2, 6, 16]),
    stair=st.sampled_from([1, 8]),
    start=st.sampled_from([8, 64, 500]),
    wanted=st.integers(2, 1000),
    off=st.floats(0.98, 1.02),
)
@example(exponent=1.0, linear=0.001953125, constant=0.0, divisor=1, stair=8, start=8, wanted=12, off=1.0)
def test_no_accepted_width_is_closer_than_the_one_found(
    exponent, linear, constant, divisor, stair, start, wanted, off
):
    def cost(width):
        hidden = stair * max(1, round(width / stair))  # as models round their inner widths
        return constant + linear * width + 3 * hidden**exponent

    budget = off * cost(wanted)
    tried = search(cost, lambda width: width % divisor == 0, start=start, budget=budget)
    assume(tried)
    found = abs(cost(closest(tried, budget)[0]) - budget)
    best = min(abs(cost(width) - budget) for width in range(divisor, 2000, divisor))
    assert found <= best + 1e-9 * budget
    assert len(tried) <= 30
