"""Running a suite in this process: again, after a failure, beside another run, grown and renamed."""

import logging
import shutil
import threading
from pathlib import Path

import pandas as pd
import pytest

import harness
from harness.errors import DataError, HarnessError
from harness.execution.run_suite import RunOptions, plan_suite, run_plan
from harness.store.lock import only_run
from harness.suite.suite import load_suite


@pytest.fixture
def run(tmp_path):
    def run(suite, name="results", **options):
        return harness.run_suite(suite, results=tmp_path / name, serial=True, **options)

    return run


def test_a_second_run_runs_nothing_and_growing_runs_only_what_is_new(toy_suite, run):
    first = run(toy_suite())
    again = run(toy_suite())
    pd.testing.assert_frame_equal(first, again)
    grown = run(toy_suite("vary: {model.width: [8, 2, 3]}\nseeds: 3"))
    assert len(grown) == 12
    kept = grown.merge(first, on="key", suffixes=("", "_before"))
    assert len(kept) == 6
    assert (kept["started_at"] == kept["started_at_before"]).all()


def test_a_renamed_variant_keeps_its_results(toy_suite, run):
    before = run(toy_suite("variants: {mine: {model: {width: 3}}}\nseeds: 1"))
    after = run(toy_suite("variants: {yours: {model: {width: 3}}}\nseeds: 1"))
    assert list(after["variant"]) == ["base", "yours"]
    assert list(after["alone_from"]) == list(before["alone_from"])


def test_failed_trials_run_again_and_finished_ones_do_not(toy_suite, run):
    first = run(toy_suite("vary: {model.wrong: [raise]}\nseeds: 1"))
    second = run(toy_suite("vary: {model.wrong: [raise]}\nseeds: 1"))
    assert list(second["alone_from"][:1]) == list(first["alone_from"][:1])
    assert list(second["status"]) == ["ok", "failed"]


FAULTY = f"""name: faulty
plugins: [{Path(__file__).parent / "faulty_plugin.py"}]
base:
  model: {{name: faulty}}
  data: {{name: faulty_data}}
  train: {{steps: 2, batch_size: 2, warmup_steps: 0}}
variants: {{bad: {{data: {{broken: true}}}}}}
seeds: 1
measure: [nll]
figures: []
"""


def test_data_that_cannot_be_had_fail_their_own_trials_alone(run, tmp_path, caplog):
    (tmp_path / "faulty.yaml").write_text(FAULTY)
    with caplog.at_level(logging.WARNING, "harness"):
        table = run(tmp_path / "faulty.yaml")
    assert "the data of bad cannot be had: clip 3 is no sound" in caplog.text
    assert list(zip(table["variant"], table["status"], strict=True)) == [("base", "ok"), ("bad", "failed")]
    assert table["error"][1] == "clip 3 is no sound"


def test_where_no_data_can_be_had_nothing_is_run_or_written(run, tmp_path):
    (tmp_path / "faulty.yaml").write_text(FAULTY)
    with pytest.raises(DataError, match="clip 3 is no sound"):
        run(tmp_path / "faulty.yaml", overrides=["data.broken=true"])
    assert [path.name for path in tmp_path.iterdir()] == ["faulty.yaml"]


def test_a_damaged_record_is_named_and_run_again(toy_suite, run, tmp_path, deterministic):
    table = run(toy_suite("seeds: 1"))
    (path,) = (tmp_path / "results" / "trials").glob("*/record.json")
    path.write_text(path.read_text()[:100])
    with pytest.raises(harness.errors.HarnessError, match="not a record"):
        harness.load_results(tmp_path / "results")
    again = run(toy_suite("seeds: 1"))
    pd.testing.assert_frame_equal(deterministic(table), deterministic(again))


def test_a_trial_whose_weights_are_gone_is_trained_again_before_it_is_measured(toy_suite, run, tmp_path):
    file = toy_suite("seeds: 1")
    text = file.read_text()
    file.write_text(text.replace("measure: [nll, alone]", "measure: [nll, {name: alone, broken: true}]"))
    assert list(run(file)["status"]) == ["failed"]
    (record,) = (tmp_path / "results" / "trials").glob("*/record.json")
    (weights,) = (tmp_path / "results" / "trials").glob("*/checkpoint.safetensors")
    before = weights.stat().st_mtime_ns
    run(file)
    assert weights.stat().st_mtime_ns == before  # only the measuring failed: only that is done again
    assert "nll_bits_test" in record.read_text()
    weights.unlink()
    run(file)
    assert weights.exists()


def test_a_run_that_has_waited_for_another_does_not_repeat_its_trials(toy_suite, run, tmp_path):
    suite = toy_suite("seeds: 2")
    run(suite, "first")
    events = Recorder()
    options = RunOptions(results=tmp_path / "second", serial=True, device="cpu")
    plan = plan_suite(load_suite(suite), options)
    (tmp_path / "second").mkdir()
    with only_run(tmp_path / "second", print):
        second = threading.Thread(target=run_plan, args=(plan, options, events))
        second.start()
        assert events.has_waited.wait(20)
        shutil.copytree(tmp_path / "first" / "trials", tmp_path / "second" / "trials", dirs_exist_ok=True)
    second.join(20)
    assert "another run" in events.words and "waiting" in events.words
    assert (events.to_run, events.begun) == (0, [])


class Recorder:
    """Events, kept."""

    def __init__(self):
        self.has_waited, self.words, self.to_run, self.begun = threading.Event(), "", None, []

    def waiting(self, words):
        self.words = words
        self.has_waited.set()

    def planned(self, plan):
        self.to_run = len(plan.to_run())

    def started(self, task):
        self.begun.append(task)

    def progress(self, task, fraction, text): ...
    def ended(self, task, record): ...


def test_limits_need_a_process_of_their_own_for_each_trial():
    with pytest.raises(HarnessError, match="leave out --serial"):
        RunOptions(serial=True, trial_memory=2.0)
