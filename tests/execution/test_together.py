"""A trial that several processes train: what a suite says, what becomes of them, and what of the numbers."""

import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

import harness
from harness.errors import HarnessError
from harness.execution import places
from harness.execution.executor import Interrupted
from harness.execution.isolation import Worker
from harness.execution.places import slots_of, workers_of
from harness.execution.run_suite import RunOptions, plan_suite
from harness.execution.run_trial import Task
from harness.suite.resources import ResourcesConfig
from harness.suite.suite import load_suite

SUITE = f"""name: shared
plugins: [{Path(__file__).with_name("shared_plugin.py")}, {Path(__file__).with_name("toy_plugin.py")}]
base:
  model: {{name: shared}}
  data: {{name: tiny_data}}
  train: {{steps: 2, batch_size: 3, warmup_steps: 0}}
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
    (tmp_path / "shared.yaml").write_text(SUITE)

    def task(*settings, workers=2, **limits):
        (trial,) = load_suite(tmp_path / "shared.yaml", overrides=settings).trials
        return Task(trial=trial, lane="training", folder=str(tmp_path / "trial"), workers=workers, **limits)

    return task


def silent(fraction, text):
    return None


@pytest.mark.parametrize(
    ("setting", "status", "words"),
    [
        ("model.way=raise", "failed", "process 2 of the 2 that trained this trial: RuntimeError: it broke"),
        ("model.way=exit", "failed", "process 2 of the 2 that trained this trial ended with exit code 7"),
        ("train.batch_size=1", "failed", "a batch of 1 cannot be shared by 2 processes"),
    ],
)
def test_what_fails_in_another_process_of_a_trial_is_the_trials_error(worker, task, setting, status, words):
    record = worker.run(task(setting), silent)
    assert record.status == status and words in record.error


def test_one_that_runs_out_of_memory_lets_all_work_in_half_batches(worker, task):
    record = worker.run(task("model.way=rows", "train.batch_size=4"), silent)
    assert (record.status, record.error) == ("ok", "")
    assert record.columns["gradient_accumulation"] == record.columns["workers"] == 2


def test_the_memory_of_all_of_them_counts(worker, task):
    record = worker.run(
        task("model.way=hold", "train.batch_size=2", memory_gib=1.6), silent
    )  # one of them alone holds less
    assert record.status == "out_of_memory" and "more than its limit of 1.6 GiB" in record.error


def test_one_that_is_killed_ends_the_trial_and_no_process_is_left(worker, task):
    others = []

    def kill(fraction, text):
        if not others:
            (trial,) = psutil.Process(worker._process.pid).children()
            others.extend(trial.children())
            os.kill(others[0].pid, signal.SIGKILL)

    record = worker.run(task("model.pause=0.1", "train.steps=1000"), kill)
    assert record.status == "failed"
    assert "process 2 of the 2 that trained this trial was killed by SIGKILL" in record.error
    assert len(others) == 1 and not psutil.wait_procs(others, timeout=5)[1]


def test_a_stopped_one_continues_with_another_number_of_processes(worker, task, tmp_path):
    slow = task("model.pause=0.05", "train.steps=40")

    def stop(fraction, text):
        if text.startswith("step"):
            threading.Thread(target=worker.stop, args=(5.0,)).start()

    with pytest.raises(Interrupted):
        worker.run(slow, stop)
    assert not slow.record_path.exists() and (tmp_path / "trial" / "resume.safetensors").exists()
    record = worker.run(task("model.pause=0.05", "train.steps=40", workers=1), silent)
    assert record.status == "ok" and "workers" not in record.columns
    (resumed,) = record.provenance["resumes"]
    assert resumed["written_by"]["workers"] == 2


def test_a_suite_says_how_many_and_its_numbers_and_keys_are_those_of_one(toy_suite, tmp_path):
    suite = toy_suite("resources: {cpu_workers: 2}\nseeds: 1")
    said = {"serial": True, "slots": 1, "device": "cpu"}
    two = harness.run_suite(load_suite(suite), results=tmp_path / "two", **said)
    one = harness.run_suite(
        load_suite(suite, overrides=["resources.cpu_workers=1"]), results=tmp_path / "one", **said
    )
    assert list(two["status"]) == ["ok"] and list(two["workers"]) == [2] and "workers" not in one
    assert list(two["key"]) == list(one["key"])
    assert two["nll_bits_test"][0] == pytest.approx(one["nll_bits_test"][0], abs=1e-5)


def test_a_plan_has_fewer_slots_and_refuses_a_batch_too_small(toy_suite, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "_cpus", lambda: 8)
    options = RunOptions(results=tmp_path / "results", device="cpu")
    plan = plan_suite(load_suite(toy_suite("resources: {cpu_workers: 2}")), options)
    assert (plan.slots, plan.workers, plan.plain()["workers"]) == (4, 2, 2)
    with pytest.raises(HarnessError, match="3 processes cannot share the batch of 2 of variant 'base'"):
        plan_suite(load_suite(toy_suite("resources: {cpu_workers: 3}")), options)


def test_what_cannot_be_had_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(places, "_cpus", lambda: 4)
    monkeypatch.setattr(places, "_gpus", lambda: 2)
    cpu, gpu = RunOptions(device="cpu"), RunOptions(device="cuda")
    assert workers_of(None, cpu) == workers_of(ResourcesConfig(), gpu) == 1
    both = ResourcesConfig(gpu=2, cpu_workers=4)
    assert (workers_of(both, cpu), workers_of(both, gpu)) == (4, 2)
    assert (slots_of(cpu, 4), slots_of(gpu, 2), slots_of(cpu, 3)) == (1, 1, 1)
    for asked, options, words in [
        ({"cpu_workers": 5}, cpu, "5 processes of 1 threads need 5 CPUs, this machine has 4"),
        ({"gpu": 3}, gpu, "3 GPUs for each trial, this machine has 2"),
        ({"gpu": 2}, cpu, "resources.gpu: says nothing of a run on 'cpu'"),
        ({"cpu_workers": 2}, gpu, "resources.cpu_workers: says nothing of a run on 'cuda'"),
    ]:
        with pytest.raises(HarnessError, match=words):
            workers_of(ResourcesConfig(**asked), options)
    assert workers_of(ResourcesConfig(cpu_workers=5), RunOptions(device="cpu", slots=1)) == 5


def test_a_misspelt_resource_is_refused_with_the_nearest(toy_suite):
    with pytest.raises(HarnessError, match="did you mean 'gpu'"):
        load_suite(toy_suite("resources: {gpus: 2}"))
    with pytest.raises(HarnessError, match=r"resources\.gpu: must be at least 1"):
        load_suite(toy_suite("resources: {gpu: 0}"))
