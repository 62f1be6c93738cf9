"""`harness status`: what is done, what runs and how long yet, what failed, what is damaged."""

import json
import time

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.store.lock import only_run
from harness.store.record import LANES, Record
from harness.store.store import Store
from harness.suite.trial import Trial

CONFIG = {"model": {"name": "unigram"}, "data": {}, "train": {}, "measure": []}
TRIALS = [Trial("base", seed, CONFIG) for seed in range(5)]


@pytest.fixture
def results(tmp_path):
    """Five trials: measured, failed, begun and stopped, running, damaged."""
    store = Store(tmp_path)
    variants = [{"name": "base", "aliases": [], "config": CONFIG, "match": None}]
    store.write_plan({"name": "x", "seeds": list(range(5)), "variants": variants, "plugin_files": []}, "")
    ended = {"finished_at": "2026-01-01T00:00:00+00:00"}
    fields = {"key": TRIALS[0].key, "variant": "base", "seed": 0, "config": CONFIG, "provenance": ended}
    store.write_record(TRIALS[0], Record(**fields, status="ok", lanes=LANES))
    store.write_record(TRIALS[1], Record.failure(TRIALS[1], "timeout", "ran longer than its limit"))
    stopped = store.trial_folder(TRIALS[2])
    stopped.mkdir(parents=True)
    (stopped / "resume.safetensors").touch()
    store.record_path(TRIALS[4]).parent.mkdir(parents=True)
    store.record_path(TRIALS[4]).write_text("{")
    running = {
        "lane": "training",
        "attempt": 2,
        "since": time.time() - 30,
        "fraction": 0.25,
        "text": "step 5",
    }
    state = {"pid": 7, "host": "h", "since": "now", "fraction": 0.5, "seconds_left": 60.0}
    (tmp_path / "run.json").write_text(json.dumps({**state, "trials": {TRIALS[3].key: running}}))
    return tmp_path


def status(*arguments):
    done = CliRunner().invoke(app, ["status", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_each_trial_has_its_state_while_a_run_works(results):
    with only_run(results, print):
        rows = json.loads(status(results, "--json"))
    assert [row["status"] for row in rows] == ["ok", "timeout", "stopped", "running", "damaged"]
    assert rows[3]["seconds_left"] == pytest.approx(90, abs=5)
    assert (rows[3]["fraction"], rows[3]["progress"], rows[3]["attempt"]) == (0.25, "step 5", 2)
    assert "not a record" in rows[4]["error"]


def test_what_a_dead_run_has_left_is_not_taken_for_running(results):
    rows = json.loads(status(results, "--json"))
    assert rows[3]["status"] == "missing"
    assert "no run works here" in status(results)


def test_a_person_reads_how_far_and_how_long_yet(results):
    with only_run(results, print):
        text = " ".join(status(results).split())
    for words in ("running, attempt 2", "training 25%", "about 1 min 30 s left", "process 7 on h"):
        assert words in text
    assert "ran longer than its limit" in text and " ago" in text


def test_watching_ends_when_no_run_works(results):
    assert "no run works here" in status(results, "--watch")
