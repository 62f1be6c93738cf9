"""The C++ kernels: each builds, and computes what its torch form does, with every gradient."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.contracts import counting_flops
from harness.evaluation.flop_counter import FlopCounter
from models.block_diagonal import block_diagonal, each_map
from models.gelu_gate import gelu_gate
from models.native import build
from models.native.build import FOLDER, CannotBuild, library
from models.native.call import fits, reason_against

few = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.cpp")))
def test_every_source_builds_here(name: str) -> None:
    assert reason_against(name) is None


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


def assert_same(found: Tensor, expected: Tensor, inputs: tuple[Tensor, ...], tolerance: float) -> None:
    target = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(1))
    mine = torch.autograd.grad(found, inputs, target)
    theirs = torch.autograd.grad(expected, inputs, target)
    for one, other in zip((found, *mine), (expected, *theirs), strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= tolerance * other.abs().max().clamp(min=1)


@given(
    sizes=st.tuples(*(st.integers(1, high) for high in (3, 40, 3, 4, 9, 9))),
    poolformers=st.sampled_from([None, (2, 8, 4), (2, 8, 8)]),
)
@few
def test_block_diagonal_maps_are_those_of_einsum(
    sizes: tuple[int, ...], poolformers: tuple[int, int, int] | None
) -> None:
    batch, length, maps, blocks, inputs, outputs = sizes
    if poolformers is not None:  # sizes that have a kernel of their own
        maps, inputs, outputs = poolformers
    v, weight = randn(batch, length, blocks * inputs), randn(maps, blocks, inputs, outputs, seed=2)
    bias = randn(maps, blocks * outputs, seed=3)
    expected = torch.einsum("blki,gkio->blgko", v.unflatten(-1, (blocks, -1)), weight).flatten(-2) + bias
    assert_same(block_diagonal(v, weight, bias), expected, (v, weight, bias), 1e-12)


def test_block_diagonal_gradients_over_many_rows_are_sums_of_chunks_on_any_number_of_threads() -> None:
    v, weight, bias = randn(3, 700, 16), randn(2, 2, 8, 4, seed=2), randn(2, 8, seed=3)
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            found.append(
                torch.autograd.grad(block_diagonal(v, weight, bias).square().sum(), (v, weight, bias))
            )
        finally:
            torch.set_num_threads(1)
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@pytest.mark.parametrize("together", [True, False])
def test_gradients_of_each_map_are_joined_and_not_copied_where_they_lie_together(together: bool) -> None:
    z, whole = randn(2, 5, 3, 4), randn(2, 5, 3, 4, seed=1).detach()
    grads = whole.unbind(2) if together else tuple(part.clone() for part in whole.unbind(2))
    maps = each_map(z)
    assert [part.tolist() for part in maps] == [part.tolist() for part in z.unbind(2)]
    (found,) = torch.autograd.grad(maps, z, grads)
    assert torch.equal(found, whole)
    assert (found.data_ptr() == whole.data_ptr()) == together


def test_some_maps_may_have_no_gradient_and_others_come_in_another_order() -> None:
    z = randn(2, 5, 2, 4)
    first, second = each_map(z)
    (found,) = torch.autograd.grad((2 * second).sum(), z)
    assert torch.equal(found, torch.tensor([0.0, 2.0], dtype=z.dtype).view(2, 1).expand_as(z))
    first, second = each_map(z)
    whole = randn(2, 5, 2, 4, seed=1).detach()
    (found,) = torch.autograd.grad((first, second), z, (whole[:, :, 1], whole[:, :, 0]))
    assert torch.equal(found, whole.flip(2))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_block_diagonal_work_is_reported_once(device: str) -> None:
    v, weight, bias = (torch.zeros(s, device=device) for s in ((2, 5, 16), (2, 2, 8, 4), (2, 8)))
    with FlopCounter() as counter:
        assert block_diagonal(v, weight, bias).shape == (2, 5, 2, 8)
    assert counter.total == 2 * 2 * 5 * (2 * 2 * 8 * 4)


@given(shape=st.lists(st.integers(1, 40), min_size=1, max_size=3), scale=st.sampled_from([0.1, 1.0, 30.0]))
@few
def test_the_gate_is_torchs_gelu_times_the_branch(shape: list[int], scale: float) -> None:
    y, g = randn(*shape), (scale * randn(*shape, seed=2)).detach().requires_grad_()
    assert_same(gelu_gate(y, g), y * F.gelu(g, approximate="tanh"), (y, g), 1e-11)
    y32, g32 = (x.detach().float().requires_grad_() for x in (y, g))
    # far from zero the sigmoid's argument is large, and its own rounding shows
    assert_same(gelu_gate(y32, g32), y32 * F.gelu(g32, approximate="tanh"), (y32, g32), 1e-5)


def test_nothing_is_compiled_where_work_is_only_counted() -> None:
    with counting_flops():
        assert not fits("gelu_gate", torch.ones(1))


def test_kernels_compute_in_full_precision_on_a_cpu_alone() -> None:
    assert fits("gelu_gate", torch.ones(1)) and not fits("gelu_gate", torch.ones(1).bfloat16())
    assert not fits("gelu_gate", torch.ones(1, device="meta"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not fits("gelu_gate", torch.ones(1))


def test_a_source_that_does_not_compile_is_said_aloud_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.cpp").write_text("this is not C++")
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    with caplog.at_level(logging.WARNING, "harness"):
        assert "failed: " in str(reason_against("broken"))
    assert "without the kernel broken" in caplog.text
    assert not list((tmp_path / "cache" / "kernels").iterdir())
    with pytest.raises(CannotBuild):
        library("broken")
