"""The benchmarks of the runner: suites to run, spoilt suites, and commands with help."""

import importlib

import pytest
from typer.testing import CliRunner

from benchmarks import fuzz, overhead
from benchmarks.runner import spoilers
from benchmarks.runner.suites import write_featherweights, write_mixed
from harness.suite.source import read_scalar
from harness.suite.suite import load_suite


@pytest.mark.parametrize("name", ["chaos", "overhead", "fuzz"])
def test_help_has_an_example(name):
    done = CliRunner().invoke(importlib.import_module(f"benchmarks.{name}").app, ["--help"])
    assert done.exit_code == 0
    assert f"Example: python -m benchmarks.{name}" in done.output


def test_suites_have_the_trials_that_were_asked_for(tmp_path):
    suite = load_suite(write_featherweights(tmp_path / "a.yaml", variants=5, seeds=3))
    assert len(suite.trials) == 15
    suite = load_suite(write_mixed(tmp_path / "b.yaml", seeds=4, steps=2, pause=0.0))
    assert len(suite.trials) == 40
    assert {trial.config["model"]["name"] for trial in suite.trials} == {
        "featherweight", "poolformer", "transformer", "markov",
    }  # fmt: skip


def test_the_suite_that_is_spoilt_is_good(tmp_path):
    assert fuzz.outcome_of(spoilers.SUITE, tmp_path) == 0


def test_a_spoilt_suite_is_planned_or_refused_with_one_message_and_leaves_no_file():
    codes = fuzz.check(examples=20, seed=1)
    assert codes.total() >= 20 and codes[2] > 0


def test_what_is_neither_success_nor_a_message_is_found(tmp_path, monkeypatch):
    def broken():
        raise SystemExit(1)

    monkeypatch.setattr(fuzz, "main", broken)
    with pytest.raises(AssertionError, match="exit code 1"):
        fuzz.outcome_of(spoilers.SUITE, tmp_path)


def test_a_run_may_take_a_twentieth_more_than_its_training_on_all_slots():
    row = {"name": "suite", "exit_code": 0, "peak_mb": 1.0}
    limits = (overhead.of_training(200.0, slots=2), None)
    assert limits[0] == 105.0
    assert overhead._judge({**row, "seconds": 104.0}, 4, "", limits)["status"] == "ok"
    assert overhead._judge({**row, "seconds": 106.0}, 4, "", limits)["status"] == "out of time limit"
    assert overhead._judge({**row, "seconds": 1.0, "exit_code": 1}, 4, "", limits)["status"] == "failed"


def test_grafted_suites_are_read_and_some_of_them_are_good(tmp_path):
    assert fuzz.outcome_of(spoilers._lines(read_scalar(spoilers.SUITE)), tmp_path) == 0
