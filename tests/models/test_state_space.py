"""Laws of the state-space mixers: S4, S4D and S5."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixer_laws import randn, rollout
from state_spaces import HIPPO, mixer

from harness.configuration import build
from models.poolformer import Poolformer

few = settings(max_examples=10, deadline=None)
SPECS: dict[str, dict[str, Any]] = {
    "s4": {"name": "s4", "state": 8},
    "s4 by cauchy, one system": {"name": "s4", "state": 6, "systems": 1, "algorithm": "cauchy"},
    "s4 of two systems without glu": {"name": "s4", "state": 4, "systems": 2, "glu": False},
    "s4d": {"name": "s4d", "state": 8},
    "s4d inv, bilinear": {"name": "s4d", "initialization": "inv", "discretization": "bilinear"},
    "s4d legs": {"name": "s4d", "initialization": "legs"},
    "s4d real": {"name": "s4d", "state": 5, "initialization": "real"},
    "s5": {"name": "s5"},
    "s5 in blocks without gate": {"name": "s5", "state": 12, "blocks": 3, "gate": False},
}
each = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


@each
@given(length=st.integers(1, 70))
@few
def test_stepping_equals_the_whole_sequence(spec: dict[str, Any], length: int) -> None:
    layer, x = mixer(spec), randn(3, length, 4)
    found, state = rollout(layer, x, layer.initial_state(3))
    torch.testing.assert_close(found, layer(x), rtol=1e-9, atol=1e-11)
    assert state.nbytes == layer.initial_state(3).nbytes == layer.state_size(3, length)
    torch.testing.assert_close(state, layer.resume(x, None)[1], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("spec", HIPPO, ids=str)
def test_stepping_equals_the_whole_sequence_in_float32_at_the_hippo_initialisation(
    spec: dict[str, Any],
) -> None:
    """Where stepping in the eigenbasis of S4's matrix is wrong by more than a tenth."""
    layer, x = mixer(spec).float(), randn(2, 600, 4, dtype=torch.float32)
    with torch.no_grad():
        found, _ = rollout(layer, x, layer.initial_state(2))
        expected = layer(x)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@each
@given(length=st.integers(2, 70), data=st.data())
@few
def test_a_sequence_may_be_cut_anywhere(spec: dict[str, Any], length: int, data: st.DataObject) -> None:
    layer, x = mixer(spec), randn(2, length, 4)
    cut = data.draw(st.integers(1, length - 1))
    head, state = layer.resume(x[:, :cut], None)
    tail, state = layer.resume(x[:, cut:], state)
    torch.testing.assert_close(torch.cat((head, tail), dim=1), layer(x), rtol=1e-9, atol=1e-11)
    whole = layer.resume(x, layer.initial_state(2))[1]
    torch.testing.assert_close(state, whole, rtol=1e-9, atol=1e-11)


@each
def test_gradients_pass_through_the_state(spec: dict[str, Any]) -> None:
    layer, x = mixer(spec), randn(2, 45, 4).requires_grad_()
    inputs = [x, *layer.parameters()]
    weights = randn(2, 45, 4)
    whole = torch.autograd.grad((layer(x) * weights).sum(), inputs)
    head, state = layer.resume(x[:, :19], None)
    tail, _ = layer.resume(x[:, 19:], state)
    joined = torch.autograd.grad((torch.cat((head, tail), dim=1) * weights).sum(), inputs)
    for expected, found in zip(whole, joined, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@each
@given(length=st.integers(2, 70), data=st.data())
@few
def test_the_past_does_not_know_the_future(spec: dict[str, Any], length: int, data: st.DataObject) -> None:
    """Of a convolution by FFT but for rounding, of a scan by not a single bit."""
    layer, x = mixer(spec), randn(2, length, 4)
    t = data.draw(st.integers(1, length - 1))
    before = layer(x)
    x[:, t:] += 1
    moved = (layer(x) - before)[:, :t].abs().max()
    assert moved == 0 if spec["name"] == "s5" else moved < 1e-12 * before.abs().max()


@each
def test_gradients_reach_every_parameter_and_the_input(spec: dict[str, Any]) -> None:
    layer, x = mixer(spec), randn(2, 12, 4).requires_grad_()
    layer(x).square().sum().backward()
    for name, tensor in {**dict(layer.named_parameters()), "x": x}.items():
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@each
def test_lower_precisions_keep_their_type_and_a_state_in_float32(
    spec: dict[str, Any], dtype: torch.dtype
) -> None:
    layer, x = mixer(spec).to(dtype), randn(2, 12, 4).to(dtype)
    assert layer(x).dtype == dtype
    y, state = layer.step(x[:, 0], layer.initial_state(2))
    assert y.dtype == dtype
    assert state.dtype.to_complex() == torch.complex64


@each
def test_autocast_leaves_the_systems_in_float32(spec: dict[str, Any]) -> None:
    layer, x = mixer(spec).float(), randn(2, 300, 4, dtype=torch.float32)
    expected = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x)
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


@each
def test_the_dynamics_are_named_for_a_learning_rate_of_their_own(spec: dict[str, Any]) -> None:
    layer = mixer(spec)
    own = {id(p) for p in layer.ssm_parameters()}
    names = {name.removeprefix("ssm.") for name, p in layer.named_parameters() if id(p) in own}
    optional = {"frequency", "p"} & {name.removeprefix("ssm.") for name, _ in layer.named_parameters()}
    assert names == {"log_step", "log_decay", "b"} | optional


def test_the_mixers_drop_into_the_levels_of_poolformer() -> None:
    torch.manual_seed(0)
    spec = {
        "name": "poolformer",
        "width": 8,
        "pooling": [2, 3],
        "layers": 1,
        "mixer": [{"name": "s5"}, {"name": "s4d", "state": 8}, {"name": "s4", "state": 8}],
    }
    model: Poolformer = build("models", spec, vocab_size=16).double().eval()
    tokens = torch.randint(16, (2, 31))
    state, token, logits = model.initial_state(2), None, []
    for t in range(31):
        found, state = model.step(token, state)
        logits.append(found)
        token = tokens[:, t]
    torch.testing.assert_close(torch.stack(logits, dim=1), model(tokens), rtol=1e-9, atol=1e-10)
