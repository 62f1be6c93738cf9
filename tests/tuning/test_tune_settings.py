"""What a suite may say about its search, what it is refused for, and how settings are drawn."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.suite.tune import TuneConfig, draws
from harness.tuning.halving import Halving
from harness.tuning.search import searches


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "tune: {over: {train.beta1: {choice: [0.5]}}, trails: 3}",
            ["toy.yaml:12:", "did you mean 'trials'?"],
        ),
        ("tune: {trials: 3}", ["tune.over: names no setting to search"]),
        ("tune: {over: {learning_rate: {choice: [1]}}}", ["toy.yaml:12:", "`train.learning_rate`"]),
        ("tune: {over: {train.steps: {choice: [1]}}}", ["cannot be searched", "`max_steps` sets it"]),
        ("tune: {over: {data.length: {choice: [1]}}}", ["a setting of `model` or `train`"]),
        ("tune: {over: {train.beta1: {log_unifrom: [1, 2]}}}", ["did you mean 'log_uniform'?"]),
        ("tune: {over: {train.beta1: {log_uniform: [0, 2]}}}", ["must be above 0"]),
        ("tune: {over: {train.beta1: {uniform: [2, 1]}}}", ["the first must be below the second"]),
        ("tune: {over: {train.batch_size: {integers: [1, 2.5]}}}", ["expected two whole numbers"]),
        ("tune: {over: {train.beta1: {choice: []}}}", ["expected a list of values"]),
        ("tune: {over: {train.learnin_rate: {choice: [1]}}}", ["toy.yaml:12:", "'learning_rate'"]),
        ("tune: {over: {model.widht: {choice: [1]}}}", ["toy.yaml:12:", "no model of this suite has"]),
        ("tune: {over: {train.beta1: {choice: [2]}}}", ["toy.yaml:12:", "must lie in [0, 1)"]),
        ("match: {}\ntune: {over: {model.width: {choice: [4]}}}", ["would undo the equal budgets"]),
        ("budget: {hours: 0}", ["must be above 0, or left out"]),
        ("budget: {hour: 1}", ["did you mean 'hours'?"]),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_cure(load, said, words):
    with pytest.raises(HarnessError) as refused:
        searches(load(said + "\n"))
    for each in words:
        assert each in str(refused.value)


def test_neither_a_search_nor_a_budget_changes_a_key(load):
    plain = load("")
    with_both = load("tune: {over: {train.learning_rate: {choice: [1, 2]}}}\nbudget: {hours: 3}\n")
    assert [trial.key for trial in plain.trials] == [trial.key for trial in with_both.trials]


@given(st.integers(1, 40), st.integers(0, 5))
def test_draws_cover_the_range_evenly_and_do_not_depend_on_what_else_is_searched(trials, seed):
    rate = {"train.learning_rate": {"log_uniform": [1e-4, 1e-1]}}
    decay = {"train.weight_decay": {"uniform": [0.0, 1.0]}, "train.batch_size": {"integers": [1, 4]}}
    tune = TuneConfig(over=rate, trials=trials, seed=seed)
    alone = [drawn["train.learning_rate"] for drawn in draws(tune, rate)]
    beside = draws(tune, {**decay, **rate})
    assert alone == [drawn["train.learning_rate"] for drawn in beside]
    parts = sorted(trials * math.log(value / 1e-4) / math.log(1e3) for value in alone)
    assert all(part - 0.01 < place < part + 1.01 for part, place in enumerate(parts))
    assert all(1 <= drawn["train.batch_size"] <= 4 for drawn in beside)


@given(st.lists(st.floats(allow_nan=True), min_size=1, max_size=30), st.integers(2, 4))
def test_whoever_is_the_best_so_far_goes_on_and_a_share_is_stopped(values, reduction):
    halving = Halving(grace=1, reduction=reduction, most=100)
    finite = [value if math.isfinite(value) else math.inf for value in values]
    for trial, value in enumerate(values):
        goes_on = halving.goes_on(trial, 1, value)
        if finite[trial] <= min(finite[: trial + 1]):
            assert goes_on
        if trial and finite[trial] > max(finite[:trial]):
            assert not goes_on


def test_nobody_is_stopped_where_there_is_no_halt_before_the_end():
    halving = Halving(grace=10, reduction=3, most=10)
    assert all(halving.goes_on(trial, 10, float(trial)) for trial in range(5))
