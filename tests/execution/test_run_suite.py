"""Running a suite: serially and through Ray Tune, again, after a failure, after a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import harness

VOLATILE = [
    "alone_from", "alone_to", "train_seconds", "started_at", "git_dirty", "git_commit", "threads",
]  # fmt: skip


def deterministic(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=VOLATILE, errors="ignore")


@pytest.fixture
def run(tmp_path):
    def run(suite, name="results", **options):
        return harness.run_suite(suite, results=tmp_path / name, slots=2, **options)

    return run


def test_serial_and_ray_give_the_same_table(toy_suite, run):
    suite = toy_suite()
    serial, parallel = run(suite, "serial", serial=True), run(suite, "ray")
    assert list(serial["status"]) == ["ok"] * 6
    pd.testing.assert_frame_equal(deterministic(serial), deterministic(parallel))


def test_a_trial_leaves_its_record_history_checkpoint_and_log(toy_suite, run, tmp_path):
    table = run(toy_suite("seeds: 1"))
    (folder,) = (tmp_path / "results" / "trials").iterdir()
    assert folder.name == f"base-s0-{table['key'][0]}"
    assert {f.name for f in folder.iterdir()} == {
        "record.json", "history.csv", "checkpoint.safetensors", "log.txt",
    }  # fmt: skip
    record = json.loads((folder / "record.json").read_text())
    assert record["lanes"] == ["training", "exclusive"]
    assert record["provenance"]["packages"]["torch"]


def test_the_exclusive_lane_runs_one_at_a_time_and_after_training(toy_suite, run):
    table = run(toy_suite()).sort_values("alone_from")
    assert (table["alone_from"].values[1:] >= table["alone_to"].values[:-1]).all()


def test_a_second_run_runs_nothing_and_growing_runs_only_what_is_new(toy_suite, run):
    first = run(toy_suite(), serial=True)
    again = run(toy_suite(), serial=True)
    pd.testing.assert_frame_equal(first, again)
    grown = run(toy_suite("vary: {model.width: [8, 2, 3]}\nseeds: 3"), serial=True)
    assert len(grown) == 12
    kept = grown.merge(first, on="key", suffixes=("", "_before"))
    assert len(kept) == 6
    assert (kept["started_at"] == kept["started_at_before"]).all()


def test_a_renamed_variant_keeps_its_results(toy_suite, run):
    before = run(toy_suite("variants: {mine: {model: {width: 3}}}\nseeds: 1"), serial=True)
    after = run(toy_suite("variants: {yours: {model: {width: 3}}}\nseeds: 1"), serial=True)
    assert list(after["variant"]) == ["base", "yours"]
    assert list(after["alone_from"]) == list(before["alone_from"])


def test_every_kind_of_failure_is_a_row_and_the_others_go_on(toy_suite, run):
    table = run(toy_suite("vary: {model.wrong: [raise, exit, kill, memory, nan]}\nseeds: 1"))
    status = dict(zip(table["variant"], table["status"], strict=True))
    assert status == {
        "base": "ok",
        "wrong=raise": "failed",
        "wrong=exit": "failed",
        "wrong=kill": "failed",
        "wrong=memory": "out_of_memory",
        "wrong=nan": "diverged",
    }
    error = dict(zip(table["variant"], table["error"], strict=True))
    assert "it <broke>" in error["wrong=raise"]
    assert "toy_plugin.py" in error["wrong=raise"]
    assert "exit code 7" in error["wrong=exit"]
    assert "SIGKILL" in error["wrong=kill"]


def test_failed_trials_run_again_and_finished_ones_do_not(toy_suite, run):
    first = run(toy_suite("vary: {model.wrong: [raise]}\nseeds: 1"), serial=True)
    second = run(toy_suite("vary: {model.wrong: [raise]}\nseeds: 1"), serial=True)
    assert list(second["alone_from"][:1]) == list(first["alone_from"][:1])
    assert list(second["status"]) == ["ok", "failed"]


def test_after_kill_9_of_the_driver_the_same_command_completes_the_table(toy_suite, run, tmp_path):
    suite = toy_suite("base: {}\nvary: {model.width: [2, 3, 5, 6]}\nseeds: 2".partition("\n")[2])
    text = suite.read_text().replace("{name: tiny}", "{name: tiny, pause: 0.05}")
    suite.write_text(text)
    undisturbed = run(suite, "undisturbed")
    command = [sys.executable, "-m", "harness", "run", str(suite), "--results", str(tmp_path / "killed")]
    driver = subprocess.Popen(
        [*command, "--slots", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    trials = tmp_path / "killed" / "trials"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(trials.glob("*/record.json"))) < 3:
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    finished = {p: p.stat().st_mtime_ns for p in trials.glob("*/checkpoint.safetensors")}
    finished = {p: t for p, t in finished.items() if (p.parent / "record.json").exists()}
    assert 3 <= len(finished) < 10
    time.sleep(1)
    completed = run(suite, "killed")
    assert {p: p.stat().st_mtime_ns for p in finished} == finished
    pd.testing.assert_frame_equal(deterministic(completed), deterministic(undisturbed))


def test_a_damaged_record_is_named_and_run_again(toy_suite, run, tmp_path):
    table = run(toy_suite("seeds: 1"), serial=True)
    (path,) = (tmp_path / "results" / "trials").glob("*/record.json")
    path.write_text(path.read_text()[:100])
    with pytest.raises(harness.errors.HarnessError, match="not a record"):
        harness.load_results(tmp_path / "results")
    again = run(toy_suite("seeds: 1"), serial=True)
    pd.testing.assert_frame_equal(deterministic(table), deterministic(again))
