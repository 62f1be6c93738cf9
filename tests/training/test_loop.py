import csv
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from harness.errors import PluginError
from harness.evaluation.nll import split_nll
from harness.training.batches import TrainingBatches
from harness.training.config import TrainConfig
from harness.training.history import write_history
from harness.training.loop import PATIENCE, train
from harness.training.loss import mean_bits

CONFIG = TrainConfig(
    steps=30, batch_size=4, crop=6, learning_rate=0.1, warmup_steps=5, validate_every=10, ema_decay=0.8
)


def run(model, dataset, config=CONFIG, seed=0, **options):
    return train(model, dataset, config, seed=seed, device="cpu", **options)


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_model_learns_and_its_curve_says_so(bigram, dataset):
    result = run(bigram(), dataset, replace(CONFIG, steps=120))
    curve = [row.nll_bits_validation for row in result.history]
    assert curve[0] > 3.5 and curve[-1] < 1.5
    assert not result.diverged and result.reason == ""


def test_the_curve_has_a_point_before_training_at_every_interval_and_at_the_last_step(bigram, dataset):
    result = run(bigram(), dataset, replace(CONFIG, steps=25))
    assert [row.step for row in result.history] == [0, 10, 20, 25]
    first, *rest = result.history
    assert first.seconds == 0 and first.tokens == 0
    assert math.isnan(first.nll_bits_train) and math.isnan(first.learning_rate)
    assert all(row.nll_bits_train > 0 for row in rest)
    for name in ("seconds", "tokens"):
        values = [getattr(row, name) for row in result.history]
        assert values == sorted(values) and len(set(values)) == len(values)
    assert result.columns() == {
        "train_steps": 25,
        "train_tokens": result.history[-1].tokens,
        "train_seconds": result.history[-1].seconds,
        "skipped_updates": 0,
    }


def test_the_training_loss_of_the_curve_is_the_mean_over_true_tokens_since_the_last_point(bigram, dataset):
    config = replace(CONFIG, steps=4, validate_every=4, warmup_steps=1000, learning_rate=1e-9)
    model = bigram()
    result = run(model, dataset, config)  # the model does not move
    batches = TrainingBatches(dataset.splits["train"], batch_size=4, crop=6, seed=0)
    bits = tokens = 0.0
    for number in range(4):
        x, lengths = batches[number]
        bits += mean_bits(model(x), x, lengths).item() * float(lengths.sum())
        tokens += float(lengths.sum())
    assert result.history[-1].nll_bits_train == pytest.approx(bits / tokens, rel=1e-5)
    assert result.tokens == tokens


def test_one_seed_twice_gives_bit_identical_weights_and_curves(bigram, dataset):
    models = [bigram(dropout=0.3), bigram(dropout=0.3)]
    results = [run(model, dataset) for model in models]
    assert equal(weights(models[0]), weights(models[1]))
    strip = [[replace(row, seconds=0.0) for row in result.history] for result in results]
    assert str(strip[0]) == str(strip[1])


def test_another_seed_gives_other_weights(bigram, dataset):
    models = [bigram(), bigram()]
    for seed, model in enumerate(models):
        run(model, dataset, seed=seed)
    assert not equal(weights(models[0]), weights(models[1]))


def test_watching_a_training_does_not_change_it(bigram, dataset):
    watched, alone = bigram(dropout=0.3), bigram(dropout=0.3)
    seen = []
    run(watched, dataset, replace(CONFIG, validate_every=1), on_progress=lambda *news: seen.append(news))
    run(alone, dataset, replace(CONFIG, validate_every=30))
    assert equal(weights(watched), weights(alone))
    assert [news[:2] for news in seen] == [(step, 30) for step in range(1, 31)]
    assert all(math.isfinite(bits) for *_, bits in seen)


def test_the_model_comes_back_in_evaluation_mode_with_the_averaged_weights(bigram, dataset):
    model = bigram(dropout=0.5)
    result = run(model, dataset)
    assert not model.training
    nll = split_nll(model, dataset.splits["validation"], window=6, max_clips=64, device="cpu")
    assert nll.bits == pytest.approx(result.history[-1].nll_bits_validation, rel=1e-6)
    averaged, plain = model, bigram(dropout=0.5)
    run(plain, dataset, replace(CONFIG, ema_decay=0.0))
    assert not equal(weights(averaged), weights(plain))


def test_a_model_that_yields_nan_is_given_up_after_some_patience(bigram, dataset):
    model = bigram()
    model.head.bias.data.fill_(math.nan)
    result = run(model, dataset, replace(CONFIG, steps=1000))
    assert result.diverged and "not finite" in result.reason
    assert result.steps == result.skipped_updates == PATIENCE
    assert result.history[-1].step == PATIENCE


def test_a_model_whose_every_update_explodes_has_diverged(bigram, dataset):
    result = run(bigram(), dataset, replace(CONFIG, skip_norm=1e-12))
    assert result.diverged and "all 30 updates were skipped" in result.reason


def test_a_passing_nan_is_skipped_and_training_goes_on(bigram, dataset):
    model = bigram()
    forward, calls = model.forward, iter(range(10**6))
    model.forward = lambda x: forward(x) * (math.nan if model.training and next(calls) % 5 == 2 else 1.0)
    result = run(model, dataset)
    assert not result.diverged and result.skipped_updates == 6
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_model_that_is_not_finite_in_the_end_has_diverged(bigram, dataset):
    model = bigram()
    forward = model.forward
    model.forward = lambda x: forward(x) if model.training else forward(x) * math.inf
    result = run(model, dataset)
    assert result.diverged and "after training" in result.reason


def test_a_model_in_closed_form_sees_the_whole_training_split_once(uniform, dataset):
    result = run(uniform, dataset)
    split = dataset.splits["train"]
    assert int(uniform.seen.sum()) == split.lengths.sum() == result.tokens
    assert [row.step for row in result.history] == [0, 1]
    assert result.history[-1].nll_bits_validation == pytest.approx(4.0, abs=1e-6)  # 16 tokens


def test_a_model_with_nothing_to_train_is_refused(dataset):
    class Constant(torch.nn.Module):
        def forward(self, tokens):
            return torch.zeros(*tokens.shape, 16)

    with pytest.raises(PluginError, match="no trainable parameter"):
        run(Constant(), dataset)


def test_bfloat16_keeps_its_weights_in_float32_and_learns(bigram, dataset):
    model = bigram()
    result = run(model, dataset, replace(CONFIG, steps=120, precision="bfloat16"))
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert result.history[-1].nll_bits_validation < 1.6


def test_training_leaves_torchs_precision_as_it_was(bigram, dataset):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    run(bigram(), dataset, replace(CONFIG, precision="tf32", steps=2))
    assert before == (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)


def test_padding_enters_neither_the_loss_nor_the_gradient():
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 16, dtype=torch.float64, requires_grad=True)
    tokens, lengths = torch.randint(16, (2, 5)), torch.tensor([5, 2])
    loss = mean_bits(logits, tokens, lengths)
    by_hand = [
        -F.log_softmax(logits[b, t], -1)[tokens[b, t]] / math.log(2)
        for b in (0, 1)
        for t in range(lengths[b])
    ]
    assert loss.item() == pytest.approx(sum(by_hand).item() / 7, rel=1e-12)
    loss.backward()
    assert not logits.grad[1, 2:].any() and logits.grad[1, :2].all()
    broken = logits.detach().clone()
    broken[1, 2:] = math.nan
    broken.requires_grad_()
    mean_bits(broken, tokens, lengths).backward()
    assert torch.equal(broken.grad[:, :2], logits.grad[:, :2])


def test_a_history_file_reads_back_exactly(bigram, dataset, tmp_path):
    history = run(bigram(), dataset).history
    write_history(tmp_path / "history.csv", history)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("step", "seconds", "tokens", "learning_rate", "nll_bits_train", "nll_bits_validation")
    ]
    for row, point in zip(rows, history, strict=True):
        assert int(row["step"]) == point.step and int(row["tokens"]) == point.tokens
        assert float(row["nll_bits_validation"]) == point.nll_bits_validation


def test_a_compiled_training_takes_the_same_path_and_says_how_long_compiling_took(
    bigram, dataset, monkeypatch
):
    compiled = []

    def compile_eagerly(model):  # the tracing without the code generation, which takes half a minute
        compiled.append(model)
        return torch_compile(model, backend="aot_eager")

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile_eagerly)
    plain, traced = bigram(dropout=0.3), bigram(dropout=0.3)
    result = run(plain, dataset)
    fast = run(traced, dataset, replace(CONFIG, compile=True))
    assert compiled == [traced]
    assert "compile_seconds" not in result.columns() and fast.columns()["compile_seconds"] > 0
    assert fast.history[-1].nll_bits_validation == pytest.approx(
        result.history[-1].nll_bits_validation, abs=1e-4
    )
