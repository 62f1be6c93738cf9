"""The C++ kernels: each builds, and computes what its torch form does, with every gradient."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.contracts import counting_flops
from harness.evaluation.flop_counter import FlopCounter
from models.block_diagonal import block_diagonal, each_map
from models.gated_branch import fits_gated_branch, gated_branch
from models.gated_input import gated_input
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


def linear(inputs: int, outputs: int, seed: int) -> nn.Linear:
    made = nn.Linear(inputs, outputs).double()
    with torch.no_grad():
        made.weight.copy_(randn(outputs, inputs, seed=seed) / inputs**0.5)
        made.bias.copy_(randn(outputs, seed=seed + 1))
    return made


@given(
    shape=st.lists(st.integers(1, 30), min_size=1, max_size=3).filter(
        lambda shape: torch.Size(shape).numel() < 900
    ),
    width=st.sampled_from([16, 48, 64]),
    hidden=st.sampled_from([16, 32, 80]),
    given_y=st.booleans(),
    added=st.booleans(),
)
@few
def test_the_fused_branch_is_its_products_one_after_the_other(
    shape: list[int], width: int, hidden: int, given_y: bool, added: bool
) -> None:
    layer, gate, output = linear(width, hidden, 1), linear(width, hidden, 3), linear(hidden, width, 5)
    x, u, y = randn(*shape, width, seed=7), randn(*shape, width, seed=8), randn(*shape, hidden, seed=9)
    weights = [weight for module in (gate, output) for weight in module.parameters()]
    inputs = (u, y, *weights) if given_y else (u, *layer.parameters(), *weights)
    expected = output((y if given_y else layer(u)) * F.gelu(gate(u), approximate="tanh"))
    own = {"y": y} if given_y else {"layer": layer}
    found = gated_branch(u, gate, output, x=x if added else None, **own)
    assert_same(found, x + expected if added else expected, (*inputs, x) if added else inputs, 1e-11)


def test_the_fused_branch_takes_widths_that_fill_vectors_and_fit_the_caches() -> None:
    for width, hidden, expected in ((16, 32, True), (16, 24, False), (8, 16, False), (16, 272, False)):
        gate, output = nn.Linear(width, hidden), nn.Linear(hidden, width)
        assert fits_gated_branch(torch.ones(2, width), gate, output) == expected
    gate, output, u = nn.Linear(16, 16), nn.Linear(16, 16), torch.ones(2, 16)
    assert not fits_gated_branch(u.double(), gate, output)
    assert not fits_gated_branch(u, gate, output, u.double())
    assert not fits_gated_branch(u, gate, nn.Linear(16, 16, bias=False))


def test_no_rows_have_gradients_of_zero() -> None:
    layer, gate, output, u = linear(16, 32, 1), linear(16, 32, 3), linear(32, 16, 5), randn(0, 3, 16)
    gated_branch(u, gate, output, layer=layer).sum().backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in (*layer.parameters(), *output.parameters()))


@given(
    sizes=st.tuples(*(st.integers(1, high) for high in (3, 90, 3))),
    width=st.sampled_from([16, 48]),
    blocks=st.sampled_from([(1, 16, 5), (4, 8, 4), (2, 8, 8), (3, 16, 2)]),
)
@few
def test_the_fused_input_is_a_map_and_the_gates_maps_of_it(
    sizes: tuple[int, int, int], width: int, blocks: tuple[int, int, int]
) -> None:
    (batch, length, gates), (count, inputs, outputs) = sizes, blocks
    into, u = linear(width, count * inputs, 1), randn(batch, length, width)
    weight, bias = randn(gates, count, inputs, outputs, seed=4), randn(gates, count * outputs, seed=5)
    v = into(u)
    expected = [v, *block_diagonal(v, weight, bias).unbind(2)]
    found = gated_input(u, into, weight, bias)
    inputs_of = (u, *into.parameters(), weight, bias)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 1e-11 * other.abs().max().clamp(min=1)
    assert_same(torch.cat(found, -1), torch.cat(expected, -1), inputs_of, 1e-11)


def test_fused_layers_are_the_same_on_any_number_of_threads_and_rows_do_not_know_of_each_other() -> None:
    layer, gate, output, into = linear(16, 32, 1), linear(16, 32, 3), linear(32, 16, 5), linear(16, 64, 7)
    weight, bias, u = randn(2, 8, 8, 4, seed=4), randn(2, 32, seed=5), randn(3, 700, 16)
    inputs = (u, weight, bias, *(p for module in (layer, gate, output, into) for p in module.parameters()))

    def both(u: Tensor) -> Tensor:
        return torch.cat(
            (gated_branch(u, gate, output, layer=layer), *gated_input(u, into, weight, bias)), -1
        )

    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            out = both(u)
            found.append([out, *torch.autograd.grad(out.square().sum(), inputs)])
        finally:
            torch.set_num_threads(1)
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert torch.equal(both(u[1:2, 5:12]), found[0][0][1:2, 5:12])


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
