"""Pooling: what each coarse step sums, and that nothing comes too early."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.pooling import DownPool, UpPool

few = settings(max_examples=20, deadline=None)
factors = st.integers(1, 6)
groupings = st.sampled_from([1, 2, 3, 6])  # of width 6: dense, block-diagonal, depthwise
WIDTH = 6


def down(factor: int, groups: int, growth: int = 1) -> DownPool:
    return _random(DownPool(WIDTH, WIDTH * growth, factor=factor, groups=groups).double())


def up(factor: int, groups: int, growth: int = 1) -> UpPool:
    return _random(UpPool(WIDTH, WIDTH * growth, factor=factor, groups=groups, output_scale=1.0).double())


def _random(pool):
    torch.nn.init.normal_(pool.bias)
    return pool


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


@given(factor=factors, groups=groupings, steps=st.integers(2, 4), data=st.data())
@few
def test_down_then_up_pooling_is_causal_to_the_last_bit(
    factor: int, groups: int, steps: int, data: st.DataObject
) -> None:
    there, back = down(factor, groups), up(factor, groups)
    x = torch.randn(2, steps * factor, WIDTH, dtype=torch.float64)
    t = data.draw(st.integers(0, x.shape[1] - 1))
    before = back(there(x))[:, :t]
    x[:, t:] = torch.randn_like(x[:, t:])
    assert torch.equal(back(there(x))[:, :t], before)


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
