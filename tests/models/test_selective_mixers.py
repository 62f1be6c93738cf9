"""Mamba and Mamba-2: their parts against the definitions in the papers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mixer_laws import mixer, randn, with_gradients
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from harness.configuration import build
from harness.errors import ConfigError
from models.mixers.chunks import decays_between, in_chunks
from models.mixers.mamba2 import state_space_duality
from models.mixers.short_convolution import ShortConvolution
from models.mixers.step_size import step_bias
from models.scan import laned
from models.scan.selective import selective_backend_for, selective_scan

few = settings(max_examples=10, deadline=None)


# ------------------------------------------------------------------------------ the selective scan


def arguments(batch: int, length: int, channels: int, states: int) -> dict[str, Tensor]:
    """Of `selective_scan`, with steps from small to large."""
    sequences = {name: randn(batch, length, channels) for name in ("u", "z")}
    maps = {name: randn(batch, length, states) for name in ("B", "C")}
    delta = F.softplus(3 * randn(batch, length, channels))
    A, h0 = -torch.rand(channels, states, dtype=torch.float64), randn(batch, channels, states)
    return {**sequences, **maps, "delta": delta, "A": A, "D": randn(channels), "h0": h0}


def by_definition(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    h, outputs = h0, []
    for t in range(u.shape[1]):
        step = delta[:, t, :, None]
        h = torch.exp(step * A) * h + step * u[:, t, :, None] * B[:, t, None]
        outputs.append((h @ C[:, t, :, None]).squeeze(-1))
    return (torch.stack(outputs, dim=1) + D * u) * F.silu(z), h


@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 110),
    channels=st.integers(1, 4),
    states=st.integers(1, 4),
    side_by_side=st.integers(0, 4),
)
@few
def test_the_selective_scan_is_its_definition_with_all_gradients(
    batch: int, length: int, channels: int, states: int, side_by_side: int
) -> None:
    """Whatever the number of lanes that fit into the scratch, from one at a time to all at once."""
    inputs = arguments(batch, length, channels, states)
    with pytest.MonkeyPatch.context() as patch:
        size = side_by_side * laned.LANE * batch * channels * states
        patch.setitem(laned.SCRATCH, "cpu", size)
        found = with_gradients(selective_scan, inputs)
    wanted = with_gradients(by_definition, inputs)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


def test_its_gradients_agree_with_finite_differences() -> None:
    inputs = {name: value.requires_grad_() for name, value in arguments(1, 5, 2, 2).items()}
    names = tuple(inputs)

    def run(*values: Tensor) -> tuple[Tensor, Tensor]:
        return selective_scan(**dict(zip(names, values, strict=True)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(laned, "LANE", 2)
        assert torch.autograd.gradcheck(run, tuple(inputs.values()))


def test_skip_gate_and_first_state_may_be_left_out() -> None:
    inputs = arguments(2, 40, 3, 2)
    neutral = {"D": torch.zeros(3), "h0": torch.zeros(2, 3, 2), "z": torch.full((2, 40, 3), 1.2784645)}
    few_inputs = {name: value for name, value in inputs.items() if name not in neutral}
    gate = F.silu(neutral["z"].double())
    wanted = selective_scan(**few_inputs, **{name: value.double() for name, value in neutral.items()})
    found = selective_scan(**few_inputs)
    torch.testing.assert_close((found[0] * gate, found[1]), wanted)


def test_its_states_are_not_kept_for_the_backward_pass() -> None:
    inputs = {name: value.float().requires_grad_() for name, value in arguments(2, 320, 8, 16).items()}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        selective_scan(**inputs)
    sequence = 2 * 320 * 8 * 4
    assert sum(storages.values()) < 11 * sequence  # u, delta, z, y, SiLU(z), B and C (2 each); states are 16


def test_long_steps_and_large_rates_give_numbers() -> None:
    """The state is forgotten at once, exp(-1e6) = 0, whichever way the decay of a lane is found."""
    inputs = {name: value.float() for name, value in arguments(1, 100, 2, 3).items()}
    inputs["delta"], inputs["A"] = inputs["delta"] * 1e3, inputs["A"] * 1e3
    results = with_gradients(selective_scan, inputs)
    assert all(result.isfinite().all() for result in results)


def test_it_computes_in_float32_whatever_the_inputs_and_the_context() -> None:
    inputs = {name: value.bfloat16() for name, value in arguments(2, 70, 4, 3).items()}
    wide = with_gradients(selective_scan, {name: value.float() for name, value in inputs.items()})
    found = selective_scan(**inputs)
    assert [result.dtype for result in found] == [torch.float32] * 2
    torch.testing.assert_close(found, tuple(wide[:2]), rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = with_gradients(selective_scan, {name: value.float() for name, value in inputs.items()})
    torch.testing.assert_close(inside, wide, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("u", randn(2, 0, 3)),
        ("delta", randn(2, 5, 4)),
        ("A", randn(4, 2)),
        ("B", randn(2, 5, 3)),
        ("D", randn(2)),
        ("h0", randn(2, 2, 3)),
    ],
)
def test_the_scan_names_an_argument_that_does_not_fit(name: str, value: Tensor) -> None:
    inputs = arguments(2, 5, 3, 2) | {name: value}
    with pytest.raises(ValueError, match=rf"^{name} must"):
        selective_scan(**inputs)


def test_the_backend_has_a_name() -> None:
    assert selective_backend_for("cpu") == "native"


# ------------------------------------------------------------------------------------------ parts


def ssd_by_definition(
    x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    heads, h, outputs = x.shape[2], h0, []
    B, C = (maps.repeat_interleave(heads // maps.shape[2], dim=2) for maps in (B, C))
    for t in range(x.shape[1]):
        h = torch.exp(log_decay[:, t])[..., None, None] * h + x[:, t, :, :, None] * B[:, t, :, None]
        outputs.append((h @ C[:, t, :, :, None]).squeeze(-1))
    return torch.stack(outputs, dim=1), h


@given(length=st.integers(1, 70), chunk=st.integers(1, 40), groups=st.sampled_from([1, 2, 4]))
@few
def test_matrix_products_in_chunks_are_the_recurrence_of_mamba2(length: int, chunk: int, groups: int) -> None:
    maps = {name: randn(2, length, groups, 3) for name in ("B", "C")}
    log_decay = -torch.rand(2, length, 4, dtype=torch.float64) * 4
    inputs = {"x": randn(2, length, 4, 2), "log_decay": log_decay, **maps, "h0": randn(2, 4, 2, 3)}

    def run(**values: Tensor) -> tuple[Tensor, Tensor]:
        return state_space_duality(**values, chunk=chunk)

    found, wanted = (with_gradients(function, inputs) for function in (run, ssd_by_definition))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_decays_of_a_chunk_keep_their_digits_in_float32() -> None:
    """Even where the sums of logarithms that they are differences of are large."""
    log_decay = -20 * torch.rand(3, 64)
    found, wanted = decays_between(log_decay), decays_between(log_decay.double())
    assert torch.equal(found, found.tril())
    torch.testing.assert_close(found.diagonal(dim1=-2, dim2=-1), torch.ones(3, 64))
    neighbours = torch.exp(log_decay)[:, 1:]
    torch.testing.assert_close(found.diagonal(-1, dim1=-2, dim2=-1), neighbours, rtol=2e-6, atol=0)
    torch.testing.assert_close(found.double(), wanted, rtol=5e-6, atol=1e-30)


def test_chunks_are_filled_with_zeros() -> None:
    x = randn(2, 7, 3)
    chunks = in_chunks(x, 4)
    assert chunks.shape == (2, 2, 4, 3)
    assert torch.equal(chunks.flatten(1, 2)[:, :7], x) and not chunks[:, 1, 3].any()


@given(kernel=st.integers(1, 5), length=st.integers(1, 9), bias=st.booleans())
@few
def test_the_short_convolution_is_a_causal_depthwise_one(kernel: int, length: int, bias: bool) -> None:
    layer, x = ShortConvolution(6, kernel, bias=bias).double(), randn(2, length, 6)
    y, state = layer.resume(x, None)
    padded = F.pad(x.transpose(1, 2), (kernel - 1, 0))
    torch.testing.assert_close(y.transpose(1, 2), F.conv1d(padded, layer.weight, layer.bias, groups=6))
    assert torch.equal(state.transpose(1, 2), padded[:, :, length:])


def test_step_sizes_start_log_uniform_between_their_bounds() -> None:
    step = F.softplus(step_bias(20_000, 1e-3, 1e-1))
    assert step.min() > 0.999e-3 and step.max() < 1.001e-1
    uniform = (step.log() - math.log(1e-3)) / math.log(100)
    assert abs(uniform.mean().item() - 0.5) < 0.01 and abs(uniform.var().item() - 1 / 12) < 0.003


# ------------------------------------------------------------------------------------- parameters


def test_mamba_has_the_parameters_of_the_original_and_its_defaults() -> None:
    layer = build("mixers", {"name": "mamba"}, width=24)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "A_log": (48, 16),
        "D": (48,),
        "in_proj.weight": (96, 24),
        "conv1d.weight": (48, 1, 4),
        "conv1d.bias": (48,),
        "x_proj.weight": (2 + 32, 48),
        "dt_proj.weight": (48, 2),
        "dt_proj.bias": (48,),
        "out_proj.weight": (24, 48),
    }
    torch.testing.assert_close(layer.A_log.exp(), torch.arange(1.0, 17).expand(48, 16))
    assert layer.D.eq(1).all()
    assert layer.no_decay_parameters() == [layer.A_log, layer.D]


def test_mamba2_has_the_parameters_of_the_original_and_its_defaults() -> None:
    layer = build("mixers", {"name": "mamba2"}, width=96)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "dt_bias": (3,),
        "A_log": (3,),
        "D": (3,),
        "in_proj.weight": (2 * 192 + 2 * 128 + 3, 96),
        "conv1d.weight": (192 + 2 * 128, 1, 4),
        "conv1d.bias": (192 + 2 * 128,),
        "norm.weight": (192,),
        "out_proj.weight": (96, 192),
    }
    rates = layer.A_log.exp()
    assert rates.min() >= 1 and rates.max() <= 16 and layer.D.eq(1).all()
    assert layer.no_decay_parameters() == [layer.dt_bias, layer.A_log, layer.D]


@pytest.mark.parametrize(("width", "head"), [(8, 16), (32, 64), (96, 64), (50, 50), (37, 37)])
def test_a_head_of_mamba2_has_64_channels_or_the_next_smaller_divisor(width: int, head: int) -> None:
    assert build("mixers", {"name": "mamba2", "state": 2}, width=width).head == head


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"name": "mamba", "expand": 0}, "expand"),
        ({"name": "mamba", "state": 0}, "state"),
        ({"name": "mamba", "kernel": 0}, "kernel"),
        ({"name": "mamba", "rank": 0}, "rank"),
        ({"name": "mamba", "min_step": 0.0}, "min_step"),
        ({"name": "mamba", "max_step": 1e-4}, "max_step"),
        ({"name": "mamba2", "head": 0}, "head"),
        ({"name": "mamba2", "head": 3}, "head"),
        ({"name": "mamba2", "groups": 0}, "groups"),
        ({"name": "mamba2", "groups": 2}, "groups"),
        ({"name": "mamba2", "min_rate": 0.0}, "min_rate"),
        ({"name": "mamba2", "max_rate": 0.5}, "max_rate"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mixer(spec)
    assert caught.value.path == (field,)
