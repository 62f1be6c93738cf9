"""A batch worked through in parts: the same update, and what is done where memory runs out."""

import math
import multiprocessing
import re
import resource
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import killed
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import configuration
from harness.execution.isolation import Worker
from harness.execution.run_trial import Task, run_task
from harness.suite.trial import Trial
from harness.training.config import TrainConfig
from harness.training.loop import train
from harness.training.resume import ResumeFile
from harness.training.seeds import seed_everything
from harness.training.shortage import ran_out_of_memory
from harness.training.step import compile_ahead, training_step
from harness.training.stopping import Stopped
from harness.training.update import Update

CONFIG = TrainConfig(steps=8, batch_size=4, crop=6, learning_rate=0.1, warmup_steps=0, validate_every=4)

LAWS = settings(max_examples=8, deadline=None, derandomize=True)


def gradients(model, tokens, lengths, parts, precision="float32"):
    """Of each parameter, as the update sees them before it clips; and what it says."""
    update = Update(model, replace(CONFIG, clip_norm=None, skip_norm=1e-12, precision=precision))
    found = {}
    hooks = [
        parameter.register_post_accumulate_grad_hook(
            lambda parameter, name=name: found.__setitem__(name, parameter.grad.clone())
        )
        for name, parameter in model.named_parameters()
    ]
    applied = training_step(update, tokens, lengths, micro_batches=parts)
    for hook in hooks:
        hook.remove()
    return found, applied


def of(spec, vocabulary=16):
    seed_everything("initialisation", 0)
    return configuration.build("models", spec, vocab_size=vocabulary)


@LAWS
@given(data=st.data(), parts=st.integers(2, 5))
def test_parts_of_a_ragged_batch_give_the_gradient_loss_and_norm_of_the_whole(data, parts):
    rows = data.draw(st.integers(parts, 7))
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, 10), min_size=rows, max_size=rows)))
    tokens = torch.randint(16, (rows, 10), generator=torch.Generator().manual_seed(rows))
    model = of({"name": "poolformer", "width": 4, "layers": 1, "pooling": [2], "dropout": 0.0}).double()
    whole, applied = gradients(model, tokens, lengths, 1)
    split, in_parts = gradients(model, tokens, lengths, parts)
    assert in_parts.loss == pytest.approx(applied.loss, rel=1e-12)
    assert in_parts.gradient_norm == pytest.approx(applied.gradient_norm, rel=1e-10)
    torch.testing.assert_close(split, whole, rtol=1e-9, atol=1e-12)


def test_a_mean_of_the_parts_means_would_be_another_gradient(bigram):
    """So the law above can fail: a part of one token must not weigh as much as one of twenty."""
    tokens, lengths = torch.arange(20).view(2, 10) % 16, torch.tensor([1, 10])
    whole, _ = gradients(bigram(), tokens, lengths, 1)
    halves = [gradients(bigram(), tokens[[row]], lengths[[row]], 1)[0] for row in (0, 1)]
    mean = {name: (halves[0][name] + halves[1][name]) / 2 for name in whole}
    with pytest.raises(AssertionError):
        torch.testing.assert_close(mean, whole)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_in_parts_ends_where_one_in_whole_batches_does(bigram, dataset, precision):
    config = replace(CONFIG, precision=precision)
    results = [
        train(bigram(), dataset, config, seed=0, device="cpu", micro_batches=parts) for parts in (1, 2, 4)
    ]
    curves = [[row.nll_bits_validation for row in result.history] for result in results]
    assert curves[1] == pytest.approx(curves[0], rel=1e-5 if precision == "float32" else 2e-2)
    assert curves[2] == pytest.approx(curves[0], rel=1e-5 if precision == "float32" else 2e-2)
    assert [result.tokens for result in results] == [results[0].tokens] * 3
    assert "gradient_accumulation" not in results[0].columns()
    assert results[1].columns()["gradient_accumulation"] == 2


def test_compiling_ahead_of_parts_leaves_weights_gradients_and_buffers_alone(bigram, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: model)
    model = bigram(dropout=0.3)
    model.register_buffer("calls", torch.zeros(1))

    def count(module, inputs):
        module.calls += len(inputs[0])

    model.register_forward_pre_hook(count)
    update = Update(model, replace(CONFIG, compile=True))
    before, state = [value.clone() for value in model.state_dict().values()], torch.get_rng_state()
    assert compile_ahead(update, torch.zeros(4, 5).long(), torch.full((4,), 5), micro_batches=2) > 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
    assert torch.equal(state, torch.get_rng_state()) and all(p.grad is None for p in model.parameters())


def test_a_training_continues_in_as_many_parts_as_it_was_stopped_in(bigram, dataset, tmp_path):
    def file():
        return ResumeFile(tmp_path / "r", identity={}, every=math.inf)

    with pytest.raises(Stopped):
        train(
            bigram(), dataset, CONFIG, seed=0, device="cpu",
            resume=file(), micro_batches=2, should_stop=lambda: True,
        )  # fmt: skip
    result = train(bigram(), dataset, CONFIG, seed=0, device="cpu", resume=file())
    assert result.columns()["gradient_accumulation"] == 2 and result.resumes


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_what_is_out_of_memory(failure, expected):
    assert ran_out_of_memory(failure) is expected


def test_torchs_own_words_for_it_are_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert ran_out_of_memory(caught.value)


PLUGINS = (
    str(Path(__file__).with_name("hungry_plugin.py")),
    str(Path(__file__).parents[1] / "execution" / "toy_plugin.py"),
)


def trial(batch_size=4, **model):
    config = {
        "model": {"name": "hungry", **model},
        "data": {"name": "tiny_data", "length": 16, "vocab_size": 16, "sample_rate": 8000},
        "train": asdict(replace(CONFIG, batch_size=batch_size)),
        "measure": ["nll", {"name": "efficiency", "seconds": 0.0, "min_steps": 1, "warmup_steps": 0}],
        "plugins": [],
    }
    return Trial("hungry", 0, config, PLUGINS)


@pytest.fixture
def attempt(tmp_path):
    """Runs both lanes of a trial whose model holds no more clips than `fits`; its record."""

    def run(**options):
        task = Task(trial(**options), "training", str(tmp_path / "trial"))
        record = run_task(task, lambda *news: None)
        if record.status == "ok":
            record = run_task(replace(task, lane="exclusive"), lambda *news: None)
        return record

    return run


def test_a_batch_that_does_not_fit_is_trained_and_timed_in_two_parts(attempt, caplog):
    record = attempt(fits=2)
    assert (record.status, record.error) == ("ok", "")
    assert record.columns["gradient_accumulation"] == 2 and record.columns["train_step_ms"] > 0
    assert "trains once more, its batches of 4 in 2 parts" in caplog.text


def test_one_that_fits_says_nothing_of_parts(attempt):
    record = attempt(fits=4)
    assert record.status == "ok" and "gradient_accumulation" not in record.columns


def test_a_failure_late_in_training_does_not_train_on_what_the_first_attempt_left(attempt):
    late, early = attempt(fits=2, after=5), attempt(fits=2)
    assert late.columns["nll_bits_test"] == early.columns["nll_bits_test"]


@pytest.mark.parametrize("sizes", [{"fits": 1}, {"fits": 0, "batch_size": 1}])
def test_what_does_not_fit_in_two_parts_either_is_out_of_memory(attempt, sizes):
    record = attempt(**sizes)
    assert record.status == "out_of_memory" and "can't allocate memory" in record.error


@pytest.mark.parametrize(("batch_size", "parts"), [(4, [1, 2]), (1, [1])])
def test_a_trial_killed_for_its_memory_from_outside_is_run_again_in_half_batches_once(
    tmp_path, batch_size, parts
):
    class Watched(Worker):
        seen: ClassVar = []

        def _messages(self, task):
            self.seen.append(task.micro_batches)
            yield {"ended": -9, "because": "memory"}

    Watched.seen.clear()
    task = Task(trial(fits=0, batch_size=batch_size), "training", str(tmp_path), memory_gib=1.0)
    record = Watched(threads=1).run(task, lambda *news: None)
    assert Watched.seen == parts
    assert record.status == "out_of_memory" and "more than its limit of 1.0 GiB" in record.error


def within(mib, task, sending):
    """In a process of its own: a trial with so much more memory than the process has."""
    text = Path("/proc/self/status").read_text()
    held = 1024 * int(re.search(r"VmData:\s+(\d+) kB", text)[1])
    resource.setrlimit(resource.RLIMIT_DATA, (held + (mib << 20),) * 2)
    torch.set_num_threads(1)
    sending.send(run_task(task, lambda *news: None))


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of memory that is kept to")
def test_a_trial_beyond_a_real_limit_of_memory_ends_well_in_half_batches(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(killed.PRELOAD)
    task = Task(trial(fits=99, mib_a_clip=256), "training", str(tmp_path))
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=within, args=(800, task, sending), daemon=True)  # of 1024 MiB
    process.start()
    sending.close()
    record = receiving.recv()
    process.join()
    assert (record.status, record.error) == ("ok", "")
    assert record.columns["gradient_accumulation"] == 2
