"""Griffin's recurrent block: where a stream and a document start, exactness near |a| = 1, initial values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.configuration import build
from harness.errors import ConfigError, HarnessError
from models.mixers.recurrent_block import RealGatedLRU, RecurrentBlock, RecurrentBlockConfig, load_original

few = settings(max_examples=15, deadline=None)
lengths = st.integers(1, 40)
SMALL: dict[str, Any] = {"hidden": 12, "blocks": 3}


def block(width: int = 8, **options: Any) -> Any:
    torch.manual_seed(0)
    layer = build("mixers", {"name": "recurrent_block", **SMALL, **options}, width=width, stride=1).double()
    for name, parameter in layer.named_parameters():
        if name.endswith(("b", "bias")):
            nn.init.normal_(parameter, std=0.1)
    nn.init.normal_(layer.conv_1d.w, std=0.5)  # as it starts, hardly anything passes it
    return layer


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def bytes_of(state: Any) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in (state.h, state.inputs))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


# ------------------------------------------------------------------------------------ streams


@given(length=lengths, kernel=st.integers(1, 5))
@few
def test_a_sequence_step_by_step_is_the_whole_and_its_state_keeps_no_more_than_it_says(
    length: int, kernel: int
) -> None:
    layer, x = block(kernel=kernel), randn(3, length, 8)
    state, outputs = layer.initial_state(3), []
    assert bytes_of(state) == layer.state_size(3, 0)
    with torch.no_grad():
        for t in range(length):
            y, state = layer.step(x[:, t], state)
            outputs.append(y)
        close(torch.stack(outputs, dim=1), layer(x))
        _, whole = layer.resume(x, None)
    for last in (state, whole):
        assert bytes_of(last) == layer.state_size(3, length)


@given(length=st.integers(2, 40), kernel=st.integers(1, 5), data=st.data())
@few
def test_a_sequence_may_be_cut_anywhere_gradients_included(
    length: int, kernel: int, data: st.DataObject
) -> None:
    layer, x = block(kernel=kernel), randn(2, length, 8).requires_grad_()
    cut = data.draw(st.integers(1, length - 1))
    head, state = layer.resume(x[:, :cut], layer.initial_state(2))
    tail, state = layer.resume(x[:, cut:], state)
    whole, end = layer.resume(x, None)
    close(torch.cat((head, tail), dim=1), whole)
    close(state.h, end.h)
    close(state.inputs, end.inputs)
    wanted = [x, *layer.parameters()]
    found = torch.autograd.grad(torch.cat((head, tail), dim=1).square().sum(), wanted)
    for one, other in zip(found, torch.autograd.grad(whole.square().sum(), wanted), strict=True):
        close(one, other)


def test_the_first_step_of_a_stream_is_not_scaled_and_the_second_is() -> None:
    layer, x = block(), randn(1, 1, 8)
    nn.init.constant_(layer.rg_lru.a_param, -12.0)  # sqrt(1 - a^2) of about 0.01
    _, state = layer.resume(x, None)
    v, _ = layer.conv_1d(layer.linear_x(x), layer.initial_state(1).inputs)
    _, logits = layer.rg_lru._gate_logits(v)
    close(state.h, (torch.sigmoid(logits) * v)[:, 0])
    _, again = layer.resume(x, layer.initial_state(1)._replace(started=True))
    assert again.h.norm() < 0.02 * state.h.norm()


# ---------------------------------------------------------------------------------- documents


def by_definition(lru: RealGatedLRU, v: Tensor, h: Tensor, starts: Tensor) -> Tensor:
    """The recurrence of the paper, step by step, with the original's rule for starts."""
    recurrence_logits, input_logits = lru._gate_logits(v)
    a = torch.exp(-lru.c * torch.sigmoid(recurrence_logits) * F.softplus(lru.a_param))
    gated, states = torch.sigmoid(input_logits) * v, []
    for t in range(v.shape[1]):
        scaled = a[:, t] * h + torch.sqrt(1 - a[:, t] ** 2) * gated[:, t]
        h = torch.where(starts[:, t, None], gated[:, t], scaled)
        states.append(h)
    return torch.stack(states, dim=1)


@given(length=lengths, data=st.data())
@few
def test_the_recurrence_is_that_of_the_paper_whatever_starts_where(length: int, data: st.DataObject) -> None:
    torch.manual_seed(0)
    lru = RealGatedLRU(RecurrentBlockConfig(c=data.draw(st.sampled_from([1.0, 8.0]))), 12, 3).double()
    known = data.draw(st.integers(0, length))
    starts = torch.zeros(2, length, dtype=torch.bool)
    starts[:, :known] = torch.rand(2, known) < 0.3
    v, h0 = randn(2, length, 12).requires_grad_(), randn(2, 12).requires_grad_()
    found = lru(v, h0, starts[:, :known] if known else None)
    expected = by_definition(lru, v, h0, starts)
    close(found, expected)
    wanted, cotangent = [v, h0, *lru.parameters()], randn(2, length, 12)
    gradients = torch.autograd.grad((found * cotangent).sum(), wanted)
    for one, other in zip(gradients, torch.autograd.grad((expected * cotangent).sum(), wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@given(length=st.integers(2, 40), kernel=st.integers(1, 5), data=st.data())
@few
def test_a_document_neither_sees_nor_trains_what_came_before_it(
    length: int, kernel: int, data: st.DataObject
) -> None:
    layer, x = block(kernel=kernel), randn(2, length, 8).requires_grad_()
    t = data.draw(st.integers(1, length - 1))
    starts = torch.zeros(2, length, dtype=torch.bool)
    starts[0, t] = True  # in the first row alone
    y, state = layer.resume(x, None, starts)
    fresh, end = layer.resume(x[:1, t:], None)
    close(y[:1, t:], fresh)
    close(y[1], layer(x)[1])
    close(state.h[:1], end.h)
    close(state.inputs[:1], end.inputs)
    (gradient,) = torch.autograd.grad(y[0, t:].sum(), x)
    assert not gradient[0, :t].any() and gradient[0, t:].any()


@given(length=st.integers(2, 24), kernel=st.integers(1, 5), seed=st.integers(0, 1000))
@few
def test_documents_step_by_step_are_those_of_the_whole(length: int, kernel: int, seed: int) -> None:
    layer, x = block(kernel=kernel), randn(3, length, 8)
    starts = torch.rand(3, length, generator=torch.Generator().manual_seed(seed)) < 0.3
    state, outputs = None, []
    for t in range(length):
        y, state = layer.resume(x[:, t : t + 1], state, starts[:, t : t + 1])
        outputs.append(y)
    whole, end = layer.resume(x, None, starts)
    close(torch.cat(outputs, dim=1), whole)
    close(state.h, end.h)
    close(state.inputs, end.inputs)


# ---------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("a_param", [-6.0, -12.0, -18.0])
def test_float32_agrees_with_float64_where_the_decay_nears_one(a_param: float) -> None:
    """At -18, 1 - a is 6e-8, half of float32's rounding at 1: the form 1 - a^2 has no digit left."""
    layer, x = block(), randn(2, 200, 8)
    nn.init.normal_(layer.rg_lru.a_param, mean=a_param, std=0.1)
    results = {}
    for dtype in (torch.float64, torch.float32):
        layer.to(dtype).zero_grad()
        y = layer(x.to(dtype))
        y.square().sum().backward()
        results[dtype] = {"y": y.detach(), **{n: p.grad for n, p in layer.named_parameters()}}
    for name, expected in results[torch.float64].items():
        error = (results[torch.float32][name].double() - expected).abs().max() / expected.abs().max()
        assert error < 5e-6, name


def test_the_slope_of_the_inputs_scale_is_bounded_by_a_thousand() -> None:
    """Of sqrt(1 - a^2), in the variable 1 - a^2, at 1 - a^2 = 2e-9, where it is 11180 without the bound."""
    lru = RealGatedLRU(RecurrentBlockConfig(), 1, 1).double()
    for gate in (lru.a_gate, lru.input_gate):
        nn.init.zeros_(gate.w)
        nn.init.constant_(gate.b, 100.0)  # open
    rate = 1e-9 / lru.c
    nn.init.constant_(lru.a_param, math.log(math.expm1(rate)))
    h = lru(torch.ones(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(h.sum(), lru.a_param)
    # d(1 - a^2) / d Lambda = 2 c sigmoid(Lambda), and sigmoid(Lambda) is about `rate`
    assert gradient.item() == pytest.approx(1000 * 2 * lru.c * rate, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precisions_keep_their_type_and_a_state_of_float32(dtype: torch.dtype) -> None:
    layer, x = block().to(dtype), randn(2, 12, 8).to(dtype)
    y, state = layer.resume(x, None)
    assert y.dtype == state.inputs.dtype == dtype
    assert state.h.dtype == torch.float32
    y, state = layer.step(x[:, 0], state)
    assert y.dtype == dtype and bytes_of(state) == layer.state_size(2, 13)


def test_under_autocast_states_stay_as_large_as_they_say() -> None:
    layer, x = block().float(), randn(2, 12, 8).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer.resume(x, None)
        one, state = layer.step(x[:, 0], state)
    assert y.dtype == one.dtype == torch.bfloat16
    assert bytes_of(state) == layer.state_size(2, 13)
    torch.testing.assert_close(y.float(), layer(x), rtol=0.1, atol=0.1)


# ------------------------------------------------------------------------------ initial values


def initial(width: int = 1024, output_scale: float = 1.0, **options: Any) -> RecurrentBlock:
    torch.manual_seed(0)
    return RecurrentBlock(RecurrentBlockConfig(**options), width=width, output_scale=output_scale)


def test_variances_start_at_those_of_the_original_and_biases_at_zero() -> None:
    layer = initial(hidden=512, blocks=4, output_scale=0.25)
    gates = torch.cat([gate.w.flatten() for gate in (layer.rg_lru.a_gate, layer.rg_lru.input_gate)])
    for weight, variance in (
        (layer.linear_x.weight, 1 / 1024),
        (layer.linear_y.weight, 1 / 1024),
        (layer.linear_out.weight, 0.25 / 512),
        (layer.conv_1d.w, 0.01 / 4),
        (gates, 4 / 512),
    ):
        assert weight.var().item() == pytest.approx(variance, rel=0.1)
    biases = [p for name, p in layer.named_parameters() if name.endswith((".b", ".bias"))]
    assert len(biases) == 6 and not any(bias.any() for bias in biases)


def test_the_base_of_the_decay_starts_on_a_ring_as_in_the_code_or_the_decay_uniform_as_in_the_paper() -> None:
    base = torch.exp(-F.softplus(initial(1, hidden=8192, blocks=1024).rg_lru.a_param))
    assert 0.8999 < base.min() < 0.901 and 0.998 < base.max() < 0.9991
    area = (base**2 - 0.9**2) / (0.999**2 - 0.9**2)
    assert area.mean().item() == pytest.approx(0.5, abs=0.01)

    lru = initial(1, hidden=8192, blocks=1024, ring_of="decay").rg_lru
    decay = torch.exp(-lru.c * F.softplus(lru.a_param))
    assert 0.8999 < decay.min() < 0.901 and 0.998 < decay.max() < 0.9991
    assert decay.mean().item() == pytest.approx(0.9495, abs=0.001)


def test_gates_have_at_most_sixteen_blocks_which_are_at_least_eight_wide() -> None:
    def sizes(width: int, **options: Any) -> tuple[int, int]:
        return RecurrentBlockConfig(**options).sizes(width)

    assert sizes(128) == (128, 16)
    assert sizes(4096) == (4096, 16)
    assert sizes(64) == (64, 8)
    assert sizes(36) == (36, 4)
    assert sizes(7) == (7, 1)
    assert sizes(128, hidden=176, blocks=4) == (176, 4)


# -------------------------------------------------------------------------- the original's weights


def weights(layer: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.full(p.shape, index) for index, (name, p) in enumerate(layer.named_parameters())}


def test_the_originals_weights_load_with_biases_in_blocks() -> None:
    layer = block()
    arrays = weights(layer)
    arrays["rg_lru.a_gate.b"] = np.arange(12).reshape(3, 4)
    load_original(layer, arrays)
    assert layer.rg_lru.a_gate.b.tolist() == list(range(12))
    assert layer.linear_out.weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"linear_y.weight": np.zeros((8, 12))}, r"linear_y.weight has shape \[8, 12\].* needs \[12, 8\]"),
        ({"rg_lru.a_param": np.zeros(11)}, r"rg_lru.a_param has shape \[11\].* needs \[12\]"),
        ({"attention_block.proj_q.weight": np.zeros(3)}, r"missing \[\]; not used \['attention_block"),
        ({"conv_1d.b": None}, r"missing \['conv_1d.b'\]"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_nothing_is_changed(change: dict, message: str) -> None:
    layer = block()
    before = [p.clone() for p in layer.parameters()]
    arrays = {name: array for name, array in {**weights(layer), **change}.items() if array is not None}
    with pytest.raises(HarnessError, match=message):
        load_original(layer, arrays)
    assert all(torch.equal(one, other) for one, other in zip(before, layer.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"hidden": 0}, "hidden"),
        ({"blocks": 5}, "blocks"),
        ({"blocks": 0}, "blocks"),
        ({"kernel": 0}, "kernel"),
        ({"c": 0.0}, "c"),
        ({"min_radius": 1.0}, "min_radius"),
        ({"max_radius": 0.5}, "max_radius"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        block(**options)
    assert caught.value.path == (field,)
