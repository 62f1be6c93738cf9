"""`python -m benchmarks.train_step`: what it writes, the reference model, and a matched transformer."""

from __future__ import annotations

import pytest
import torch

from benchmarks import train_step, training
from harness.errors import HarnessError
from harness.evaluation.flops import build_to_count, count_parameters, flops_per_token

SMALL = "{name: poolformer, width: 8, layers: 1, pooling: [2], dropout: 0.0}"
OTHER = "{name: transformer, width: 8, layers: 1, heads: 2}"
TINY = (
    *("--batch", "2", "--length", "16", "--threads", "1", "--matrix", "16"),
    *("--repetitions", "3", "--seconds", "0.01"),
)


def parameters(spec):
    return count_parameters(build_to_count(spec, vocab_size=256))


def test_one_command_times_every_model(run):
    table, printed = run(train_step.app, *TINY, "--model", SMALL, "--model", OTHER)
    assert table["status"].tolist() == ["ceiling", "ok", "ok"]
    models = table.iloc[1:]
    assert models["ours"].tolist() == [True, False] and models["ratio_to_ours"].iloc[0] == 1
    assert (models["peak_memory_mib"] >= 0).all() and models["memory_method"].notna().all()
    assert (models["max_error"] < 1e-4).all() and (models["first_step_s"] > 0).all()
    tokens = 1e3 * 2 * 16 / models["median_ms"]
    assert models["tokens_per_second"].tolist() == pytest.approx(tokens.tolist())
    flops = 3 * models["flops_per_token"] * 2 * 16
    rates = flops / models["median_ms"] / 1e6
    assert models["gflop_per_s"].tolist() == pytest.approx(rates.tolist())
    assert table["gflop_per_s"].iloc[0] == pytest.approx(2 * 16**3 / table["median_ms"].iloc[0] / 1e6)
    assert "poolformer" in printed and "transformer" in printed


def test_the_reference_is_the_model_that_others_timed():
    assert parameters(training.REFERENCE) == 1_263_360
    assert training.MODELS["poolformer"] == training.REFERENCE


def test_a_reference_that_drifted_is_refused(monkeypatch):
    monkeypatch.setattr(training, "REFERENCE_PARAMETERS", 5)
    with pytest.raises(HarnessError, match="1,263,360 parameters, not 5"):
        train_step.check_reference(training.REFERENCE, 1_263_360)
    train_step.check_reference({"name": "other"}, 7)


def test_what_it_is_compared_with_is_of_its_size():
    size = parameters(training.REFERENCE)
    for name in ("unpooled", "factors of 1", "transformer"):
        assert parameters(training.MODELS[name]) == pytest.approx(size, rel=0.03), name


def test_the_unpooled_model_has_as_many_layers():
    unpooled, ours = training.MODELS["unpooled"], training.REFERENCE
    levels = len(ours["pooling"])
    assert unpooled["layers"] == (2 * levels + 1) * ours["layers"]


def test_pooling_saves_work_that_factors_of_one_do_not():
    costs = {
        name: flops_per_token(build_to_count(training.MODELS[name], vocab_size=256), 160)
        for name in ("poolformer", "unpooled", "factors of 1")
    }
    assert costs["poolformer"] < costs["unpooled"] / 2
    assert costs["factors of 1"] == pytest.approx(costs["unpooled"], rel=0.05)


def test_compiled_models_report_their_first_step(run, monkeypatch):
    compiled = []

    def compile_at_once(model):
        compiled.append(model)
        return model

    monkeypatch.setattr(torch, "compile", compile_at_once)
    table, _ = run(train_step.app, *TINY, "--model", SMALL, "--compile")
    assert len(compiled) == 1
    assert table["compiled"].iloc[1] and table["first_step_s"].iloc[1] > 0


def test_a_compiler_that_changes_the_result_is_caught(run, monkeypatch):
    class Miscompiled(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, tokens):
            return self.model(tokens) * 1.5

    monkeypatch.setattr(torch, "compile", Miscompiled)
    table, _ = run(train_step.app, *TINY, "--model", SMALL, "--compile")
    row = table.iloc[1]
    assert row["status"] == "wrong" and row["repetitions"] != row["repetitions"]


def test_bfloat16_is_compared_with_more_room(run):
    table, _ = run(train_step.app, *TINY, "--model", SMALL, "--precision", "bfloat16")
    assert table["status"].iloc[1] == "ok"
    assert 1e-4 < table["max_error"].iloc[1] < 0.2
    assert table["dtype"].iloc[1] == "bfloat16"


def test_wrong_options_are_refused(refusal):
    assert "--precision takes float32" in refusal(train_step.app, "--precision", "fp8")


@pytest.mark.parametrize("text", ["no_such_model", "{name: poolformer, widht: 8}", "{", "{width: 8}"])
def test_an_unknown_model_is_refused_before_anything_is_measured(text):
    with pytest.raises(HarnessError):
        training.specs_of([text])


def test_models_have_labels_that_tell_them_apart():
    found = training.specs_of(["poolformer", "transformer", f"mine={OTHER}", "markov"])
    assert list(found) == ["poolformer", "transformer", "mine", "markov"]
    assert found["transformer"]["width"] == 128 and found["mine"]["width"] == 8
    assert list(training.specs_of([OTHER])) == ["transformer"]
    with pytest.raises(HarnessError, match="two models are called 'transformer'"):
        training.specs_of(["transformer", OTHER])
