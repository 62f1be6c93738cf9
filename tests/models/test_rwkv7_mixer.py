"""RWKV-7's time mixing against the equations of its paper."""

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
from models.mixers.rwkv7 import RWKV7, SLOWEST, RWKV7Config, generalized_delta_rule

few = settings(max_examples=10, deadline=None)


def by_definition(
    r: Tensor, log_decay: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, S0: Tensor
) -> tuple[Tensor, Tensor]:
    """The transition as the matrix that it is."""
    S, outputs = S0, []
    for t in range(r.shape[1]):
        transition = torch.diag_embed(torch.exp(log_decay[:, t])) + b[:, t, :, :, None] * a[:, t, :, None]
        S = transition @ S + k[:, t, :, :, None] * v[:, t, :, None]
        outputs.append((r[:, t, :, None] @ S).squeeze(-2))
    return torch.stack(outputs, dim=1), S


@given(length=st.integers(1, 70), chunk=st.integers(1, 40), heads=st.integers(1, 3))
@few
def test_the_delta_rule_in_chunks_is_its_definition_with_all_gradients(
    length: int, chunk: int, heads: int
) -> None:
    removed = F.normalize(randn(2, length, heads, 4), dim=-1)
    inputs = {
        "r": randn(2, length, heads, 4),
        "log_decay": SLOWEST * torch.rand(2, length, heads, 4, dtype=torch.float64),
        "k": randn(2, length, heads, 4),
        "v": randn(2, length, heads, 3),
        "a": -removed,
        "b": removed * torch.rand(2, length, heads, 4, dtype=torch.float64),
        "S0": randn(2, heads, 4, 3),
    }

    def run(**values: Tensor) -> tuple[Tensor, Tensor]:
        return generalized_delta_rule(**values, chunk=chunk)

    found, wanted = (with_gradients(function, inputs) for function in (run, by_definition))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("log_decay", [0.0, SLOWEST])
def test_in_float32_it_is_exact_at_the_slowest_and_at_the_fastest_decay(log_decay: float) -> None:
    torch.manual_seed(0)
    shape = 1, 640, 2, 16
    r, k, v = (torch.randn(*shape) for _ in range(3))
    removed = F.normalize(torch.randn(*shape), dim=-1)
    inputs = (r, torch.full(shape, log_decay), k, v, -removed, removed * torch.rand(*shape))
    found, _ = generalized_delta_rule(*inputs)
    wanted, _ = generalized_delta_rule(*(x.double() for x in inputs))
    assert (found - wanted).abs().max() < 3e-5 * wanted.abs().max()


def test_what_a_key_stands_for_is_overwritten_and_other_keys_are_not() -> None:
    """With a full rate of correction, no decay, and the removed key equal to the written one."""
    keys, values = torch.eye(4)[[0, 1, 0]], torch.randn(3, 5)
    k, v = keys[None, :, None], values[None, :, None]
    _, S = generalized_delta_rule(k, torch.zeros_like(k), k, v, -k, k)
    torch.testing.assert_close(S[0, 0, :2], values[[2, 1]])


@pytest.mark.parametrize("layer", [0, 1])
def test_a_layer_is_as_its_equations_say(layer: int) -> None:
    torch.manual_seed(0)
    mixing = RWKV7(RWKV7Config(head=4), width=8, layer=layer, layers=3).double()
    with torch.no_grad():
        for parameter in mixing.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    x, first = randn(2, 40, 8), randn(2, 40, 8) if layer else None
    before = F.pad(x, (0, 0, 1, -1))
    r, w, k, v, a, g = (x + share * (before - x) for share in mixing.share)
    r, k, v_own = mixing.receptance(r), mixing.key(k), mixing.value(v)
    if layer:
        v_own = v_own + (first - v_own) * torch.sigmoid(mixing.blend(v))
    w = torch.exp(-torch.exp(-F.softplus(-mixing.decay(w)) - 0.5))  # the paper's form of the decay
    a, g = torch.sigmoid(mixing.rate(a)), mixing.gate(g)
    c = F.normalize((k * mixing.removed_key).unflatten(-1, (2, 4)), dim=-1)
    k = k * (1 + (a - 1) * mixing.rate_in_key)
    r, w, k, v, a = (part.unflatten(-1, (2, 4)) for part in (r, w, k, v_own, a))
    S, outputs = torch.zeros(2, 2, 4, 4, dtype=torch.float64), []
    for t in range(40):  # the authors' state, with keys along its rows
        removal = c[:, t, :, :, None] * (c * a)[:, t, :, None]
        S = S * w[:, t, :, None] - S @ removal + v[:, t, :, :, None] * k[:, t, :, None]
        outputs.append((S @ r[:, t, :, :, None]).squeeze(-1))
    o = torch.stack(outputs, dim=1)
    o = F.layer_norm(o, (4,), eps=4e-5) * mixing.norm_weight + mixing.norm_bias
    o = o + (r * k * mixing.bonus).sum(-1, keepdim=True) * v
    found, _, values = mixing.mix(x, None, first)
    torch.testing.assert_close(found, mixing.output(o.flatten(-2) * g), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(values, v_own)


def test_ranks_grow_with_the_root_of_the_width_as_published() -> None:
    with torch.device("meta"):
        layers = {width: RWKV7(RWKV7Config(), width=width, layer=1, layers=2) for width in (16, 768, 4096)}
    parts = ("decay", "rate", "blend", "gate")
    ranks = {w: tuple(getattr(m, part).down.out_features for part in parts) for w, m in layers.items()}
    assert ranks == {16: (16, 16, 16, 16), 768: (64, 64, 32, 128), 4096: (160, 160, 96, 320)}


@pytest.mark.parametrize(("width", "head"), [(8, 8), (64, 64), (96, 48), (67, 67), (254, 127), (768, 64)])
def test_a_head_has_64_channels_or_the_nearest_divisor_even_of_awkward_widths(width: int, head: int) -> None:
    with torch.device("meta"):
        assert build("mixers", "rwkv7", width=width).head == head


def test_at_first_a_layer_adds_nothing_and_only_square_maps_decay() -> None:
    layer = build("mixers", "rwkv7", width=8)
    assert not layer(torch.randn(1, 5, 8)).any()
    named = {id(p): name for name, p in layer.named_parameters()}
    rest = set(named) - {id(p) for p in layer.no_decay_parameters()}
    assert {named[key] for key in rest} == {f"{x}.weight" for x in ("receptance", "key", "value", "output")}


@pytest.mark.parametrize(
    ("spec", "field"),
    [({"name": "rwkv7", "head": 3}, "head"), ({"name": "rwkv7", "gate_rank": 0}, "gate_rank")],
)
def test_a_value_that_cannot_work_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mixer(spec)
    assert caught.value.path == (field,)
