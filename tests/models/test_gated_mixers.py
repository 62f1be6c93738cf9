"""minGRU, minLSTM, Gated DeltaNet and GRU against the definitions in the papers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mixer_laws import mixer, randn, with_gradients
from torch import Tensor

from harness.configuration import build
from harness.errors import ConfigError
from models.mixers.gated_delta_net import gated_delta_rule
from models.mixers.min_gru import positive

few = settings(max_examples=10, deadline=None)


# ------------------------------------------------------------------------------ minGRU and minLSTM


@pytest.mark.parametrize("linear_candidate", [False, True])
def test_min_gru_is_that_of_the_paper(linear_candidate: bool) -> None:
    layer, x = mixer({"name": "min_gru", "positive": not linear_candidate}), randn(2, 30, 8)
    h, outputs = torch.zeros(2, 16, dtype=torch.float64), []
    for t in range(30):
        z, candidate = torch.sigmoid(layer.gate(x[:, t])), layer.candidate(x[:, t])
        candidate = candidate if linear_candidate else positive(candidate)
        h = (1 - z) * h + z * candidate
        outputs.append(layer.output(h))
    torch.testing.assert_close(layer(x), torch.stack(outputs, dim=1), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("linear_candidate", [False, True])
def test_min_lstm_is_that_of_the_paper(linear_candidate: bool) -> None:
    layer, x = mixer({"name": "min_lstm", "positive": not linear_candidate}), randn(2, 30, 8)
    h, outputs = torch.zeros(2, 16, dtype=torch.float64), []
    for t in range(30):
        forget, write = torch.sigmoid(layer.forget_gate(x[:, t])), torch.sigmoid(layer.input_gate(x[:, t]))
        candidate = layer.candidate(x[:, t])
        candidate = candidate if linear_candidate else positive(candidate)
        h = (forget * h + write * candidate) / (forget + write)
        outputs.append(layer.output(h))
    torch.testing.assert_close(layer(x), torch.stack(outputs, dim=1), rtol=1e-11, atol=1e-12)


def test_min_lstm_bears_two_gates_that_are_closed() -> None:
    """Their sum is zero in float32, and dividing by it would give no number."""
    layer = mixer({"name": "min_lstm"}).float()
    with torch.no_grad():
        layer.forget_gate.bias.fill_(-200)
        layer.input_gate.bias.fill_(-200)
    layer(torch.randn(2, 20, 8)).sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_positive_candidates_are_positive_increasing_and_without_a_jump() -> None:
    x = torch.linspace(-20, 20, 4001, dtype=torch.float64)
    y = positive(x)
    assert (y > 0).all()
    assert (y.diff() > 0).all() and y.diff().max() < 0.011
    assert positive(torch.tensor(0.0)) == 0.5


# ---------------------------------------------------------------------------------- Gated DeltaNet


def by_definition(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, strength: Tensor, S0: Tensor
) -> tuple[Tensor, Tensor]:
    """Eq. 10 of the paper, with its matrix transposed."""
    S, outputs, identity = S0, [], torch.eye(k.shape[-1], dtype=k.dtype)
    for t in range(q.shape[1]):
        alpha, beta = torch.exp(log_decay[:, t])[..., None, None], strength[:, t, :, None, None]
        key, value = k[:, t, :, :, None], v[:, t, :, None]
        S = alpha * (identity - beta * key @ key.mT) @ S + beta * key @ value
        outputs.append((q[:, t, :, None] @ S).squeeze(-2))
    return torch.stack(outputs, dim=1), S


@given(length=st.integers(1, 70), chunk=st.integers(1, 40), heads=st.integers(1, 3))
@few
def test_the_delta_rule_in_chunks_is_its_definition_with_all_gradients(
    length: int, chunk: int, heads: int
) -> None:
    inputs = {
        "q": randn(2, length, heads, 4),
        "k": F.normalize(randn(2, length, heads, 4), dim=-1),
        "v": randn(2, length, heads, 3),
        "log_decay": -2 * torch.rand(2, length, heads, dtype=torch.float64),
        "strength": torch.rand(2, length, heads, dtype=torch.float64),
        "S0": randn(2, heads, 4, 3),
    }

    def run(**values: Tensor) -> tuple[Tensor, Tensor]:
        return gated_delta_rule(**values, chunk=chunk)

    found, wanted = (with_gradients(function, inputs) for function in (run, by_definition))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_what_a_key_stands_for_is_overwritten_and_other_keys_are_not() -> None:
    """At full strength and without decay; a sum, as in plain linear attention, would keep both values."""
    keys, values = torch.eye(4)[[0, 1, 0]], torch.randn(3, 5)
    k, v = keys[None, :, None], values[None, :, None]
    off, on = torch.zeros(1, 3, 1), torch.ones(1, 3, 1)
    _, S = gated_delta_rule(k, k, v, off, on)
    torch.testing.assert_close(S[0, 0, 0], values[2])
    torch.testing.assert_close(S[0, 0, 1], values[1])


def test_equal_keys_at_full_strength_stay_exact_in_float32() -> None:
    """The worst case of the triangular systems: all ones below the diagonal."""
    k = torch.ones(1, 640, 1, 1)
    v = torch.randn(1, 640, 1, 3)
    o, S = gated_delta_rule(k, k, v, torch.zeros(1, 640, 1), torch.ones(1, 640, 1))
    torch.testing.assert_close(o, v, rtol=0, atol=2e-5)
    torch.testing.assert_close(S[0, 0, 0], v[0, -1, 0], rtol=0, atol=2e-5)


def test_a_layer_has_six_times_the_square_of_its_width_in_parameters() -> None:
    layer = build("mixers", {"name": "gated_delta_net"}, width=256)
    assert sum(p.numel() for p in layer.parameters()) / 256**2 == pytest.approx(6, rel=0.04)
    assert layer.no_decay_parameters() == [layer.A_log, layer.dt_bias]


# ---------------------------------------------------------------------------------------------- GRU


def test_the_gru_is_as_its_equations_say() -> None:
    layer, x = mixer({"name": "gru"}), randn(2, 30, 8)
    gru = layer.recurrence
    h, outputs = torch.zeros(2, 8, dtype=torch.float64), []
    for t in range(30):
        of_input = (x[:, t] @ gru.weight_ih_l0.T + gru.bias_ih_l0).chunk(3, dim=-1)
        of_state = (h @ gru.weight_hh_l0.T + gru.bias_hh_l0).chunk(3, dim=-1)
        r, z = (torch.sigmoid(of_input[i] + of_state[i]) for i in range(2))
        h = (1 - z) * torch.tanh(of_input[2] + r * of_state[2]) + z * h
        outputs.append(h)
    torch.testing.assert_close(layer(x), torch.stack(outputs, dim=1), rtol=1e-11, atol=1e-12)


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"name": "min_gru", "hidden": 0}, "hidden"),
        ({"name": "min_lstm", "hidden": 0}, "hidden"),
        ({"name": "gru", "hidden": 0}, "hidden"),
        ({"name": "gated_delta_net", "heads": 0}, "heads"),
        ({"name": "gated_delta_net", "key": 0}, "key"),
        ({"name": "gated_delta_net", "expand": 0}, "expand"),
        ({"name": "gated_delta_net", "kernel": 0}, "kernel"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mixer(spec)
    assert caught.value.path == (field,)
