"""A suite through Ray, as a person runs it: equal to a serial run, whatever fails, stops or is killed."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

import harness

GOOD = "vary: {{model.width: [2, 8]}}\nseeds: 2\n"
BAD = """vary: {{model.width: [2, 8], model.wrong: [raise, exit, kill, memory, nan]}}
variants:
  worker: {{model: {{wrong: worker, once: {folder}/worker}}}}
  actor: {{model: {{wrong: actor, once: {folder}/actor}}}}
seeds: 1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for a run, with home and caches of its own."""
    folder = tmp_path_factory.mktemp("ray")
    for name in ("home", "cache"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="module")
def command(place):
    def command(suite, results, *more):
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "harness", "run", str(suite), "--results", str(results)),
                *("--slots", "2", "--device", "cpu", *more),
            ],
            cwd=place / "home",
            env={**os.environ, "HOME": str(place / "home"), "HARNESS_CACHE": str(place / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return command


@pytest.fixture(scope="module")
def through_ray(place, command, suite_text):
    """Table, output and exit code of a run in which much goes wrong."""
    suite = place / "toy.yaml"
    suite.write_text(suite_text(BAD.format(folder=place)))
    driver = command(suite, place / "results")
    output, _ = driver.communicate(timeout=300)
    return harness.load_results(place / "results").set_index("variant"), output, driver


def test_every_kind_of_failure_is_a_row_and_the_others_go_on(through_ray):
    table, output, driver = through_ray
    assert dict(table["status"]) == {
        "base": "ok",
        "width=2": "ok",
        "width=8": "ok",
        "wrong=raise": "failed",
        "wrong=exit": "failed",
        "wrong=kill": "failed",
        "wrong=memory": "out_of_memory",
        "wrong=nan": "diverged",
        "worker": "ok",
        "actor": "ok",
    }
    assert "it <broke>" in table["error"]["wrong=raise"] and "toy_plugin.py" in table["error"]["wrong=raise"]
    assert "exit code 7" in table["error"]["wrong=exit"]
    assert "SIGKILL" in table["error"]["wrong=kill"]
    assert driver.returncode == 1
    assert "not all trials are ok" in output and "Traceback" not in output


def test_what_fails_around_a_trial_is_begun_again_and_that_is_recorded(through_ray, place):
    attempts = {}
    for path in (place / "results" / "trials").glob("*/record.json"):
        record = json.loads(path.read_text())
        attempts[record["variant"]] = record["provenance"]["attempt"]
    assert attempts.pop("worker") == attempts.pop("actor") == 2
    assert set(attempts.values()) == {1}


def test_serial_and_ray_give_the_same_table(through_ray, suite_text, tmp_path, deterministic):
    (tmp_path / "toy.yaml").write_text(suite_text(GOOD.format()))
    serial = harness.run_suite(tmp_path / "toy.yaml", results=tmp_path / "serial", serial=True)
    serial = deterministic(serial[serial["seed"] == 0])
    parallel = through_ray[0].reset_index()
    parallel = deterministic(parallel[parallel["variant"].isin(serial["variant"])])
    # Integers beside rows without any are floats.
    pd.testing.assert_frame_equal(serial, parallel[serial.columns], check_dtype=False)


def test_a_trial_leaves_its_record_history_checkpoint_and_log(through_ray, place):
    (folder,) = (place / "results" / "trials").glob("base-s0-*")
    assert folder.name == f"base-s0-{through_ray[0]['key']['base']}"
    assert {f.name for f in folder.iterdir()} == {
        "record.json", "history.csv", "checkpoint.safetensors", "log.txt",
    }  # fmt: skip
    record = json.loads((folder / "record.json").read_text())
    assert record["lanes"] == ["training", "exclusive"]
    assert record["provenance"]["packages"]["torch"]


def test_the_exclusive_lane_runs_one_at_a_time_and_after_training(through_ray):
    table = through_ray[0].dropna(subset=["alone_from"]).sort_values("alone_from")
    assert len(table) == 5
    assert (table["alone_from"].values[1:] >= table["alone_to"].values[:-1]).all()


def test_nothing_is_written_outside_the_results_and_the_cache(through_ray, place):
    assert list((place / "home").rglob("*")) == []
    assert not list(Path(tempfile.gettempdir()).glob(f"hr-{through_ray[2].pid}-*"))
    assert {p.name for p in (place / "results").iterdir() if p.is_file()} >= {"plan.json", "table.csv"}
    assert not (place / "results" / "run.json").exists()


def test_stopped_and_killed_the_same_command_completes_the_table(
    place, command, suite_text, tmp_path, deterministic
):
    suite, results = tmp_path / "toy.yaml", tmp_path / "results"
    suite.write_text(
        suite_text("vary: {model.width: [2, 3, 5]}\nseeds: 2").replace(
            "{name: tiny}", "{name: tiny, pause: 0.1}"
        )
    )
    undisturbed = harness.run_suite(suite, results=tmp_path / "undisturbed", serial=True)
    stopped = command(suite, results)
    below = when_records(results, 2, stopped)
    asked = time.monotonic()
    stopped.send_signal(signal.SIGTERM)
    output, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == 143, output
    assert time.monotonic() - asked < 10
    assert "the same command continues" in output and "Traceback" not in output
    assert psutil.wait_procs(below, timeout=10)[1] == []
    finished = stamps(results)
    assert 2 <= len(finished) < 8
    killed = command(suite, results)
    below = when_records(results, len(finished) + 1, killed)
    killed.kill()
    killed.communicate()
    assert psutil.wait_procs(below, timeout=20)[1] == []
    last = command(suite, results)
    output, _ = last.communicate(timeout=300)
    assert last.returncode == 0, output
    assert {path: stamps(results)[path] for path in finished} == finished
    pd.testing.assert_frame_equal(deterministic(harness.load_results(results)), deterministic(undisturbed))
    for driver in (stopped, killed, last):
        assert not list(Path(tempfile.gettempdir()).glob(f"hr-{driver.pid}-*"))


def when_records(results, count, driver):
    """Waits until so many trials have been trained; returns all processes below the driver."""
    deadline = time.monotonic() + 120
    while len(stamps(results)) < count:
        assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()[0]
        time.sleep(0.05)
    return psutil.Process(driver.pid).children(recursive=True)


def stamps(results):
    """Trained weights, and when they were written, of trials that have a record."""
    weights = results.glob("trials/*/checkpoint.safetensors")
    return {path: path.stat().st_mtime_ns for path in weights if (path.parent / "record.json").exists()}
