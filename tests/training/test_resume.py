"""A training that is stopped or killed ends as if nothing had happened."""

import logging
import math
import multiprocessing
import os
import random
import signal
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import killed
import numpy as np
import pytest
import torch
from torch import nn

from harness.execution.run_trial import Task, run_task
from harness.store.record import read_record
from harness.suite.trial import Trial
from harness.training import resume as resume_module
from harness.training.config import TrainConfig
from harness.training.loop import PATIENCE, train
from harness.training.resume import ResumeFile
from harness.training.stopping import Stopped

CONFIG = TrainConfig(
    steps=20, batch_size=4, crop=6, learning_rate=0.1, warmup_steps=3, validate_every=6,
    schedule="cosine", ema_decay=0.8,
)  # fmt: skip
PLUGIN = Path(__file__).parents[1] / "execution" / "toy_plugin.py"


def file_at(path, **options):
    return ResumeFile(path, **{"identity": {"key": "k"}, "every": math.inf} | options)


def run(model, dataset, config=CONFIG, **options):
    return train(model, dataset, config, seed=0, device="cpu", **options)


def stop_at(step):
    """Options of `train` that stop it after this step."""
    seen = [0]
    return {
        "on_progress": lambda now, steps, bits: seen.append(now),
        "should_stop": lambda: seen[-1] >= step,
    }


def interrupted(build, dataset, path, stops, config=CONFIG):
    """Trained in as many processes' worth of objects as there are stops, and one more."""
    for stop in stops:
        with pytest.raises(Stopped):
            run(build(), dataset, config, resume=file_at(path), **stop_at(stop))
    model = build()
    return model, run(model, dataset, config, resume=file_at(path))


def outcome(model, result):
    """All that must not depend on interruptions, comparable with ==, nan included."""
    columns = {name: value for name, value in result.columns().items() if not name.endswith("_seconds")}
    curve = [{**asdict(row), "seconds": 0.0} for row in result.history]
    weights = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    return str((columns, curve, result.diverged, result.reason)), weights


def same_as_undisturbed(build, dataset, path, stops, config=CONFIG):
    model, result = interrupted(build, dataset, path, stops, config)
    undisturbed = build()
    straight = run(undisturbed, dataset, config)
    assert outcome(model, result) == outcome(undisturbed, straight)
    return result


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 19, 20])
def test_a_training_stopped_at_any_step_ends_with_the_same_bits(bigram, dataset, tmp_path, stop):
    result = same_as_undisturbed(lambda: bigram(dropout=0.3), dataset, tmp_path / "r", [stop])
    assert [resume["at_step"] for resume in result.resumes] == [stop]


def test_so_does_one_that_is_stopped_again_and_again(bigram, dataset, tmp_path):
    result = same_as_undisturbed(lambda: bigram(dropout=0.3), dataset, tmp_path / "r", [3, 4, 5, 9, 17])
    assert [resume["at_step"] for resume in result.resumes] == [3, 4, 5, 9, 17]


def test_a_training_killed_as_it_writes_ends_with_the_same_bits(tmp_path):
    """Poolformer with dropout, averaging, a cosine and skipped updates; SIGKILL at three random moments."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(killed.PRELOAD)
    path, draw = tmp_path / "resume.safetensors", random.Random(0)
    for wait in (draw.randrange(1, 5) for _ in range(3)):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=killed.trained, args=(path, sending), daemon=True)
        process.start()
        for _ in range(wait):
            pid, _ = receiving.recv()
        os.kill(pid, signal.SIGKILL)  # while it goes on to train and to write
        process.join()
        assert process.exitcode == -signal.SIGKILL
        receiving.close(), sending.close()
    model, result = killed.trained(path)
    undisturbed, straight = killed.trained(tmp_path / "another")
    assert 0 < straight.skipped_updates < killed.SETTINGS.steps
    assert len(result.resumes) >= 2 and not straight.resumes
    assert outcome(model, result) == outcome(undisturbed, straight)


def test_a_run_near_the_end_of_patience_is_given_up_at_the_same_step(bigram, dataset, tmp_path):
    def broken():
        model = bigram()
        model.head.bias.data.fill_(math.nan)
        return model

    config = replace(CONFIG, steps=1000, validate_every=20)
    result = same_as_undisturbed(broken, dataset, tmp_path / "r", [PATIENCE - 2, PATIENCE - 1], config)
    assert result.diverged and result.steps == PATIENCE


class Restless(nn.Module):
    """Draws from every global generator, counts in a buffer, ties weights, keeps one transposed."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(17, 8)
        self.head = nn.Linear(8, 17, bias=False)
        self.head.weight = self.table.weight
        self.turned = nn.Parameter(torch.randn(3, 8).T.clone(memory_format=torch.preserve_format))
        self.pole = nn.Parameter(torch.randn(3, dtype=torch.complex64))
        self.idle = nn.Parameter(torch.zeros(2))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, tokens):
        x = self.table(torch.nn.functional.pad(tokens[:, :-1], (1, 0), value=16))
        if self.training:
            self.calls += 1
            noise = random.gauss(0, 1) + np.random.randn() + torch.randn(()) + 0.01 * self.calls
            x = x * (1 + 0.1 * noise)
        x = x + ((x @ self.turned) * self.pole).real @ self.turned.T
        return self.head(x)[..., :16]


def test_every_generator_buffer_and_layout_is_as_it_was(dataset, tmp_path):
    assert not Restless().turned.is_contiguous()
    same_as_undisturbed(Restless, dataset, tmp_path / "r", [5, 12])


def test_the_training_clock_goes_on_where_it_was(bigram, dataset, tmp_path):
    _, result = interrupted(bigram, dataset, tmp_path / "r", [10])
    seconds = [row.seconds for row in result.history]
    assert seconds == sorted(seconds) and len(set(seconds)) == len(seconds)
    assert result.seconds == seconds[-1]


def test_compiling_again_to_continue_is_not_counted(bigram, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: model)
    config = replace(CONFIG, compile=True)
    with pytest.raises(Stopped):
        run(bigram(), dataset, config, resume=file_at(tmp_path / "r"), **stop_at(9))
    before = file_at(tmp_path / "r").read().numbers["position"]["compile_seconds"]
    assert run(bigram(), dataset, config, resume=file_at(tmp_path / "r")).compile_seconds == before > 0


def test_a_training_that_ended_is_not_trained_again(bigram, dataset, tmp_path):
    model = bigram()
    result = run(model, dataset, resume=file_at(tmp_path / "r", every=0.0, largest_share=math.inf))
    steps = []
    again = bigram()
    resumed = run(
        again, dataset, resume=file_at(tmp_path / "r"), on_progress=lambda *news: steps.append(news)
    )
    assert steps == [] and outcome(again, resumed) == outcome(model, result)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_weight(path):
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)


def flip_a_number(path):
    path.write_bytes(path.read_bytes().replace(b'"applied\\": ', b'"applied\\":1', 1))


@pytest.mark.parametrize("harm", [truncate, flip_a_weight, flip_a_number, lambda path: path.write_bytes(b"")])
def test_a_damaged_file_is_ignored_aloud(bigram, dataset, tmp_path, caplog, harm):
    path = tmp_path / "resume.safetensors"
    with pytest.raises(Stopped):
        run(bigram(), dataset, resume=file_at(path), should_stop=lambda: True)
    harm(path)
    again, fresh = bigram(), bigram()
    result = run(again, dataset, resume=file_at(path))
    assert "training starts anew: resume.safetensors cannot be continued from" in caplog.text
    assert result.resumes == () and outcome(again, result) == outcome(fresh, run(fresh, dataset))


def test_the_file_of_another_trial_version_or_model_is_ignored_aloud(bigram, dataset, tmp_path, caplog):
    path = tmp_path / "resume.safetensors"
    with pytest.raises(Stopped):
        run(bigram(), dataset, resume=file_at(path), should_stop=lambda: True)
    for model, identity, complaint in [
        (bigram(), {"key": "another"}, "key: k there, another here"),
        (bigram(), {"key": "k", "torch": "9.0"}, "torch: None there, 9.0 here"),
        (bigram(width=9), {"key": "k"}, "model/table.weight is float32[17, 8], expected float32[17, 9]"),
    ]:
        caplog.clear()
        result = run(model, dataset, resume=file_at(path, identity=identity))
        assert complaint in caplog.text and result.resumes == () and result.steps == CONFIG.steps


def test_a_file_is_due_once_an_interval_and_never_takes_more_than_its_share(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(resume_module, "time", SimpleNamespace(monotonic=lambda: now))

    def slow(*_):
        nonlocal now
        now += 2.0

    monkeypatch.setattr(resume_module, "write_tensors", slow)
    file = file_at(tmp_path / "r", every=60.0, largest_share=0.01)
    snapshot = SimpleNamespace(numbers={}, tensors={})
    written = []
    while now < 1000:
        now += 1.0
        if file.due():
            written.append(now)
            file.write(snapshot)
    assert written == [60.0, 262.0, 464.0, 666.0, 868.0]


def test_a_file_that_cannot_be_written_is_said_so_and_training_goes_on(bigram, dataset, tmp_path, caplog):
    (tmp_path / "file").touch()
    file = file_at(tmp_path / "file" / "r", every=0.0, largest_share=math.inf)
    model, alone = bigram(), bigram()
    result = run(model, dataset, resume=file)
    assert "a kill now would cost more steps" in caplog.text and file.written == 0
    assert outcome(model, result) == outcome(alone, run(alone, dataset))


def test_saving_draws_no_random_number_and_changes_nothing(bigram, dataset, tmp_path):
    saved, alone = bigram(dropout=0.3), bigram(dropout=0.3)
    file = file_at(tmp_path / "r", every=0.0, largest_share=math.inf)
    result = run(saved, dataset, resume=file)
    assert file.written == CONFIG.steps + 1  # once more when it is over
    assert outcome(saved, result) == outcome(alone, run(alone, dataset))


def test_a_model_in_closed_form_starts_again_and_leaves_no_file(uniform, dataset, tmp_path):
    run(uniform, dataset, resume=file_at(tmp_path / "r", every=0.0), should_stop=lambda: True)
    assert uniform.seen.sum() == dataset.splits["train"].lengths.sum() and not list(tmp_path.iterdir())


@pytest.fixture
def task(tmp_path):
    train = asdict(replace(CONFIG, batch_size=2, crop=None))
    config = {
        "model": {"name": "tiny", "width": 4, "wrong": "", "pause": 0.0},
        "data": {"name": "tiny_data", "length": 16, "vocab_size": 16, "sample_rate": 8000},
        "train": train,
        "measure": ["nll"],
        "plugins": [],
    }
    trial = Trial("base", 0, config, (str(PLUGIN),))
    return lambda name: Task(trial=trial, lane="training", folder=str(tmp_path / name))


def test_a_stopped_trial_has_no_record_and_continues_into_the_undisturbed_one(task, caplog):
    caplog.set_level(logging.INFO, "harness")
    stopped, straight = task("stopped"), task("straight")
    said = [""]
    with pytest.raises(Stopped):
        run_task(stopped, lambda _, text: said.append(text), lambda: said[-1].startswith("step 10/"))
    assert [file.name for file in Path(stopped.folder).iterdir()] == ["resume.safetensors"]
    for each in (stopped, straight):
        assert run_task(each, lambda *news: None).status == "ok"
        assert not (Path(each.folder) / "resume.safetensors").exists()
    assert "continues at step 10 of 20" in caplog.text
    found, expected = (read_record(each.record_path) for each in (stopped, straight))
    assert {**found.columns, "train_seconds": 0} == {**expected.columns, "train_seconds": 0}
    (resumed,) = found.provenance["resumes"]
    assert resumed["at_step"] == 10 and resumed["written_by"]["threads"] == 1
    assert "resumes" not in expected.provenance


def test_a_trial_asked_to_stop_while_it_is_measured_stops_at_its_next_word(task):
    measuring = task("measuring")
    said = []
    with pytest.raises(Stopped):
        run_task(measuring, lambda _, text: said.append(text), lambda: "measuring nll" in said)
    assert not measuring.record_path.exists() and "NLL of train" not in said
