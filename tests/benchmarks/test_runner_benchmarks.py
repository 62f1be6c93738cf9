"""The benchmarks of the runner: suites to run, spoilt suites, and commands with help."""

import importlib

import pytest
from typer.testing import CliRunner

from benchmarks import fuzz
from benchmarks.runner.suites import write_featherweights, write_mixed
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
    assert fuzz.outcome_of(fuzz.SUITE, tmp_path) == 0


def test_a_spoilt_suite_is_planned_or_refused_with_one_message_and_leaves_no_file():
    codes = fuzz.check(examples=50, seed=1)
    assert codes.total() >= 50 and codes[2] > 0


def test_what_is_neither_success_nor_a_message_is_found(tmp_path, monkeypatch):
    def broken():
        raise SystemExit(1)

    monkeypatch.setattr(fuzz, "main", broken)
    with pytest.raises(AssertionError, match="exit code 1"):
        fuzz.outcome_of(fuzz.SUITE, tmp_path)
