"""`python -m benchmarks.generation`, and the loop that runs every level at every sample."""

from __future__ import annotations

import pytest
import torch

from benchmarks import generation
from benchmarks.every_level import every_level
from harness.configuration import build
from models.poolformer import Poolformer
from models.residual import ResBlock

TINY = (
    *("--width", "8", "--layers", "1", "--pooling", "2,3", "--hidden", "8", "--batch", "1,2"),
    *("--check-samples", "20", "--repetitions", "3", "--seconds", "0.01", "--threads", "1"),
)


def poolformer(**options):
    torch.manual_seed(0)
    options = {"width": 8, "layers": 1, "pooling": [2, 3], "mixer": {"name": "rg_lru", "hidden": 8}} | options
    return build("models", {"name": "poolformer", **options}, vocab_size=256).eval()


def test_one_command_compares_both_at_every_batch(run):
    table, printed = run(generation.app, *TINY)
    assert set(table.loc[table["name"] != "ours, kernel", "status"]) == {"ok"}
    assert set(table["batch"]) == {1, 2} and set(table["length"]) == {6}
    table = table[table["status"] == "ok"]
    assert (table["max_error"] < 1e-5).all()
    speed = 1e3 * table["batch"] * table["length"] / table["median_ms"]
    assert table["samples_per_second"].tolist() == pytest.approx(speed.tolist())
    assert table["real_time_factor"].tolist() == pytest.approx((speed / 16_000).tolist())
    ours, naive = (table[table["name"] == name] for name in ("ours, step", "every level at every sample"))
    assert len(ours) == len(naive) == 2
    assert table.groupby("batch")["ours"].sum().tolist() == [1, 1]
    assert (table.loc[table["ours"], "ratio_to_ours"] == 1).all()
    assert "every level at every sample" in printed


def test_the_naive_loop_gives_the_same_logits_bit_for_bit():
    model = poolformer()
    tokens = torch.randint(256, (2, 15))
    found = generation.step_by_step(every_level(model), tokens)
    assert torch.equal(found, generation.step_by_step(model, tokens))


@pytest.mark.parametrize(("naive", "times"), [(False, [12, 6, 2]), (True, [12, 12, 12])])
def test_the_naive_loop_runs_every_level_at_every_sample_and_ours_does_not(naive, times, monkeypatch):
    """Blocks at the sample rate, in the middle and at the bottom, over 12 samples."""
    model = poolformer()
    stepped = every_level(model) if naive else model
    body = stepped.body
    levels = {id(body.up[0]): 0, id(body.inner.up[0]): 1, id(body.inner.inner[0]): 2}
    counts, step = [0, 0, 0], ResBlock.step

    def counting(block, x, state):
        if id(block) in levels:
            counts[levels[id(block)]] += 1
        return step(block, x, state)

    monkeypatch.setattr(ResBlock, "step", counting)
    generation.step_by_step(stepped, torch.zeros(1, 12, dtype=torch.long))
    assert counts == times


def test_the_naive_copy_leaves_the_model_as_it_was():
    model = poolformer()
    every_level(model)
    assert "Eager" not in type(model.body).__name__


def test_levels_of_unequal_width_are_refused():
    with pytest.raises(ValueError, match="equally wide"):
        every_level(poolformer(widening=2))


def test_a_loop_that_computes_something_else_is_not_timed(run, monkeypatch):
    other = poolformer(layers=2)
    impostor = generation.Candidate(
        name="impostor",
        model=generation.Stepped(other),
        logits=lambda tokens: generation.step_by_step(other, tokens),
    )
    candidates = generation.candidates
    monkeypatch.setattr(generation, "candidates", lambda model: [impostor, *candidates(model)])
    table, _ = run(generation.app, *TINY)
    rows = table[table["name"] == "impostor"]
    assert set(rows["status"]) == {"wrong"} and rows["median_ms"].isna().all()
    assert not rows["ours"].any() and table["ours"].sum() == 2


def test_a_model_that_the_kernel_does_not_know_is_drawn_by_its_steps(run, monkeypatch):
    monkeypatch.setattr(Poolformer, "drawer", lambda model, batch_size: None)
    monkeypatch.setattr(generation, "why_no_kernel", lambda model: "no kernel steps through it")
    table, _ = run(generation.app, *TINY)
    kernel = table[table["name"] == "ours, kernel"]
    assert set(kernel["status"]) == {"missing"} and set(kernel["note"]) == {"no kernel steps through it"}
    assert table.loc[table["ours"], "name"].tolist() == ["ours, step"] * 2


@pytest.mark.parametrize(("layers", "agrees"), [(1, True), (2, False)])
def test_a_drawer_that_reads_no_tokens_is_judged_by_its_likelihoods(layers, agrees):
    drawn = generation.Candidate(name="drawn", model=generation.Stepped(poolformer(layers=layers)))
    error = generation.error_of(drawn, poolformer(), 20)
    assert (error < 1e-5) == agrees
