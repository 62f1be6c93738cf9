"""The RG-LRU's recurrence with its gates: every backend computes what the formula says."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.contracts import counting_flops
from models.scan import backends, gated_scan
from models.scan.composed import input_scale

few = settings(max_examples=25, deadline=None)
each = pytest.mark.parametrize(
    "backend", [name for name, reason in backends("cpu").items() if reason is None]
)
Inputs = dict[str, Tensor | None]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Inputs, bool]:
    """Inputs with any combination of phase, gates and state, in float64, and whether to normalise."""
    batch, length, channels = draw(st.integers(1, 3)), draw(st.integers(1, 80)), draw(st.integers(1, 9))
    strength = draw(st.sampled_from([1e-4, 0.1, 3.0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    is_complex, state, *gates = (draw(st.booleans()) for _ in range(4))
    width = 2 * channels if is_complex else channels
    logits = 2 * randn(batch, length, 2, channels)
    inputs: Inputs = {
        "x": randn(batch, length, width),
        "h0": randn(batch, width) if state else None,
        "log_decay": -strength * (randn(channels).abs() + 0.1),
        "phase": randn(channels) if is_complex else None,
        "recurrence_logits": logits[:, :, 0] if gates[0] else None,  # strided, as in the mixer
        "input_logits": logits[:, :, 1] if gates[1] else None,
    }
    return inputs, draw(st.booleans())


def by_definition(inputs: Inputs, normalize: bool) -> Tensor:
    x, log_decay, phase = inputs["x"], inputs["log_decay"], inputs["phase"]
    assert x is not None and log_decay is not None
    values = x if phase is None else torch.complex(*x.chunk(2, -1))
    h0 = inputs["h0"]
    h = torch.zeros_like(values[:, 0])
    if h0 is not None:
        h = h0 if phase is None else torch.complex(*h0.chunk(2, -1))
    one = torch.ones(*x.shape[:2], len(log_decay), dtype=x.dtype)
    r, i = (
        one if inputs[name] is None else torch.sigmoid(inputs[name])
        for name in ("recurrence_logits", "input_logits")
    )
    states = []
    for t in range(x.shape[1]):
        log_a = r[:, t] * log_decay
        a = torch.exp(log_a if phase is None else torch.complex(log_a, r[:, t] * phase))
        scale = input_scale(log_a) if normalize else 1
        h = a * h + scale * i[:, t] * values[:, t]
        states.append(h)
    found = torch.stack(states, dim=1)
    return found if phase is None else torch.cat((found.real, found.imag), -1)


@each
@given(problem=problems())
@few
def test_states_and_all_gradients_are_those_of_the_definition(
    backend: str, problem: tuple[Inputs, bool]
) -> None:
    inputs, normalize = problem
    given_ones = {name: value.requires_grad_() for name, value in inputs.items() if value is not None}
    found = gated_scan(**{**inputs, **given_ones}, normalize=normalize, backend=backend)
    expected = by_definition({**inputs, **given_ones}, normalize)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    target = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(0))
    tensors = list(given_ones.values())
    mine, theirs = (torch.autograd.grad(h, tensors, target) for h in (found, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)


@each
@given(problem=problems(), data=st.data())
@few
def test_the_past_does_not_know_the_future_by_a_single_bit(
    backend: str, problem: tuple[Inputs, bool], data: st.DataObject
) -> None:
    inputs, normalize = problem
    inputs = {name: None if value is None else value.contiguous() for name, value in inputs.items()}
    length = inputs["x"].shape[1]  # type: ignore[union-attr]
    t = data.draw(st.integers(0, length - 1))
    run = partial(gated_scan, normalize=normalize, backend=backend)
    before = run(**inputs)[:, :t]
    later = {
        name: torch.cat((value[:, :t], value[:, t:] + 1), dim=1)
        for name, value in inputs.items()
        if value is not None and name in ("x", "recurrence_logits", "input_logits")
    }
    assert torch.equal(run(**{**inputs, **later})[:, :t], before)


@each
def test_a_sequence_may_be_cut_and_continued_from_its_last_state(backend: str) -> None:
    x, log_decay = torch.randn(2, 90, 6, dtype=torch.float64), -torch.rand(3, dtype=torch.float64)
    run = partial(gated_scan, log_decay=log_decay, phase=10 * log_decay, backend=backend)
    first = run(x[:, :37])
    torch.testing.assert_close(torch.cat((first, run(x[:, 37:], first[:, -1])), dim=1), run(x))


@each
def test_float32_is_as_close_as_its_rounding_allows(backend: str) -> None:
    """Decays and phases as Poolformer has them at the start, over 4,000 steps and 150 channels."""
    generator = torch.Generator().manual_seed(0)
    x, logits = (
        torch.randn(1, 4000, 300, generator=generator),
        torch.randn(1, 4000, 2, 150, generator=generator),
    )
    log_decay = 8 * torch.log(torch.empty(150).uniform_(0.9, 0.99, generator=generator))
    phase = torch.empty(150).uniform_(0, 0.3, generator=generator)

    def run(dtype: torch.dtype, backend: str) -> list[Tensor]:
        tensors = [v.to(dtype).requires_grad_() for v in (x, logits, log_decay, phase)]
        h = gated_scan(
            tensors[0],
            log_decay=tensors[2],
            phase=tensors[3],
            recurrence_logits=tensors[1][:, :, 0],
            input_logits=tensors[1][:, :, 1],
            backend=backend,
        )
        return [h, *torch.autograd.grad(h.square().sum(), tensors)]

    for mine, exact in zip(run(torch.float32, backend), run(torch.float64, "chunked"), strict=True):
        assert (mine - exact).abs().max() <= 3e-6 * exact.abs().max()


@each
@pytest.mark.parametrize("log_decay", [-1e-9, -1e-7, -50.0, -1e4])
def test_extreme_decays_give_numbers(backend: str, log_decay: float) -> None:
    x = torch.randn(1, 64, 8, requires_grad=True)
    logits = (100 * torch.randn(1, 64, 2, 4)).requires_grad_()
    decay = torch.full((4,), log_decay, requires_grad=True)
    h = gated_scan(
        x,
        log_decay=decay,
        phase=torch.full((4,), 50.0),
        recurrence_logits=logits[:, :, 0],
        input_logits=logits[:, :, 1],
        backend=backend,
    )
    gradients = torch.autograd.grad(h.sum(), (x, logits, decay))
    assert all(value.isfinite().all() for value in (h, *gradients))


@each
def test_the_slope_of_the_input_scale_is_bounded(backend: str) -> None:
    log_decay = torch.tensor([-1e-9], dtype=torch.float64, requires_grad=True)
    gated_scan(
        torch.ones(1, 1, 1, dtype=torch.float64), log_decay=log_decay, backend=backend
    ).sum().backward()
    # without the bound, 1 / sqrt(2e-9) = 22361; with it, 2 * 200 * |a|^2
    assert log_decay.grad.item() == pytest.approx(-400, rel=1e-6)


@each
def test_half_precision_is_widened_and_its_gradients_keep_its_type(backend: str) -> None:
    x, logits = (torch.randn(2, 9, 4).bfloat16().requires_grad_() for _ in range(2))
    h = gated_scan(x, log_decay=-torch.ones(4), recurrence_logits=logits, backend=backend)
    assert h.dtype == torch.float32
    h.sum().backward()
    assert x.grad.dtype == logits.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_its_work_is_reported_once_even_where_nothing_is_computed(device: str) -> None:
    x, log_decay = torch.zeros(2, 50, 6, device=device), -torch.ones(3, device=device)
    with counting_flops() as tally:
        h = gated_scan(x, log_decay=log_decay, phase=log_decay)
    assert tally.count == 8 * 2 * 50 * 3
    assert h.shape == x.shape and h.device.type == device


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"x": torch.ones(2, 5, 6, dtype=torch.long)}, "x must be real"),
        ({"x": torch.ones(2, 0, 6)}, "L >= 1"),
        ({"x": torch.ones(2, 5, 5)}, "log_decay must have shape"),
        ({"log_decay": torch.ones(3)}, "log_decay must not be above 0, got 1"),
        ({"log_decay": torch.full((3,), torch.nan)}, "log_decay must not be above 0, got nan"),
        ({"phase": torch.ones(4)}, r"phase must have shape \[3\]"),
        ({"h0": torch.ones(2, 3)}, r"h0 must have shape \[2, 6\]"),
        ({"input_logits": torch.ones(2, 5, 6)}, r"input_logits must have shape \[2, 5, 3\]"),
        ({"recurrence_logits": torch.full((2, 5, 3), torch.nan)}, "recurrence_logits must be numbers"),
    ],
)
def test_wrong_arguments_are_named_with_what_was_expected(change: dict[str, Any], complaint: str) -> None:
    arguments = {"x": torch.ones(2, 5, 6), "log_decay": -torch.ones(3), "phase": torch.ones(3)} | change
    with pytest.raises(ValueError, match=complaint):
        gated_scan(**arguments)
