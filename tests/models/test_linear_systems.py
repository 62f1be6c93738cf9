"""Discrete linear systems and convolutions with their kernels, against what their definitions say."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixer_laws import randn
from scipy.fft import next_fast_len
from state_spaces import HIPPO, mixer
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from harness.configuration import build
from harness.contracts import counting_flops
from models.mixers.fft_convolution import fast_length, fft_convolution
from models.mixers.linear_system import DenseSystem, DiagonalSystem, LinearSystem

few = settings(max_examples=10, deadline=None)


def dense(width: int, numbers: int) -> LinearSystem:
    a = randn(width, numbers, numbers)
    a = 0.95 * a / torch.linalg.matrix_norm(a, 2)[:, None, None]
    return DenseSystem(a, randn(width, numbers), randn(width, numbers))


def diagonal(width: int, numbers: int) -> LinearSystem:
    a = torch.polar(torch.rand(width, numbers, dtype=torch.float64), randn(width, numbers))
    b, c = (torch.complex(randn(width, numbers), randn(width, numbers)) for _ in range(2))
    return DiagonalSystem(a, b, c)


@pytest.mark.parametrize("kind", [dense, diagonal])
@given(length=st.integers(1, 150), seed=st.integers(0, 1000))
@few
def test_a_system_is_what_its_recurrence_says(kind: Any, length: int, seed: int) -> None:
    torch.manual_seed(seed)
    system, u = kind(3, 4), randn(2, 3, length)
    b, c, a = system.b[:, 0], system.c[:, 0], system._squares[0]
    state = torch.complex(randn(2, 3, 4), randn(2, 3, 4)) if b.is_complex() else randn(2, 3, 4)

    def run(h: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for t in range(length):
            h = h * a if b.is_complex() else torch.einsum("bdn,dnm->bdm", h, a)
            h = h + inputs[:, :, t, None] * b
            outputs.append((h * c).sum(-1).real if b.is_complex() else (h * c).sum(-1))
        return torch.stack(outputs, dim=-1), h

    impulse = torch.zeros(1, 3, length, dtype=torch.float64)
    impulse[:, :, 0] = 1
    torch.testing.assert_close(system.kernel(length), run(0 * state[:1], impulse)[0][0])
    torch.testing.assert_close(system.free_response(state, length), run(state, 0 * u)[0])
    torch.testing.assert_close(system.last_state(u, state), run(state, u)[1])
    torch.testing.assert_close(system.last_state(u, None), run(0 * state, u)[1])


@given(length=st.integers(1, 60), batch=st.integers(1, 3))
@few
def test_the_fft_convolution_is_the_causal_sum(length: int, batch: int) -> None:
    u, kernel = randn(batch, length, 2), randn(2, length)
    expected = torch.zeros_like(u)
    for t in range(length):
        expected[:, t] = (u[:, : t + 1] * kernel[:, : t + 1].flip(1).T).sum(1)
    torch.testing.assert_close(fft_convolution(u, kernel), expected)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_the_gradients_of_the_fft_convolution_agree_with_finite_differences(length: int) -> None:
    inputs = randn(2, length, 3).requires_grad_(), randn(3, length).requires_grad_()
    assert torch.autograd.gradcheck(fft_convolution, inputs)


@pytest.mark.parametrize("spec", HIPPO[:3], ids=str)
def test_nothing_as_large_as_length_by_state_is_kept_for_the_backward_pass(spec: dict[str, Any]) -> None:
    layer, length = mixer(spec).float(), 4000
    sizes: list[int] = []
    with saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        layer.ssm.kernel(length)
    assert max(sizes) < 4 * length * 64 / 8


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_work_of_the_transforms_is_reported(device: str) -> None:
    layer = build("mixers", {"name": "s4d"}, width=8, stride=1).to(device)
    with counting_flops() as tally:
        layer(torch.zeros(3, 100, 8, device=device))
    points = 200  # the next fast length from 199
    transforms = (3 + 1 + 3) * 8 * 2.5 * points * math.log2(points)
    assert tally.count == pytest.approx(transforms + 3 * 8 * 6 * points / 2)


def test_a_transform_is_no_longer_than_it_must_be() -> None:
    for least in (*range(1, 2000), 31_999, 65_537):
        assert fast_length(least) == next_fast_len(least, real=True)
