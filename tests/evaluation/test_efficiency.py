import logging
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import configuration, registry
from harness.contracts import report_flops
from harness.errors import ConfigError
from harness.evaluation import flops
from harness.evaluation.efficiency import Efficiency
from harness.evaluation.flop_counter import FlopCounter
from harness.evaluation.flops import build_to_count, count_parameters, flops_per_token
from harness.evaluation.memory import MIB, PeakMemory, SavedForBackward
from harness.evaluation.timing import repeat

CPU = torch.device("cpu")


class Layers(nn.Module):
    """Applies a function of one-hot tokens; counts only."""

    def __init__(self, *layers, vocab_size=10):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.vocab_size = vocab_size

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers(F.one_hot(tokens, self.vocab_size).float())


def test_a_linear_layer_costs_two_operations_a_weight():
    model = Layers(nn.Linear(10, 7), nn.ReLU(), nn.Linear(7, 3, bias=False))
    assert flops_per_token(model, 5) == 2 * (10 * 7 + 7 * 3)
    assert flops_per_token(model, 500) == 2 * (10 * 7 + 7 * 3)


def test_what_a_layer_reports_itself_is_added():
    class Scan(nn.Module):
        def forward(self, x):
            report_flops(3.0 * x.numel())
            return x.cumsum(1)

    assert flops_per_token(Layers(nn.Linear(10, 7), Scan()), 6) == 2 * 10 * 7 + 3 * 7


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_counts_its_whole_square_on_every_device(device):
    class Attention(nn.Module):
        def forward(self, x):
            return F.scaled_dot_product_attention(x, x, x, is_causal=True)

    with torch.device(device):
        model = Layers(nn.Linear(10, 8), Attention())
    assert flops_per_token(model, 12) == 2 * 10 * 8 + 2 * 2 * 12 * 8


def test_a_tied_parameter_counts_once_and_a_complex_one_twice():
    model = nn.Module()
    model.a = nn.Linear(3, 3, bias=False)
    model.b = nn.Linear(3, 3, bias=False)
    model.b.weight = model.a.weight
    model.z = nn.Parameter(torch.zeros(4, dtype=torch.complex64))
    assert count_parameters(model) == 9 + 8


@pytest.mark.parametrize("small", [True, False])
def test_a_large_model_is_counted_without_memory_for_its_weights(toy, small, monkeypatch):
    monkeypatch.setattr(flops, "SMALL_MODEL", 10**6 if small else 1000)
    model = build_to_count({"name": "evaluation_toy", "width": 32}, vocab_size=256)
    assert all(p.is_meta is not small for p in model.parameters())
    assert count_parameters(model) == count_parameters(toy(width=32))
    assert flops_per_token(model, 10) == 2 * 32 * 256


def test_a_long_run_is_followed_not_made(toy, monkeypatch):
    seen = []
    monkeypatch.setattr(flops, "_count", lambda model, _: seen.append(next(model.parameters()).device))
    model = build_to_count({"name": "evaluation_toy", "width": 32}, vocab_size=256)
    for length in (1, flops.LONGEST_RUN, flops.LONGEST_RUN + 1):
        flops_per_token(model, length)
    assert [device.type for device in seen] == ["cpu", "cpu", "meta"]


@pytest.mark.parametrize("without_memory", [True, False])
def test_one_tensor_that_no_memory_holds_is_counted_without_or_refused(monkeypatch, without_memory):
    class Huge(torch.nn.Module):
        def __init__(self, config, *, vocab_size):
            super().__init__()
            if not without_memory and torch.get_default_device().type == "meta":
                raise NotImplementedError("needs values")
            self.weight = torch.nn.Parameter(torch.empty(1 << 50))

    found = configuration.Resolved(name="huge", cls=Huge, config=None)
    monkeypatch.setattr(configuration, "resolve", lambda *_: found)
    if without_memory:
        assert build_to_count("huge", vocab_size=2).weight.is_meta
    else:
        with pytest.raises(ConfigError, match="huge is too large for this machine's memory"):
            build_to_count("huge", vocab_size=2)


def test_counting_leaves_random_numbers_and_threads_as_they_were():
    threads, before = torch.get_num_threads(), torch.random.get_rng_state()
    flops_per_token(build_to_count({"name": "evaluation_toy", "width": 32}, vocab_size=256), 10)
    assert torch.get_num_threads() == threads
    torch.testing.assert_close(torch.random.get_rng_state(), before)


class NeedsValues(nn.Linear):
    """Looks at a value of its weights, when it is built or when it runs."""

    when: str

    @dataclass(frozen=True, kw_only=True)
    class Config: ...

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__(vocab_size, vocab_size)
        if self.when == "built":
            self.weight.max().item()

    def forward(self, tokens: Tensor) -> Tensor:
        if self.when == "run":
            self.weight.max().item()
        return super().forward(F.one_hot(tokens, self.in_features).float())


@registry.register("models", "evaluation_built_with_values")
class BuiltWithValues(NeedsValues):
    when = "built"


@registry.register("models", "evaluation_run_with_values")
class RunWithValues(NeedsValues):
    when = "run"


@pytest.mark.parametrize("name", ["evaluation_built_with_values", "evaluation_run_with_values"])
def test_a_large_model_that_needs_values_is_counted_on_the_cpu_and_that_is_said(name, caplog, monkeypatch):
    monkeypatch.setattr(flops, "SMALL_MODEL", 10)
    with caplog.at_level(logging.WARNING, logger="harness"):
        model = build_to_count(name, vocab_size=5)
        assert count_parameters(model) == 5 * 5 + 5
        assert flops_per_token(model, 3) == 2 * 5 * 5
    assert "does not work on torch's meta device" in caplog.text and "a real run" in caplog.text


def test_a_model_that_fails_everywhere_says_so_in_its_own_words():
    class Broken(nn.Module):
        def forward(self, tokens):
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        flops_per_token(Broken(), 3)


def test_what_is_saved_for_backward_counts_each_storage_once_and_no_parameter():
    weight = nn.Linear(100, 100)
    x = torch.randn(50, 100)
    saved = SavedForBackward(weight)
    with saved:
        y = weight(x)  # saves x, and the weight, which is a parameter
        y[:10] * y[10:20]  # saves two views of y
    assert saved.bytes == 4 * (50 * 100 + 50 * 100)


def test_peak_memory_sees_what_was_held_for_a_moment():
    with PeakMemory(CPU) as warm:
        pass
    with PeakMemory(CPU) as memory:
        held = torch.ones(40 * MIB // 4)
        del held
    assert memory.method in {"process_peak", "process_peak_ever"}
    if memory.method == "process_peak":
        assert warm.bytes < 8 * MIB
        assert 39 * MIB < memory.bytes < 52 * MIB


def test_peak_memory_forgets_an_earlier_higher_peak():
    big = torch.ones(80 * MIB // 4)
    del big
    with PeakMemory(CPU) as memory:
        small = torch.ones(10 * MIB // 4)
        del small
    if memory.method == "process_peak":
        assert memory.bytes < 25 * MIB


def test_work_is_repeated_until_the_budget_is_spent_and_at_least_so_often():
    calls = []
    found = repeat(lambda: calls.append(1), device=CPU, seconds=0.0, at_least=4, warmup=2)
    assert len(found) == 4 and len(calls) == 6 and (found >= 0).all()
    assert len(repeat(lambda: None, device=CPU, seconds=0.02, at_least=1, warmup=0)) > 10


CONFIG = Efficiency.Config(seconds=0.05, min_steps=2, warmup_steps=1)


def test_the_metric_fills_its_columns_and_leaves_the_model_alone(toy, context):
    model = toy(dropout=0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    columns = Efficiency(CONFIG).measure(context(model, "evaluation_toy"))
    assert set(columns) == set(Efficiency.columns)
    assert columns["parameters"] == count_parameters(model)
    assert columns["flops_per_token"] == 2 * 6 * 256
    assert columns["state_bytes"] == 24
    assert columns["train_step_ms"] > 0 and columns["train_steps_timed"] >= 2
    assert columns["saved_for_backward_mib"] > 4 * 4 * 16 * 256 / MIB  # the log-probabilities at least
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training and all(p.grad is None for p in model.parameters())


def test_a_model_in_closed_form_has_no_training_step(counted, context):
    columns = Efficiency(CONFIG).measure(context(counted, "evaluation_counted"))
    assert columns == {"parameters": 0, "flops_per_token": 0.0, "state_bytes": 0}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_operations_made_of_products_are_counted_in_every_mode(mode):
    x = torch.zeros(3, 4)
    with mode(), FlopCounter() as counter:
        F.linear(x, torch.zeros(5, 4), torch.zeros(5))
        torch.einsum("ab,cb->ac", x, torch.zeros(6, 4))
    assert counter.total == 2 * 3 * 4 * (5 + 6)
