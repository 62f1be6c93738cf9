"""Whatever a trial does to its process becomes a record, soon, and the next trial finds all in order."""

import threading
import time
from pathlib import Path

import psutil
import pytest

from harness.execution.executor import Interrupted
from harness.execution.isolation import Worker, WorkerLost
from harness.execution.limits import GIB, machine_memory, memory_limit
from harness.execution.run_trial import Task
from harness.store.record import read_record, write_record
from harness.suite.suite import load_suite

SUITE = f"""name: faulty
plugins: [{Path(__file__).parent / "faulty_plugin.py"}]
base:
  model: {{name: faulty}}
  data: {{name: faulty_data}}
  train: {{steps: 2, batch_size: 2, warmup_steps: 0}}
seeds: 1
measure: []
"""


@pytest.fixture(scope="module")
def worker():
    worker = Worker(1)
    yield worker
    worker.close()


@pytest.fixture
def task(tmp_path):
    (tmp_path / "faulty.yaml").write_text(SUITE)

    def task(*settings, **limits):
        (trial,) = load_suite(tmp_path / "faulty.yaml", overrides=settings).trials
        return Task(trial=trial, lane="training", folder=str(tmp_path / "trial"), **limits)

    return task


def silent(fraction, text):
    return None


@pytest.mark.parametrize(
    ("setting", "status", "words"),
    [
        ("model.way=raise", "failed", "RuntimeError: it broke (faulty_plugin.py:"),
        ("model.way=exit", "failed", "exit code 7"),
        ("model.way=kill", "failed", "killed by SIGKILL"),
        ("model.way=torch memory", "out_of_memory", "can't allocate memory"),
        ("model.way=numpy memory", "out_of_memory", "MemoryError"),
        ("model.way=shared memory", "out_of_memory", "more than its limit of 1.2 GiB"),
        ("model.way=nan", "diverged", ""),
        ("data.broken=true", "failed", "clip 3 is no sound"),
        ("train.batch_size=3", "ok", ""),
    ],
)
def test_every_way_to_fail_is_a_record_and_the_worker_goes_on(worker, task, setting, status, words):
    record = worker.run(task(setting, memory_gib=1.2), silent)
    assert record.status == status
    assert words in record.error
    assert "\n" not in record.error or status == "out_of_memory"


def test_a_trial_that_hangs_is_ended_with_all_that_it_has_started(worker, task, tmp_path):
    marker = tmp_path / "marker"
    started = time.monotonic()
    record = worker.run(task("model.way=hang", f"model.marker={marker}", minutes=1 / 60), silent)
    assert record.status == "timeout"
    assert "its limit of 0.0166667 minutes" in record.error
    assert time.monotonic() - started < 10
    assert not is_alive(int(marker.read_text()))


def is_alive(pid):
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return True
        time.sleep(0.05)
    return False


def test_a_trial_that_is_asked_to_stop_ends_without_a_record(worker, task):
    slow = task("model.pause=0.1", "train.steps=1000")
    threading.Timer(1.0, worker.stop, [5.0]).start()
    with pytest.raises(Interrupted):
        worker.run(slow, silent)
    assert not slow.record_path.exists()


def test_a_trial_that_does_not_listen_is_stopped_all_the_same(worker, task, tmp_path):
    marker = tmp_path / "marker"
    deaf = task("model.way=hang", f"model.marker={marker}")
    threading.Timer(1.0, worker.stop, [0.3]).start()
    with pytest.raises(Interrupted):
        worker.run(deaf, silent)
    assert not is_alive(int(marker.read_text()))


def test_a_worker_killed_from_outside_is_no_fault_of_the_trial(task):
    worker = Worker(1)
    slow = task("model.pause=0.1", "train.steps=1000")
    with pytest.raises(WorkerLost):
        for _ in worker.stream(slow):
            worker._process.kill()
    assert not slow.record_path.exists()
    worker.close()


def test_a_failure_to_measure_keeps_what_was_trained(worker, task):
    trained = worker.run(task(), silent)
    again = task()
    write_record(again.record_path, trained)
    broken = Task(**{**vars(again), "lane": "exclusive", "minutes": 0.0})
    record = worker.run(broken, silent)
    assert (record.status, record.lanes) == ("timeout", trained.lanes)
    assert record.columns == trained.columns == read_record(again.record_path).columns


def test_memory_is_shared_out_unless_it_is_asked_for():
    assert memory_limit(2.5, 0.5) == 2.5 * GIB
    assert memory_limit(None, 0.5) == pytest.approx(0.45 * machine_memory())
    assert 0 < machine_memory() <= psutil.virtual_memory().total
