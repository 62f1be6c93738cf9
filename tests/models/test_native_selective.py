"""The C++ selective scan computes what the one in plain torch does, gradients included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.native.build import CannotBuild
from models.native.call import reason_against
from models.scan.laned import laned_scan
from models.scan.native_selective import BLOCK, KEEP, native_selective_scan
from models.scan.selective import selective_backend_for, selective_backends

few = settings(max_examples=12, deadline=None)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}


def operands(B: int, L: int, D: int, N: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """u, step sizes, A, B, C and h0, none of them contiguous."""
    draw = torch.Generator().manual_seed(B + L + D + N)
    shapes = (L, B, D), (L, B, D), (N, D), (L, B, N), (L, B, N), (B, N, D)
    u, delta, A, into, out, h0 = (torch.randn(*s, generator=draw, dtype=dtype) for s in shapes)
    found = u, torch.exp(delta - 2), -torch.exp(A), into, out
    return [x.detach().requires_grad_() for x in (*(x.transpose(0, 1) for x in found), h0.transpose(1, 2))]


def results(scan, inputs: list[Tensor]) -> list[Tensor]:
    y, last = scan(*inputs)
    loss = (y * torch.arange(y.numel(), dtype=y.dtype).view_as(y).sin()).sum() + last.square().sum()
    return [y, last, *torch.autograd.grad(loss, inputs)]


@given(
    B=st.integers(1, 3),
    L=st.sampled_from([1, 2, KEEP - 1, KEEP, KEEP + 1, 3 * KEEP + 5]),
    D=st.sampled_from([1, 7, BLOCK, BLOCK + 1, 2 * BLOCK + 3]),
    N=st.sampled_from([1, 3, 16]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
@few
def test_outputs_states_and_gradients_are_those_of_plain_torch(
    B: int, L: int, D: int, N: int, dtype: torch.dtype
) -> None:
    inputs = operands(B, L, D, N, dtype)
    wanted = results(laned_scan, [x.detach().double().requires_grad_() for x in inputs])
    for found, right in zip(results(native_selective_scan, inputs), wanted, strict=True):
        assert found.shape == right.shape
        assert (found - right).abs().max() <= TOLERANCE[dtype] * max(1.0, right.abs().max().item())


def test_gradients_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(native_selective_scan, operands(2, 5, 3, 2))


def test_a_fast_decay_forgets_and_a_slow_one_keeps() -> None:
    u, delta, _, into, out, h0 = operands(1, 4, 1, 1, torch.float32)
    for decay, wanted in ((-1e4, 0.0), (-1e-9, 1.0)):
        A = torch.full((1, 1), decay)
        last = native_selective_scan(torch.zeros_like(u), torch.ones_like(delta), A, into, out, h0)[1]
        assert (last / h0).item() == pytest.approx(wanted, abs=1e-6)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    inputs = operands(3, 200, 70, 16, torch.float32)
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            found.append(results(native_selective_scan, inputs))
        finally:
            torch.set_num_threads(1)
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_without_a_compiler_plain_torch_computes_and_that_is_said(monkeypatch, caplog) -> None:
    def refuse(name: str) -> None:
        raise CannotBuild("no C++ compiler")

    monkeypatch.setattr("models.native.call.library", refuse)
    reason_against.cache_clear()
    try:
        assert selective_backend_for("cpu") == "lanes"
        assert selective_backends("cpu")["native"] == "no C++ compiler"
        assert "without the kernel selective" in caplog.text
    finally:
        reason_against.cache_clear()
