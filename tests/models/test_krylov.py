"""S4's kernel by steps: the C++ kernel against its definition, when it is used, and what a step remembers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.configuration import build
from harness.contracts import counting_flops
from models.mixers.krylov import CHUNK, LANES, Recurrence
from models.mixers.s4 import STEPS_UP_TO

few = settings(max_examples=20, deadline=None)


def recurrence(channels: int, size: int, dtype: torch.dtype = torch.float64) -> Recurrence:
    draws = torch.Generator().manual_seed(channels)
    parts = torch.randn(5, channels, size, generator=draws, dtype=torch.float64)
    e = parts[0] / (0.1 + parts[0].unflatten(-1, (-1, 2)).norm(dim=-1).repeat_interleave(2, -1))
    w, q = 0.5 * parts[1:3] / size**0.5
    return Recurrence(*(x.to(dtype).requires_grad_() for x in (e, w, q, parts[3], parts[4])))


def by_definition(system: Recurrence, length: int) -> Tensor:
    x, outputs = system.b, []
    for _ in range(length):
        outputs.append((system.c * x).sum(-1))
        pairs, factors = (torch.view_as_complex(y.unflatten(-1, (-1, 2))) for y in (x, system.e))
        x = torch.view_as_real(factors * pairs).flatten(-2) - (system.w * x).sum(-1, True) * system.q
    return torch.stack(outputs, dim=-1)


@given(
    channels=st.integers(1, 2 * LANES + 1),
    pairs=st.integers(1, 4),
    length=st.one_of(st.integers(1, 9), st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])),
)
@few
def test_the_kernel_is_its_definition_with_every_gradient(channels: int, pairs: int, length: int) -> None:
    system = recurrence(channels, 2 * pairs)
    found, expected = system.response(length), by_definition(system, length)
    grad = torch.randn(found.shape, dtype=found.dtype)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    gradients = torch.autograd.grad(found, system, grad)
    truth = torch.autograd.grad(expected, system, grad, allow_unused=True)
    for one, other in zip(gradients, truth, strict=True):
        torch.testing.assert_close(
            one, torch.zeros_like(one) if other is None else other, rtol=1e-10, atol=1e-10
        )


def test_in_single_precision_it_loses_no_more_than_steps_do() -> None:
    found, expected = (recurrence(9, 8, dtype).response(300) for dtype in (torch.float32, torch.float64))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_threads_do_not_change_a_bit() -> None:
    system, before, found = recurrence(5 * LANES, 8), torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        y = system.response(1000)
        found.append([y, *torch.autograd.grad(y.sum(), system)])
    torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


# ----------------------------------------------------------------------------------------- in S4


def s4(**options: Any) -> Any:
    torch.manual_seed(0)
    return build("mixers", {"name": "s4", "state": 4, **options}, width=6).double()


@pytest.mark.parametrize(("length", "steps"), [(STEPS_UP_TO * 16, True), (STEPS_UP_TO * 16 + 1, False)])
def test_short_kernels_are_made_of_steps_and_long_ones_of_powers(length: int, steps: bool) -> None:
    chosen, forced = s4().ssm, s4(algorithm="steps" if steps else "powers").ssm
    assert torch.equal(chosen.kernel(length), forced.kernel(length))


def test_work_is_counted_without_building_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.native.call.reason_against", lambda source: pytest.fail("built a kernel"))
    with counting_flops():
        s4()(torch.zeros(1, 9, 6, dtype=torch.float64))


@torch.no_grad()
def test_steps_notice_any_change_of_the_weights() -> None:
    layer, x = s4(), torch.randn(2, 6, dtype=torch.float64)
    state = torch.randn(2, 6, 4, dtype=torch.float64)
    before, _ = layer.step(x, state)
    assert torch.equal(layer.step(x, state)[0], before)
    for name, parameter in layer.ssm.named_parameters():
        parameter.data.view(-1)[0] += 0.5  # leaves no trace in its version
        found, _ = layer.step(x, state)
        fresh = s4()
        fresh.load_state_dict(layer.state_dict())
        assert torch.equal(found, fresh.step(x, state)[0]) and not torch.equal(found, before), name
        before = found
    layer.float()
    assert layer.step(x.float(), state.float())[0].dtype == torch.float32


def test_what_a_step_remembers_has_no_gradient_and_a_step_that_needs_one_finds_it() -> None:
    layer, x = s4(), torch.randn(2, 6, dtype=torch.float64)
    with torch.no_grad():
        layer.step(x, layer.initial_state(2))
    y, _ = layer.step(x, layer.initial_state(2))
    y.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.ssm.parameters() if p is not layer.ssm.p)
