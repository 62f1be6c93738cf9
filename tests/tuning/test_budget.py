"""A suite may say what it may cost; a run that is expected to cost more is refused, or ends by the clock."""

import json
import time

import pytest
from typer.testing import CliRunner

import harness
from harness.cli.main import app
from harness.errors import HarnessError
from harness.execution.run_suite import INCOMPLETE, RunOptions, plan_suite, run_plan
from harness.execution.spending import keep_to_budget
from harness.store.record import read_record

EXPENSIVE = "train.steps=100000000"


@pytest.mark.parametrize(
    ("budget", "overrides", "words"),
    [
        ("trials: 5", [], ["trials: 6 expected, 5 allowed, 1 too many", "fewer seeds or variants"]),
        ("hours: 0.1", [EXPENSIVE], ["hours: about", "0.1 allowed", "--max-hours", "or raise `budget`"]),
    ],
)
def test_a_run_over_budget_is_refused_before_anything_is_written(load, tmp_path, budget, overrides, words):
    suite = load(f"budget: {{{budget}}}\n", overrides=overrides)
    folder = tmp_path / "results"
    with pytest.raises(HarnessError) as refused:
        keep_to_budget(suite, RunOptions(serial=True, device="cpu", results=folder))
    for each in words:
        assert each in str(refused.value)
    assert not folder.exists()


def test_gpu_hours_are_those_of_a_gpu(load, tmp_path):
    suite = load("budget: {gpu_hours: 0.1}\n", overrides=[EXPENSIVE])
    keep_to_budget(suite, RunOptions(device="cpu", slots=2, results=tmp_path))
    with pytest.raises(HarnessError, match="gpu_hours: about"):
        keep_to_budget(suite, RunOptions(device="cuda", slots=2, results=tmp_path))


def test_a_search_is_part_of_what_is_expected(load, tmp_path):
    tune = "tune: {over: {train.learning_rate: {choice: [1e-3, 1e-2]}}, trials: 1000}\n"
    options = RunOptions(device="cpu", slots=1, results=tmp_path)
    keep_to_budget(load("budget: {hours: 0.5}\n"), options)
    with pytest.raises(HarnessError, match="search trials"):
        keep_to_budget(load("budget: {hours: 0.5}\n" + tune), options)


def test_a_run_whose_clock_ends_it_may_be_larger_than_its_budget(load, tmp_path):
    suite = load("budget: {hours: 0.1}\n", overrides=[EXPENSIVE])
    keep_to_budget(suite, RunOptions(device="cpu", results=tmp_path, until=time.monotonic() + 60))


def test_no_trial_is_begun_after_the_time_and_a_second_run_continues(load, silence, tmp_path):
    suite = load("")
    began = []

    class Clock(silence):
        def started(self, task):
            began.append(task.trial.key)
            if len(began) == 2:
                object.__setattr__(limited, "until", time.monotonic())

    limited = RunOptions(serial=True, device="cpu", results=tmp_path, until=time.monotonic() + 600)
    outcome = run_plan(plan_suite(suite, limited), limited, Clock())
    assert len(began) == 2 and outcome.statuses == {"ok": 2, "missing": 4}
    assert outcome.exit_code == INCOMPLETE and outcome.held_back == 4
    rest = RunOptions(serial=True, device="cpu", results=tmp_path)
    second = run_plan(plan_suite(suite, rest), rest, silence())
    assert (second.ran, second.cached, second.exit_code) == (4, 2, 0)
    assert (harness.load_results(tmp_path)["status"] == "ok").all()


def test_a_plan_expects_the_median_pace_of_the_stores_finished_trials(searched):
    options = RunOptions(serial=True, device="cpu", results=searched.folder)
    plan = plan_suite(searched.suite, options)
    seconds = [
        read_record(path).columns["train_seconds"]
        for path in searched.folder.glob("trials/base-*/record.json")
    ]
    cost = plan.trials[0].cost
    flops = 3.0 * cost.flops_per_token * cost.train_tokens
    assert plan.speed["base"] == pytest.approx(sum(flops / each for each in seconds) / len(seconds))


def test_the_plan_tells_what_is_over_budget_and_how_much_is_to_be_searched(load, tmp_path):
    tune = "tune: {over: {train.learning_rate: {choice: [1e-3, 1e-2]}}, trials: 3, max_steps: 5}\n"
    suite = load("budget: {trials: 1}\n" + tune)
    arguments = [
        "plan",
        str(suite.document.file),
        "-p",
        "default",
        "-r",
        str(tmp_path / "none"),
        "--slots",
        "1",
    ]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0
    words = " ".join(told.output.split())
    assert "2 variants x 3 search trials of 5 steps; 0 searched; at most about" in words
    assert "over budget: trials: 6 expected, 1 allowed, 5 too many" in words
    plain = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert plain["searches"]["trials"] == 6


def test_a_run_without_time_searches_nothing_and_says_so(load, tmp_path):
    suite = load("tune: {over: {train.learning_rate: {choice: [1e-3, 1e-2]}}, trials: 3, max_steps: 5}\n")
    told = CliRunner().invoke(
        app,
        [
            "run",
            str(suite.document.file),
            "-p",
            "default",
            "-r",
            str(tmp_path),
            "--serial",
            "--max-hours",
            "0",
        ],
    )
    assert told.exit_code == INCOMPLETE
    assert "base, width=8 not searched; the same command continues" in told.output
