"""The scan: h_t = a_t h_{t-1} + b_t, however it is computed."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.contracts import counting_flops
from models.scan import backend_for, backends, linear_scan
from models.scan.reference import reference_scan

each = pytest.mark.parametrize(
    "backend", [name for name, reason in backends("cpu").items() if reason is None]
)
few = settings(max_examples=30, deadline=None)
lengths = st.integers(1, 150)
dtypes = st.sampled_from([torch.float64, torch.complex128])


def problem(length: int, dtype: torch.dtype, batch: int = 2, width: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(length)
    a = torch.randn(batch, length, width, dtype=dtype, generator=generator)
    a = a / (a.abs() + 0.05)  # decays up to nearly one
    b = torch.randn(batch, length, width, dtype=dtype, generator=generator)
    return a, b, torch.randn(batch, width, dtype=dtype, generator=generator)


@each
@given(length=lengths, dtype=dtypes, reverse=st.booleans())
@few
def test_every_backend_agrees_with_the_definition(
    backend: str, length: int, dtype: torch.dtype, reverse: bool
) -> None:
    a, b, h0 = problem(length, dtype)
    found = linear_scan(a, b, h0, reverse=reverse, backend=backend)
    expected = reference_scan(a.flip(1), b.flip(1), h0).flip(1) if reverse else reference_scan(a, b, h0)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@each
@given(length=lengths, dtype=dtypes, reverse=st.booleans())
@few
def test_gradients_agree_with_those_of_the_definition(
    backend: str, length: int, dtype: torch.dtype, reverse: bool
) -> None:
    a, b, h0 = inputs = [x.requires_grad_() for x in problem(length, dtype)]
    target = torch.randn(b.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad(linear_scan(*inputs, reverse=reverse, backend=backend), inputs, target)
    states = reference_scan(a.flip(1), b.flip(1), h0).flip(1) if reverse else reference_scan(*inputs)
    expected = torch.autograd.grad(states, inputs, target)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@each
@pytest.mark.parametrize("length", [1, 7, 8, 9, 21])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_agree_with_finite_differences(backend: str, length: int, dtype: torch.dtype) -> None:
    inputs = tuple(x.requires_grad_() for x in problem(length, dtype, batch=1, width=2))
    assert torch.autograd.gradcheck(partial(linear_scan, backend=backend, check=False), inputs)


@each
@pytest.mark.parametrize("decay", [(0.3, 1.0), (0.9999, 0.9999)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_float32_gradients_are_right_to_a_millionth(
    backend: str, decay: tuple[float, float], dtype: torch.dtype
) -> None:
    """Over 16,000 steps, relative to the largest value, at strong and at slow decays.

    The chunked backend has its states in float32, whose rounding adds up where decays are slow.
    """
    generator = torch.Generator().manual_seed(0)
    magnitude = torch.empty(1, 16_000, 2).uniform_(*decay, generator=generator)
    a = magnitude if dtype == torch.float32 else torch.polar(magnitude, magnitude * 7)
    b, target = (torch.randn(1, 16_000, 2, dtype=dtype, generator=generator) for _ in range(2))
    wide = {torch.float32: torch.float64, torch.complex64: torch.complex128}[dtype]
    found, expected = (
        torch.autograd.grad(
            linear_scan(*inputs, backend="chunked" if wider else backend), inputs, target.to(kind)
        )
        for wider, kind in ((False, dtype), (True, wide))
        for inputs in [[x.to(kind).requires_grad_() for x in (a, b)]]
    )
    for mine, exact in zip(found, expected, strict=True):
        bound = 1e-4 if backend == "chunked" and decay[0] > 0.9 else 1e-6
        assert (mine - exact).abs().max() <= bound * exact.abs().max()


@each
def test_wide_batches_of_channels_on_several_threads_equal_one(backend: str) -> None:
    a, b, h0 = problem(300, torch.float64, batch=3, width=150)
    one = linear_scan(a, b, h0, backend=backend)
    torch.set_num_threads(3)
    try:
        assert torch.equal(linear_scan(a, b, h0, backend=backend), one)
    finally:
        torch.set_num_threads(1)


@given(length=st.integers(2, 100), dtype=dtypes, data=st.data())
@few
def test_a_sequence_may_be_cut_and_continued_from_its_last_state(
    length: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    a, b, h0 = problem(length, dtype)
    cut = data.draw(st.integers(1, length - 1))
    first = linear_scan(a[:, :cut], b[:, :cut], h0)
    second = linear_scan(a[:, cut:], b[:, cut:], first[:, -1])
    torch.testing.assert_close(
        torch.cat((first, second), dim=1), linear_scan(a, b, h0), rtol=1e-12, atol=1e-12
    )


@each
@given(length=st.integers(2, 100), dtype=dtypes, data=st.data())
@few
def test_the_past_does_not_know_the_future_by_a_single_bit(
    backend: str, length: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    a, b, h0 = problem(length, dtype)
    t = data.draw(st.integers(1, length - 1))
    before = linear_scan(a, b, h0, backend=backend)[:, :t]
    a[:, t:], b[:, t:] = float("nan"), 7.0
    assert torch.equal(linear_scan(a, b, h0, backend=backend, check=False)[:, :t], before)


def test_without_an_initial_state_it_starts_from_zero() -> None:
    a, b, h0 = problem(20, torch.float64)
    assert torch.equal(linear_scan(a, b), linear_scan(a, b, torch.zeros_like(h0)))


def test_inputs_need_not_be_contiguous_and_may_be_expanded() -> None:
    a, b, h0 = problem(50, torch.float64)
    expected = reference_scan(a, b, h0)
    strided = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in (a, b)]
    torch.testing.assert_close(linear_scan(*strided, h0), expected)
    constant = torch.tensor([0.5, 0.9, 1.0], dtype=torch.float64, requires_grad=True)
    linear_scan(constant.expand_as(b), b, h0).sum().backward()
    by_loop = torch.autograd.grad(reference_scan(constant.expand_as(b), b, h0).sum(), constant)
    torch.testing.assert_close(constant.grad, by_loop[0])


@pytest.mark.parametrize("shape", [(3, 20), (2, 20, 3, 4)])
def test_any_number_of_further_axes_works(shape: tuple[int, ...]) -> None:
    a, b = torch.rand(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(linear_scan(a, b), reference_scan(a, b))


def test_half_precision_is_accumulated_in_float32() -> None:
    steps = torch.full((1, 4096, 1), 2.0**-10, dtype=torch.bfloat16)
    h = linear_scan(torch.ones_like(steps), steps)
    assert h.dtype == torch.float32
    assert h[0, -1, 0] == 4.0  # in bfloat16 the sum would stop growing at 0.25
    assert linear_scan(steps, steps, h[:, -1]).dtype == torch.float32


def test_float32_stays_close_over_a_long_sequence_of_slow_decays() -> None:
    a = 1 - torch.rand(1, 16_000, 4) * 1e-3
    b = torch.randn(1, 16_000, 4)
    expected = reference_scan(a.double(), b.double())
    assert (linear_scan(a, b) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("dtype", "each"), [(torch.float32, 2), (torch.complex64, 8)])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_its_work_is_reported_once_even_where_nothing_is_computed(
    dtype: torch.dtype, each: int, device: str
) -> None:
    a = torch.zeros(2, 50, 3, dtype=dtype, device=device)
    with counting_flops() as tally:
        h = linear_scan(a, a)
    assert tally.count == each * 2 * 50 * 3
    assert h.shape == a.shape and h.dtype == dtype and h.device.type == device


def test_the_backend_in_use_is_the_first_that_can_be_used() -> None:
    usable = [name for name, reason in backends("cpu").items() if reason is None]
    assert backend_for("cpu") == usable[0] and usable[-1] == "chunked"


def test_asking_for_a_backend_that_is_missing_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="'triton' cannot be used here: "):
        linear_scan(torch.ones(1, 2, 3), torch.ones(1, 2, 3), backend="triton")
    with pytest.raises(ValueError, match="backend must be one of triton, native, chunked, got 'fast'"):
        backend_for("cpu", "fast")


def test_without_a_compiler_there_is_no_native_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    code = "from models.scan import backends; print(backends('cpu')['native'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no C++ compiler: neither " in done.stdout and "no-such-compiler" in done.stdout


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"a": torch.ones(2, 5, 3, dtype=torch.long)}, "a must be real or complex"),
        ({"a": torch.ones(5)}, "a must have shape"),
        ({"a": torch.ones(2, 0, 3)}, "L >= 1"),
        ({"b": torch.ones(2, 5, 4)}, r"b must have shape \[2, 5, 3\]"),
        ({"b": torch.ones(2, 5, 3, dtype=torch.float64)}, "b must be torch.float32"),
        ({"h0": torch.ones(2, 5, 3)}, r"h0 must have shape \[2, 3\]"),
        ({"h0": torch.ones(2, 3, dtype=torch.complex64)}, "h0 must be torch.float32"),
        ({"a": torch.full((2, 5, 3), 1.01)}, r"a must have \|a\| <= 1 throughout, got 1.01"),
        ({"a": torch.full((2, 5, 3), torch.nan)}, r"a must have \|a\| <= 1 throughout, got nan"),
        ({"b": torch.full((2, 5, 3), torch.nan)}, r"b must be numbers, got NaN in its \[2, 5, 3\]"),
        ({"h0": torch.full((2, 3), torch.nan)}, "h0 must be numbers"),
    ],
)
def test_wrong_arguments_are_named_with_what_was_expected(change: dict[str, Tensor], complaint: str) -> None:
    arguments = {"a": torch.ones(2, 5, 3), "b": torch.ones(2, 5, 3), "h0": torch.ones(2, 3)} | change
    with pytest.raises(ValueError, match=complaint):
        linear_scan(**arguments)
