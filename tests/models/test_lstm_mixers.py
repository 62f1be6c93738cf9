"""LSTM, mLSTM and sLSTM against the equations of their papers."""

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
from models.mixers.mlstm import matrix_memory
from models.mixers.slstm import scalar_memory

few = settings(max_examples=10, deadline=None)


# --------------------------------------------------------------------------------------------- LSTM


def test_the_lstm_is_as_its_equations_say() -> None:
    layer, x = mixer({"name": "lstm"}), randn(2, 30, 8)
    lstm = layer.recurrence
    h, c, outputs = torch.zeros(2, 8, dtype=torch.float64), torch.zeros(2, 8, dtype=torch.float64), []
    for t in range(30):
        raw = x[:, t] @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + h @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
        i, f, g, o = raw.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    torch.testing.assert_close(layer(x), torch.stack(outputs, dim=1), rtol=1e-11, atol=1e-12)


def test_its_forget_gate_starts_open() -> None:
    lstm = build("mixers", {"name": "lstm"}, width=8).recurrence
    biases = lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert biases[8:16].eq(1).all() and biases[:8].ne(1).all()


# -------------------------------------------------------------------------------------------- mLSTM


def by_definition(
    q: Tensor, k: Tensor, v: Tensor, log_input: Tensor, log_forget: Tensor, C: Tensor, n: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Without any stabilisation."""
    outputs = []
    for t in range(q.shape[1]):
        write, kept = torch.exp(log_input[:, t]), torch.exp(log_forget[:, t])
        key = write[..., None] * k[:, t]
        C = kept[..., None, None] * C + key[..., None] * v[:, t, :, None]
        n = kept[..., None] * n + key
        normalizer = (n * q[:, t]).sum(-1, keepdim=True).abs().clamp_min(1)
        outputs.append((q[:, t, :, None] @ C).squeeze(-2) / normalizer)
    return torch.stack(outputs, dim=1), C, n


@given(length=st.integers(1, 70), chunk=st.integers(1, 40), heads=st.integers(1, 3))
@few
def test_the_matrix_memory_in_chunks_is_its_definition_with_all_gradients(
    length: int, chunk: int, heads: int
) -> None:
    inputs = {
        "q": randn(2, length, heads, 4),
        "k": randn(2, length, heads, 4),
        "v": randn(2, length, heads, 3),
        "log_input": 2 * randn(2, length, heads),
        "log_forget": F.logsigmoid(2 * randn(2, length, heads) + 1),
        "C": randn(2, heads, 4, 3),
        "n": randn(2, heads, 4),
    }

    def run(C: Tensor, n: Tensor, **values: Tensor) -> tuple[Tensor, ...]:
        m = torch.full_like(n[..., 0], 0.7)  # of the state's scale nothing depends
        state = torch.cat((C, n[..., None]), dim=-1) / torch.exp(m)[..., None, None], m
        h, (scaled, m) = matrix_memory(**values, state=state, chunk=chunk)
        last = scaled * torch.exp(m)[..., None, None]
        return h, last[..., :-1], last[..., -1]

    found, wanted = (with_gradients(function, inputs) for function in (run, by_definition))
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-9)


def test_gates_that_would_overflow_give_numbers() -> None:
    """exp(i) is beyond float32, and the forget gates are closed but for some."""
    shape = 1, 200, 2
    q, k, v = (torch.randn(*shape, 4, requires_grad=True) for _ in range(3))
    log_input = (400 * torch.randn(shape)).requires_grad_()
    log_forget = F.logsigmoid(100 * torch.randn(shape)).requires_grad_()
    h, (C, m) = matrix_memory(q, k, v, log_input, log_forget)
    (h.sum() + C.sum()).backward()
    assert all(x.isfinite().all() for x in (h, C, m))
    assert all(x.grad.isfinite().all() for x in (q, k, v, log_input, log_forget))


def test_in_float32_long_sequences_stay_exact() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 4000, 2, 8) for _ in range(3))
    log_input, log_forget = torch.randn(1, 4000, 2), F.logsigmoid(torch.randn(1, 4000, 2) + 4)
    found, _ = matrix_memory(q, k, v, log_input, log_forget)
    wide = (x.double() for x in (q, k, v, log_input, log_forget))
    wanted, _ = matrix_memory(*wide)
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_an_mlstm_layer_has_the_authors_parameters_and_initial_values() -> None:
    torch.manual_seed(0)
    layer = build("mixers", {"name": "mlstm"}, width=64)
    maps = 64 * 256 + 128 * 64 + 3 * 128 * 4  # up, down, and q, k and v in blocks of 4
    assert sum(p.numel() for p in layer.parameters()) == maps + 128 * 5 + (3 * 128 + 1) * 8 + 2 * 128
    torch.testing.assert_close(layer.gates.bias[4:].detach(), torch.tensor([3.0, 4.0, 5.0, 6.0]))
    assert not layer.gates.weight.any() and layer.skip.eq(1).all()
    assert layer.up.weight.var().item() == pytest.approx(2 / (5 * 64), rel=0.05)


# -------------------------------------------------------------------------------------------- sLSTM


def scalar_by_definition(
    gates: Tensor, recurrent: Tensor, h: Tensor, c: Tensor, n: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Without any stabilisation."""
    outputs = []
    for t in range(gates.shape[1]):
        mixed = (h[..., None, :] @ recurrent).squeeze(-2).unflatten(-1, (4, -1))  # [B, H, 4, K]
        i, f, z, o = (gates[:, t].transpose(1, 2) + mixed).unbind(2)
        c = torch.sigmoid(f) * c + torch.exp(i) * torch.tanh(z)
        n = torch.sigmoid(f) * n + torch.exp(i)
        h = torch.sigmoid(o) * c / n
        outputs.append(h)
    return torch.stack(outputs, dim=1), c, n


@given(length=st.integers(1, 30), heads=st.integers(1, 3))
@few
def test_the_scalar_memory_is_its_definition_with_all_gradients(length: int, heads: int) -> None:
    inputs = {
        "gates": randn(2, length, 4, heads, 3),
        "recurrent": randn(heads, 3, 12),
        "h": randn(2, heads, 3),
        "c": randn(2, heads, 3),
        "n": 1 + torch.rand(2, heads, 3, dtype=torch.float64),
    }

    def run(gates: Tensor, recurrent: Tensor, h: Tensor, c: Tensor, n: Tensor) -> tuple[Tensor, ...]:
        outputs, (_, c, n, m) = scalar_memory(gates, recurrent, (h, c, n, torch.zeros_like(h)))
        return outputs, c * torch.exp(m), n * torch.exp(m)

    found, wanted = (with_gradients(function, inputs) for function in (run, scalar_by_definition))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_scalar_gates_that_would_overflow_give_numbers() -> None:
    """Output gates closed to the last digit among them: nothing is divided by them."""
    gates = (300 * torch.randn(1, 100, 4, 2, 3)).requires_grad_()
    layer = build("mixers", {"name": "slstm", "heads": 2}, width=6)
    h, _ = scalar_memory(gates, layer.recurrent, layer.initial_state(1)[-4:])
    h.sum().backward()
    assert h.isfinite().all() and gates.grad is not None and gates.grad.isfinite().all()


@pytest.mark.parametrize(("depth", "middle"), [(0.0, 0.3), (1.0, 1.6)])
def test_forget_gates_of_an_slstm_start_from_open_to_closed_over_a_head(depth: float, middle: float) -> None:
    cls = type(build("mixers", "slstm", width=20))
    bias = cls(cls.Config(), width=20, depth=depth).bias
    torch.testing.assert_close(bias[1, [0, 4, 15, 19]].detach(), torch.tensor([5.0, -7.0, 5.0, -7.0]))
    assert bias[1, 2].item() == pytest.approx(5 - 12 * 0.5**middle, rel=1e-5)
    assert not bias[[0, 2, 3]].any()


def test_its_biases_have_two_axes_and_yet_do_not_decay() -> None:
    layer = build("mixers", "slstm", width=8)
    assert layer.no_decay_parameters() == [layer.bias]


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"name": "lstm", "hidden": 0}, "hidden"),
        ({"name": "mlstm", "heads": 0}, "heads"),
        ({"name": "mlstm", "heads": 3}, "heads"),
        ({"name": "mlstm", "block": 3}, "block"),
        ({"name": "mlstm", "kernel": 0}, "kernel"),
        ({"name": "mlstm", "expand": 0}, "expand"),
        ({"name": "slstm", "heads": 3}, "heads"),
        ({"name": "slstm", "kernel": -1}, "kernel"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mixer(spec)
    assert caught.value.path == (field,)
