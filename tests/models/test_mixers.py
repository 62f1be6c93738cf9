"""Laws of every mixer, and what is particular to each."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.configuration import build
from harness.errors import ConfigError
from harness.evaluation.flop_counter import FlopCounter

few = settings(max_examples=15, deadline=None)
SPECS: dict[str, dict[str, Any]] = {
    "rg_lru": {"name": "rg_lru"},
    "rg_lru real": {"name": "rg_lru", "complex": False, "hidden": 12, "blocks": 3},
    "rg_lru unscaled": {"name": "rg_lru", "normalize_input": False},
    "rg_lru without a recurrence gate": {"name": "rg_lru", "recurrence_gate": False},
    "rg_lru without an input gate": {"name": "rg_lru", "input_gate": False, "ring_of": "decay"},
    "lru": {"name": "lru"},
    "lru real": {"name": "lru", "complex": False},
    "diagonal_rnn": {"name": "diagonal_rnn"},
    "attention": {"name": "attention", "heads": 2},
    "attention in a window": {"name": "attention", "heads": 4, "window": 5},
    "convolution": {"name": "convolution"},
    "convolution by channel": {"name": "convolution", "kernel": 4, "groups": 8},
}
each = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def mixer(spec: dict[str, Any], width: int = 8) -> Any:
    torch.manual_seed(0)
    return build("mixers", spec, width=width, stride=1).double()


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def size(state: Any) -> int:
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    return sum(size(part) for part in (state.values() if isinstance(state, dict) else state))


@each
@given(length=st.integers(1, 40))
@few
def test_stepping_equals_the_whole_sequence_and_the_state_is_as_large_as_it_says(
    spec: dict[str, Any], length: int
) -> None:
    layer, x = mixer(spec), randn(3, length, 8)
    state = layer.initial_state(3)
    assert size(state) == layer.state_size(3, 0)
    outputs = []
    for t in range(length):
        y, state = layer.step(x[:, t], state)
        outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs, dim=1), layer(x), rtol=1e-11, atol=1e-12)
    assert size(state) == layer.state_size(3, length)


@each
@given(length=st.integers(2, 40), data=st.data())
@few
def test_the_past_does_not_know_the_future_by_a_single_bit(
    spec: dict[str, Any], length: int, data: st.DataObject
) -> None:
    layer, x = mixer(spec), randn(2, length, 8)
    t = data.draw(st.integers(1, length - 1))
    before = layer(x)[:, :t]
    x[:, t:] += 1
    assert torch.equal(layer(x)[:, :t], before)


@each
def test_gradients_reach_every_parameter_and_the_input(spec: dict[str, Any]) -> None:
    layer, x = mixer(spec), randn(2, 12, 8).requires_grad_()
    layer(x).square().sum().backward()
    for name, tensor in {**dict(layer.named_parameters()), "x": x}.items():
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@each
def test_lower_precisions_run_and_keep_their_type(spec: dict[str, Any], dtype: torch.dtype) -> None:
    layer, x = mixer(spec).to(dtype), randn(2, 12, 8).to(dtype)
    assert layer(x).dtype == dtype
    assert layer.step(x[:, 0], layer.initial_state(2))[0].dtype == dtype


# ------------------------------------------------------------------------------ recurrences


def test_a_decay_within_rounding_of_one_gives_numbers_and_bounded_gradients() -> None:
    """The form 1 - |a|^2 is negative there in float32, and its root not a number."""
    layer = mixer({"name": "rg_lru"}).float()
    nn.init.constant_(layer.decay.rate, -18.0)
    layer(torch.randn(1, 64, 8)).sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize(("adaptive", "largest"), [(False, 0.1), (True, 0.8)])
def test_decays_start_on_the_ring_with_small_phases(adaptive: bool, largest: float) -> None:
    spec = {"name": "rg_lru", "hidden": 4096, "adaptive_phase": adaptive}
    decay = build("mixers", spec, width=8, stride=8).decay
    radius = torch.exp(-F.softplus(decay.rate))
    assert radius.min() > 0.8999 and radius.max() < 0.9901
    uniform = (radius**2 - 0.9**2) / (0.99**2 - 0.9**2)  # equal area on the ring
    assert abs(uniform.mean().item() - 0.5) < 0.03
    assert decay.phase.min() >= 0 and 0.95 * largest < decay.phase.max() / math.pi <= largest


def test_the_ring_may_be_that_of_the_decay_itself() -> None:
    spec = {"name": "rg_lru", "hidden": 4096, "ring_of": "decay", "max_radius": 0.999}
    decay = torch.exp(build("mixers", spec, width=8).decay()[0])
    assert decay.min() > 0.8999 and 0.998 < decay.max() < 0.9991


def test_the_gates_have_an_eighth_of_the_hidden_size_in_blocks_where_that_divides() -> None:
    def blocks(**options: Any) -> int:
        return build("mixers", {"name": "rg_lru", **options}, width=options.pop("width", 8)).gates.blocks

    assert blocks(hidden=256) == 32
    assert blocks(hidden=36) == 3  # 18 channels: 4 does not divide them
    assert blocks(hidden=256, blocks=2) == 2


# -------------------------------------------------------------------------------- attention


@given(length=st.integers(1, 40), window=st.integers(1, 12))
@few
def test_a_window_hides_what_is_further_back(length: int, window: int) -> None:
    layer, x = mixer({"name": "attention", "heads": 2, "window": window}), randn(2, length, 8)
    query, key, value = layer._project(x)
    back = torch.arange(length)[:, None] - torch.arange(length)
    mask = (back >= 0) & (back < window)
    query, key = layer._rotate(query), layer._rotate(key)
    y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(layer(x), layer.output(y.transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_is_counted_once_on_every_device(device: str) -> None:
    layer = build("mixers", {"name": "attention"}, width=16).to(device)
    with FlopCounter() as counter:
        layer(torch.zeros(2, 32, 16, device=device))
    projections = 2 * 2 * 32 * 16 * (3 * 16 + 16)
    assert counter.total == projections + 2 * 4 * 32 * 32 * 16


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"name": "rg_lru", "hidden": 7}, "hidden"),
        ({"name": "rg_lru", "blocks": 0}, "blocks"),
        ({"name": "rg_lru", "blocks": 3}, "blocks"),
        ({"name": "lru", "min_radius": 1.5}, "min_radius"),
        ({"name": "lru", "max_radius": 0.5}, "max_radius"),
        ({"name": "lru", "c": -8.0}, "c"),
        ({"name": "diagonal_rnn", "max_decay": 1.0}, "max_decay"),
        ({"name": "attention", "heads": 3}, "heads"),
        ({"name": "attention", "window": 0}, "window"),
        ({"name": "convolution", "kernel": 0}, "kernel"),
        ({"name": "convolution", "groups": 3}, "groups"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mixer(spec)
    assert caught.value.path == (field,)
