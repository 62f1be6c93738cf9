"""Trackers beside a run: they get what the trials leave, whenever they get it, and can spoil nothing."""

import threading

import pytest

import harness
from benchmarks.runner.suites import PLUGIN
from harness import registry
from harness.errors import ConfigError, HarnessError
from harness.suite.suite import load_suite
from harness.tracking.feed import Feed
from harness.tracking.logbook import DONE, Logbook

SUITE = f"""name: logged
plugins: ["{PLUGIN}"]
base:
  model: {{name: featherweight}}
  data: {{name: noise}}
  train: {{steps: 4, batch_size: 2, warmup_steps: 0, validate_every: 2}}
seeds: 2
measure: [nll]
figures: []
"""


class Recorder:
    """A tracker that keeps what it is told."""

    def __init__(self):
        self.begun, self.ended = [], []

    def begin(self, trial):
        self.begun.append(trial.name)
        return _Log(self, trial)


class _Log:
    def __init__(self, owner, trial):
        self.owner, self.trial, self.points = owner, trial, []

    def point(self, step, values):
        self.points.append(step)

    def end(self, status, columns, error):
        self.owner.ended.append((self.trial.variant, status, self.points, columns.get("nll_bits_test")))


@pytest.fixture
def recorder(monkeypatch):
    """Registered as the tracker `recorder`; all runs of a test share it."""
    from dataclasses import dataclass

    found = Recorder()

    @dataclass(frozen=True, kw_only=True)
    class Config:
        fail: bool = False

    def made(config, *, suite, folder):
        if config.fail:
            raise RuntimeError("no account")
        return found

    made.Config = Config
    monkeypatch.setitem(registry._registered, "trackers", {"recorder": made})
    return found


@pytest.fixture
def run(tmp_path):
    def run(lines, **options):
        file = tmp_path / "logged.yaml"
        file.write_text(SUITE + lines)
        return harness.run_suite(file, results=tmp_path / "results", serial=True, device="cpu", **options)

    return run


# ---------------------------------------------------------------------------------- a trial's log


def test_a_curve_that_grows_is_handed_over_point_by_point(leave, trial, tmp_path):
    tracker, book = Recorder(), Logbook(tmp_path / "book")
    folder = leave((0,), record=False)
    book.begin(tracker, trial, folder)
    book.follow(tracker, trial, folder)
    leave((0, 10), record=False)
    book.follow(tracker, trial, folder)
    book.end(tracker, trial, leave((0, 10, 20)))
    assert len(tracker.begun) == 1
    assert tracker.ended == [("pooling=[2,4]", "ok", [0, 10, 20], 3.5)]


def test_a_curve_that_was_begun_anew_is_logged_anew(leave, trial, tmp_path):
    tracker, book = Recorder(), Logbook(tmp_path / "book")
    folder = leave((0, 5), record=False)  # of an earlier process, whose training left no state
    book.begin(tracker, trial, folder)
    book.follow(tracker, trial, folder)
    book.end(tracker, trial, leave((0, 10, 20)))
    assert len(tracker.begun) == 2
    assert tracker.ended[-1][2] == [0, 10, 20]


def test_a_record_is_wanted_until_it_is_logged_and_again_when_it_changes(leave, trial, tmp_path):
    book, record = Logbook(tmp_path / "book"), leave() / "record.json"
    assert book.wants(trial.key, record)
    book.end(Recorder(), trial, record.parent)
    assert not book.wants(trial.key, record)
    assert not Logbook(tmp_path / "book").wants(trial.key, record)  # as the next run sees it
    leave(train_step_ms=3.0)
    assert book.wants(trial.key, record)
    assert not book.wants(trial.key, record.with_name("none.json"))


def test_a_training_that_is_stopped_leaves_a_log_that_says_so(leave, trial, tmp_path):
    tracker, book = Recorder(), Logbook(tmp_path / "book")
    book.begin(tracker, trial, leave((0,), record=False))
    book.close(tracker)
    assert tracker.ended == [("pooling=[2,4]", "interrupted", [], None)]


# -------------------------------------------------------------------------------------- the thread


def test_a_failing_tracker_costs_one_warning(caplog):
    feed, done = Feed("broken", lambda: object()), []
    feed.put(lambda tracker: done.append(1))
    feed.put(lambda tracker: 1 / 0)
    feed.put(lambda tracker: done.append(2))
    feed.close()
    assert done == [1]
    assert [record.getMessage() for record in caplog.records] == [
        "track: broken gets no more logs of this run: ZeroDivisionError: division by zero"
    ]


def test_a_tracker_that_hangs_is_left_behind(caplog):
    feed, release = Feed("hanging", lambda: object()), threading.Event()
    feed.put(lambda tracker: release.wait(30))
    feed.close(patience=0.05)
    release.set()
    assert "hanging has not done with 1 logs" in caplog.text


# ------------------------------------------------------------------------------------------ a run


def test_every_trial_is_logged_once_and_a_second_run_logs_nothing(run, recorder):
    run("track: [recorder]\n")
    assert sorted((status, points) for _, status, points, _ in recorder.ended) == [("ok", [0, 2, 4])] * 2
    run("track: [recorder]\n")
    assert len(recorder.ended) == 2


def test_a_tracker_that_is_added_later_gets_what_is_there(run, recorder, tmp_path):
    first = run("track: []\n")
    assert not recorder.ended
    again = run("track: [recorder]\n")
    assert sorted(ended[3] for ended in recorder.ended) == sorted(first["nll_bits_test"])
    assert list(first["key"]) == list(again["key"])  # no part of it
    (tmp_path / "results" / "recorder" / DONE).unlink()
    run("track: [recorder]\n")
    assert len(recorder.ended) == 4


def test_what_the_exclusive_lane_measures_is_in_the_log(run, recorder, tmp_path):
    run("track: [recorder]\n", overrides=["measure=[nll, {name: efficiency, min_steps: 1}]", "seeds=1"])
    assert [ended[:2] for ended in recorder.ended] == [("base", "ok")] * 2  # after each lane
    assert len((tmp_path / "results" / "recorder" / DONE).read_text().splitlines()) == 2


def test_a_tracker_that_fails_leaves_the_trials_alone(run, recorder, caplog):
    table = run("track: [{name: recorder, fail: true}]\n")
    assert list(table["status"]) == ["ok", "ok"]
    assert caplog.text.count("recorder gets no more logs of this run: RuntimeError: no account") == 1


def test_tensorboard_is_the_default_and_can_be_left_out(run, tmp_path, events):
    table = run("")
    folders = sorted(path for path in (tmp_path / "results" / "tensorboard").iterdir() if path.is_dir())
    assert [folder.name.split("-")[0] for folder in folders] == ["base", "base"]
    scalars, _ = events(folders[0])
    assert scalars["final/nll_bits_test"] == [(4, pytest.approx(table["nll_bits_test"][0], abs=1e-5))]


# ---------------------------------------------------------------------------------------- the suite


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("track: [tensorbord]", "did you mean 'tensorboard'"),
        ("track: [{name: wandb, projct: x}]", "did you mean 'project'"),
        ("track: [tensorboard, tensorboard]", "the same tracker is named twice"),
        ("track: [{name: wandb, mode: sometimes}]", "mode"),
    ],
)
def test_what_is_wrong_with_track_is_said_where_it_stands(tmp_path, lines, message):
    file = tmp_path / "logged.yaml"
    file.write_text(SUITE + lines + "\n")
    with pytest.raises((HarnessError, ConfigError), match=message) as caught:
        load_suite(file)
    assert "logged.yaml:10" in str(caught.value)


def test_a_profile_and_the_command_line_may_choose_trackers(tmp_path):
    file = tmp_path / "logged.yaml"
    file.write_text(SUITE + "profiles: {paper: {track: [wandb]}}\n")
    assert load_suite(file, profile="paper").config.trackers[0]["name"] == "wandb"
    assert load_suite(file, overrides=["track=[]"]).config.trackers == []
