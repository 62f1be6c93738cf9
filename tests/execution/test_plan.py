"""A plan knows sizes, costs and what is there, and trains nothing."""

import pytest

from harness.execution import plan as plan_module
from harness.execution.plan import cost_of
from harness.execution.run_suite import RunOptions, plan_suite, run_plan
from harness.suite.suite import load_suite


class Silence:
    def waiting(self, words): ...
    def planned(self, plan): ...
    def started(self, task): ...
    def progress(self, task, fraction, text): ...
    def ended(self, task, record): ...


@pytest.fixture
def plan(toy_suite, tmp_path):
    def plan(more):
        options = RunOptions(results=tmp_path / "results", serial=True, device="cpu")
        return plan_suite(load_suite(toy_suite(more)), options), options

    return plan


def test_costs_come_from_the_configuration_alone():
    config = {
        "model": {"name": "transformer", "width": 16, "layers": 1, "heads": 2},
        "data": {"name": "synthetic_digits", "seconds": 0.1},
        "train": {"steps": 10, "batch_size": 4, "crop": None},
    }
    cost = cost_of(config)
    assert cost.train_tokens == 10 * 4 * 800
    assert cost.parameters > 2 * 256 * 16
    assert cost.flops_per_token > 2 * cost.parameters * 0.5


def test_a_plan_tells_what_is_done_what_failed_and_what_is_to_run(plan):
    before, options = plan("vary: {model.wrong: [raise]}\nseeds: 1")
    assert [p.state for p in before.trials] == ["to run", "to run"]
    assert not options.results.exists()
    run_plan(before, options, Silence())
    after, _ = plan("vary: {model.wrong: [raise], model.width: [3]}\nseeds: 1")
    assert [p.state for p in after.trials] == ["cached", "failed", "to run"]
    assert after.trials[0].estimated_seconds == 0
    assert "broke" in after.trials[1].detail


def test_divergence_is_kept_because_it_would_repeat(plan):
    first, options = plan("vary: {model.wrong: [nan]}\nseeds: 1")
    outcome = run_plan(first, options, Silence())
    assert outcome.exit_code == 1
    again, _ = plan("vary: {model.wrong: [nan]}\nseeds: 1")
    assert [p.state for p in again.trials] == ["cached", "cached"]


def test_a_model_is_counted_once_for_all_that_train_it_otherwise(plan, monkeypatch):
    built = []
    monkeypatch.setattr("harness.evaluation.flops.build_to_count", lambda *_, **__: built.append(1))
    plan_module._counts_of.cache_clear()
    plan("vary: {train.learning_rate: [0.01, 0.02], train.steps: [3]}\nseeds: 2")
    plan_module._counts_of.cache_clear()  # what was counted here is no model
    assert len(built) == 1


def test_a_model_that_fails_is_planned_without_numbers_and_that_is_said(plan, monkeypatch, caplog):
    def fail(model, length):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("harness.evaluation.flops.flops_per_token", fail)
    monkeypatch.setattr("harness.execution.plan._counts_of", plan_module._counts_of.__wrapped__)
    cost = plan("seeds: 1")[0].trials[0].cost
    assert cost.parameters and cost.flops_per_token is None
    assert "fails as it is counted (RuntimeError: shapes do not fit)" in caplog.text
