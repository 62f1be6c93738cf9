"""Pooling: what each coarse step sums, and that nothing comes too early."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.pooling import (
    AverageDownPool,
    ConvolutionDownPool,
    DownPool,
    LinearDownPool,
    LinearUpPool,
    PoolingKind,
    RepeatUpPool,
    SubsampleDownPool,
    UpPool,
    build_down_pool,
    build_up_pool,
)

few = settings(max_examples=20, deadline=None)
factors = st.integers(1, 6)
groupings = st.sampled_from([1, 2, 3, 6])  # of width 6: dense, block-diagonal, depthwise
kinds = st.sampled_from(["linear", "convolution", "average", "subsample"])
WIDTH = 6


def down(factor: int, groups: int, growth: int = 1) -> LinearDownPool:
    return _random(LinearDownPool(WIDTH, WIDTH * growth, factor=factor, groups=groups).double())


def up(factor: int, groups: int, growth: int = 1) -> LinearUpPool:
    pool = LinearUpPool(WIDTH, WIDTH * growth, factor=factor, groups=groups, output_scale=1.0)
    return _random(pool.double())


def _random(pool):
    torch.nn.init.normal_(pool.bias)
    return pool


def pools(kind: PoolingKind, factor: int, groups: int) -> tuple[DownPool, UpPool]:
    sizes = {"factor": factor, "groups": groups}
    there = build_down_pool(kind, WIDTH, WIDTH, **sizes)
    return there.double(), build_up_pool(kind, WIDTH, WIDTH, **sizes, output_scale=1.0).double()


def full_matrices(weight: Tensor) -> Tensor:
    """The P block-diagonal matrices [P, in, out] of a weight [P, G, in/G, out/G]."""
    return torch.stack([torch.block_diag(*blocks) for blocks in weight])


@given(factor=factors, groups=groupings, growth=st.integers(1, 2), steps=st.integers(1, 4))
@few
def test_down_pooling_sums_block_diagonal_maps_of_each_window(
    factor: int, groups: int, growth: int, steps: int
) -> None:
    pool = down(factor, groups, growth)
    x = torch.randn(2, steps * factor, WIDTH, dtype=torch.float64)
    windows = x.view(2, steps, factor, WIDTH)
    expected = torch.einsum("bkpi,pio->bko", windows, full_matrices(pool.weight)) + pool.bias
    torch.testing.assert_close(pool(x), expected)


@given(factor=factors, groups=groupings, growth=st.integers(1, 2), steps=st.integers(1, 4))
@few
def test_up_pooling_maps_each_step_to_its_window_and_delays_it(
    factor: int, groups: int, growth: int, steps: int
) -> None:
    pool = up(factor, groups, growth)
    z = torch.randn(2, steps, WIDTH * growth, dtype=torch.float64)
    windows = torch.einsum("bki,pio->bkpo", z, full_matrices(pool.weight)) + pool.bias
    found = pool(z)
    assert torch.equal(found[:, : factor - 1], torch.zeros(2, factor - 1, WIDTH, dtype=torch.float64))
    expected = windows.flatten(1, 2)[:, : steps * factor - factor + 1]
    torch.testing.assert_close(found[:, factor - 1 :], expected)


@given(factor=factors, groups=groupings, growth=st.integers(1, 2), steps=st.integers(1, 4))
@few
def test_the_convolution_sees_each_window_and_the_one_before_it(
    factor: int, groups: int, growth: int, steps: int
) -> None:
    pool = _random(ConvolutionDownPool(WIDTH, WIDTH * growth, factor=factor, groups=groups).double())
    x = torch.randn(2, steps * factor, WIDTH, dtype=torch.float64)
    kernel = torch.cat([full_matrices(weight) for weight in pool.weight])  # [2P, in, out]
    padded = F.pad(x, (0, 0, factor, 0)).transpose(1, 2)
    expected = F.conv1d(padded, kernel.permute(2, 1, 0), pool.bias, stride=factor).transpose(1, 2)
    torch.testing.assert_close(pool(x), expected)


@given(factor=factors, steps=st.integers(1, 4))
@few
def test_without_parameters_a_window_is_averaged_or_its_last_step_is_kept(factor: int, steps: int) -> None:
    x = torch.randn(2, steps * factor, WIDTH, dtype=torch.float64)
    average, last = AverageDownPool(factor)(x), SubsampleDownPool(factor)(x)
    for k in range(steps):
        window = x[:, k * factor : (k + 1) * factor]
        torch.testing.assert_close(average[:, k], window.mean(1))
        assert torch.equal(last[:, k], window[:, -1])
    assert not [*AverageDownPool(factor).parameters(), *RepeatUpPool(WIDTH, factor).parameters()]


@given(factor=factors, steps=st.integers(1, 4))
@few
def test_repeating_is_delayed_like_every_way_up(factor: int, steps: int) -> None:
    z = torch.randn(2, steps, WIDTH)
    found = RepeatUpPool(WIDTH, factor)(z)
    assert not found[:, : factor - 1].any()
    for t in range(factor - 1, steps * factor):
        assert torch.equal(found[:, t], z[:, (t - factor + 1) // factor])


@given(kind=kinds, factor=factors, groups=groupings, steps=st.integers(2, 4), data=st.data())
@few
def test_down_then_up_pooling_is_causal_to_the_last_bit(
    kind: PoolingKind, factor: int, groups: int, steps: int, data: st.DataObject
) -> None:
    there, back = pools(kind, factor, groups)
    x = torch.randn(2, steps * factor, WIDTH, dtype=torch.float64)
    t = data.draw(st.integers(0, x.shape[1] - 1))
    before = back(there(x))[:, :t]
    x[:, t:] = torch.randn_like(x[:, t:])
    assert torch.equal(back(there(x))[:, :t], before)


@given(kind=kinds, factor=factors, groups=groupings, steps=st.integers(2, 5), data=st.data())
@few
def test_down_pooling_may_be_cut_and_continued(
    kind: PoolingKind, factor: int, groups: int, steps: int, data: st.DataObject
) -> None:
    pool, _ = pools(kind, factor, groups)
    x = torch.randn(2, steps * factor, WIDTH, dtype=torch.float64)
    cut = data.draw(st.integers(1, steps - 1)) * factor
    first, state = pool.resume(x[:, :cut], pool.initial_state(2))
    second, _ = pool.resume(x[:, cut:], state)
    torch.testing.assert_close(torch.cat((first, second), dim=1), pool(x))


@given(factor=factors, groups=groupings, steps=st.integers(2, 5), data=st.data())
@few
def test_up_pooling_may_be_cut_and_continued(
    factor: int, groups: int, steps: int, data: st.DataObject
) -> None:
    pool = up(factor, groups)
    z = torch.randn(2, steps, WIDTH, dtype=torch.float64)
    cut = data.draw(st.integers(1, steps - 1))
    first, state = pool.resume(z[:, :cut], torch.zeros(2, factor - 1, WIDTH, dtype=torch.float64))
    second, _ = pool.resume(z[:, cut:], state)
    torch.testing.assert_close(torch.cat((first, second), dim=1), pool(z))


def test_a_factor_of_one_still_scales_and_shifts_each_channel() -> None:
    pool = down(1, WIDTH)
    x = torch.randn(1, 5, WIDTH, dtype=torch.float64)
    torch.testing.assert_close(pool(x), x * pool.weight.flatten() + pool.bias)


@pytest.mark.parametrize(("groups", "bias"), [(1, (4, WIDTH)), (2, (WIDTH,)), (WIDTH, (WIDTH,))])
def test_only_the_dense_up_pooling_has_a_bias_for_each_offset(groups: int, bias: tuple[int, ...]) -> None:
    assert up(4, groups).bias.shape == bias
