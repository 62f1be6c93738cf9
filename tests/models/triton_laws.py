"""What the Triton scans must be: run by test_triton_scan.py in an interpreter of their own.

Triton decides when it is imported whether kernels are compiled or interpreted, hence not collected
with the other tests. On a machine with CUDA the same laws hold for the compiled kernels.
"""

from __future__ import annotations

import math
import os

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from models.scan import triton_gated, triton_scan
from models.scan.reference import reference_scan
from models.scan.triton_gated import triton_gated_scan
from models.scan.triton_gated_kernels import exponential, turn
from models.scan.triton_scan import triton_linear_scan
from models.scan.triton_support import Tile, tile_for

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
EXACT = {"rtol": 1e-11, "atol": 1e-11}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 8 chunks of 2 steps, when interpreted: so that few numbers, which take long, fill several tiles."""
    if INTERPRETED:
        for module in (triton_scan, triton_gated):
            monkeypatch.setattr(
                module, "tile_for", lambda channels, steps: Tile(chunks=8, steps=2, channels=4)
            )


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """The same numbers in single and in double precision."""
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return torch.randn(shape, dtype=wide, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def gradients(output: Tensor, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    target = random(*output.shape, dtype=output.dtype, seed=9)
    return dict(zip(inputs, torch.autograd.grad(output, list(inputs.values()), target), strict=True))


# ---- the linear scan


def linear_problem(length: int, dtype: torch.dtype, batch: int = 1, width: int = 3) -> dict[str, Tensor]:
    a = random(batch, length, width, dtype=dtype)
    a = a / (a.abs() + 0.05)  # decays up to nearly one
    found = {
        "a": a,
        "b": random(batch, length, width, dtype=dtype, seed=1),
        "h0": random(batch, width, dtype=dtype, seed=2),
    }
    return {name: value.requires_grad_() for name, value in found.items()}


def defined(a: Tensor, b: Tensor, h0: Tensor, reverse: bool = False) -> Tensor:
    return reference_scan(a.flip(1), b.flip(1), h0).flip(1) if reverse else reference_scan(a, b, h0)


@pytest.mark.parametrize(
    ("dtype", "length", "reverse"),
    [
        (torch.float64, 1, False),
        (torch.complex128, 2, True),
        (torch.complex128, 16, False),
        (torch.float64, 31, True),
        (torch.float64, 64, False),
        (torch.complex128, 65, True),
    ],
)
def test_states_and_gradients_are_those_of_the_definition(
    dtype: torch.dtype, length: int, reverse: bool
) -> None:
    inputs = linear_problem(length, dtype)
    found, expected = triton_linear_scan(*inputs.values(), reverse), defined(*inputs.values(), reverse)
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_sequences_and_blocks_of_channels_do_not_mix(dtype: torch.dtype) -> None:
    inputs = linear_problem(5, dtype, batch=2, width=9)
    found, expected = triton_linear_scan(*inputs.values()), defined(*inputs.values())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "length"), [(torch.float32, 270), (torch.complex64, 200)])
def test_the_tiles_in_use_give_the_same(
    dtype: torch.dtype, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_scan, "tile_for", tile_for)
    inputs = linear_problem(length, dtype, width=2)
    found, expected = triton_linear_scan(*inputs.values()), defined(*inputs.values())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_any_strides_and_any_further_axes(dtype: torch.dtype) -> None:
    decay = random(2, 2, dtype=dtype)
    decay = (decay / (decay.abs() + 0.05)).requires_grad_()
    b = random(2, 2, 5, 1, dtype=dtype).permute(3, 2, 1, 0).requires_grad_()
    inputs = {"decay": decay, "b": b}
    found = triton_linear_scan(decay.expand_as(b), b, random(1, 2, 2, dtype=dtype))
    expected = reference_scan(decay.expand_as(b), b, random(1, 2, 2, dtype=dtype))
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs), **EXACT)


def test_a_decay_that_is_no_parameter_gets_no_gradient() -> None:
    inputs = linear_problem(20, torch.float64)
    a = inputs.pop("a").detach()
    found, expected = triton_linear_scan(a, **inputs), defined(a, **inputs)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs), **EXACT)


@pytest.mark.parametrize("t", [1, 16, 18])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_the_past_does_not_know_the_future_by_a_single_bit(dtype: torch.dtype, t: int) -> None:
    a, b, h0 = (value.detach() for value in linear_problem(20, dtype).values())
    before = triton_linear_scan(a, b, h0)[:, :t]
    a[:, t:], b[:, t:] = float("nan"), 7.0
    assert torch.equal(triton_linear_scan(a, b, h0)[:, :t], before)


# ---- the gated scan

DECAYS = (-1e-6, -0.02, -8.0)
"""Of |a|, from one whose scale has its slope bounded to one that forgets within a step; in logarithms."""
PHASES = (0.3, 2.5, 40.0)


def gated_problem(
    length: int,
    *,
    complex: bool,
    recurrence: bool,
    input: bool,
    batch: int = 1,
    repeats: int = 1,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    wide = torch.promote_types(dtype, torch.float32)
    channels = len(DECAYS) * repeats
    width = 2 * channels if complex else channels
    logits = random(batch, length, 2, channels, dtype=dtype, seed=1)  # of which each gate is a view
    found = {
        "x": random(batch, length, width, dtype=dtype),
        "h0": random(batch, width, seed=2, dtype=wide),
        "log_decay": torch.tensor(DECAYS * repeats, dtype=wide, device=DEVICE),
    }
    if complex:
        found["phase"] = torch.tensor(PHASES * repeats, dtype=wide, device=DEVICE)
    if recurrence:
        found["recurrence_logits"] = logits[:, :, 0]
    if input:
        found["input_logits"] = logits[:, :, 1]
    return {name: value.requires_grad_() for name, value in found.items()}


def gated(
    x: Tensor,
    h0: Tensor,
    log_decay: Tensor,
    phase: Tensor | None = None,
    recurrence_logits: Tensor | None = None,
    input_logits: Tensor | None = None,
    normalize: bool = True,
) -> Tensor:
    return triton_gated_scan(
        x,
        h0,
        log_decay=log_decay,
        phase=phase,
        recurrence_logits=recurrence_logits,
        input_logits=input_logits,
        normalize=normalize,
        largest_slope=200.0,
    )


def gated_by_definition(
    x: Tensor,
    h0: Tensor,
    log_decay: Tensor,
    phase: Tensor | None = None,
    recurrence_logits: Tensor | None = None,
    input_logits: Tensor | None = None,
    normalize: bool = True,
) -> Tensor:
    """In plain torch; sqrt(1 - |a|^2) has the derivative of a line no steeper than 200."""
    everywhere = x.new_ones(*x.shape[:2], len(log_decay))
    r = everywhere if recurrence_logits is None else torch.sigmoid(recurrence_logits)
    i = everywhere if input_logits is None else torch.sigmoid(input_logits)
    magnitude, scale = torch.exp(r * log_decay), everywhere
    if normalize:
        square = -torch.expm1(2 * r * log_decay)
        root = square.detach().sqrt()
        scale = root + (square - square.detach()) * (0.5 / root).clamp(max=200.0)
    if phase is None:
        return reference_scan(magnitude, scale * i * x, h0)
    a, b = torch.polar(magnitude, r * phase), scale * i * torch.complex(*x.chunk(2, dim=-1))
    h = reference_scan(a, b, torch.complex(*h0.chunk(2, dim=-1)))
    return torch.cat((h.real, h.imag), dim=-1)


KINDS = pytest.mark.parametrize("complex", [False, True], ids=["real", "complex"])


@KINDS
@pytest.mark.parametrize("gates", [(False, False), (True, False), (False, True), (True, True)], ids=str)
@pytest.mark.parametrize(("normalize", "length"), [(False, 5), (True, 18)], ids=["plain", "normalized"])
def test_gated_states_and_gradients_are_those_of_the_definition(
    normalize: bool, length: int, gates: tuple[bool, bool], complex: bool
) -> None:
    inputs = gated_problem(length, complex=complex, recurrence=gates[0], input=gates[1])
    found, expected = gated(**inputs, normalize=normalize), gated_by_definition(**inputs, normalize=normalize)
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs), **EXACT)


@pytest.mark.parametrize(("length", "complex"), [(1, True), (2, False), (31, True), (65, False)])
def test_single_precision_is_close_at_any_length(length: int, complex: bool) -> None:
    inputs = gated_problem(length, complex=complex, recurrence=True, input=True)
    expected = gated_by_definition(**inputs)
    single = {name: value.detach().float().requires_grad_() for name, value in inputs.items()}
    found = gated(**single)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= 2e-6 * expected.abs().max()
    exact = gradients(expected, inputs)
    for name, gradient in gradients(found, single).items():
        assert (gradient - exact[name]).abs().max() <= 1e-5 * exact[name].abs().max(), name


@KINDS
def test_half_precision_is_widened_when_loaded_and_gradients_return_in_it(complex: bool) -> None:
    half = gated_problem(18, complex=complex, recurrence=True, input=True, dtype=torch.bfloat16)
    wide = {name: value.detach().double().requires_grad_() for name, value in half.items()}
    found, expected = gated(**half), gated_by_definition(**wide)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= 2e-6 * expected.abs().max()
    exact = gradients(expected, wide)
    for name, gradient in gradients(found, half).items():
        assert gradient.dtype == half[name].dtype
        # the interpreter cuts digits off where CUDA rounds
        bound = 2**-7 if gradient.dtype == torch.bfloat16 else 1e-5
        assert (gradient - exact[name]).abs().max() <= bound * exact[name].abs().max(), name


def test_sequences_and_blocks_of_channels_do_not_mix_in_the_gated_scan() -> None:
    inputs = gated_problem(3, complex=True, recurrence=True, input=True, batch=2, repeats=2)
    found, expected = gated(**inputs), gated_by_definition(**inputs)
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs), **EXACT)


@pytest.mark.parametrize(("length", "complex"), [(100, True), (200, False)])
def test_the_tiles_in_use_give_the_same_gated_states(
    length: int, complex: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_gated, "tile_for", tile_for)
    inputs = gated_problem(length, complex=complex, recurrence=True, input=True, dtype=torch.float32)
    found, expected = gated(**inputs), gated_by_definition(**inputs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs), rtol=1e-4, atol=1e-4)


@KINDS
@pytest.mark.parametrize("t", [1, 17])
def test_past_gated_states_do_not_know_the_future_by_a_single_bit(t: int, complex: bool) -> None:
    inputs = gated_problem(18, complex=complex, recurrence=True, input=True, dtype=torch.float32)
    inputs = {name: value.detach().clone() for name, value in inputs.items()}
    before = gated(**inputs)[:, :t]
    for name in ("x", "recurrence_logits", "input_logits"):
        inputs[name][:, t:] = float("nan")
    assert torch.equal(gated(**inputs)[:, :t], before)


def test_gradients_flow_through_a_state_that_is_handed_on() -> None:
    inputs = gated_problem(20, complex=True, recurrence=True, input=True)
    whole, cut = gated(**inputs), 7
    past, future = dict(inputs), dict(inputs)
    for name in ("x", "recurrence_logits", "input_logits"):
        past[name], future[name] = inputs[name][:, :cut], inputs[name][:, cut:]
    first = gated(**past)
    both = torch.cat((first, gated(**future | {"h0": first[:, -1]})), dim=1)
    torch.testing.assert_close(both, whole, **EXACT)
    torch.testing.assert_close(gradients(both, inputs), gradients(whole, inputs), **EXACT)


# ---- functions that Triton's language lacks

SERIES = tuple(1 / math.factorial(k) for k in range(11, 0, -1))


@triton.jit
def functions(x, out, SERIES: tl.constexpr):
    at = tl.arange(0, 1024)
    decay, complement = exponential(tl.load(x + at), SERIES, 11)
    cosine, sine = turn(tl.load(x + at))
    tl.store(out + at, decay)
    tl.store(out + 1024 + at, complement)
    tl.store(out + 2048 + at, cosine)
    tl.store(out + 3072 + at, sine)


@pytest.mark.parametrize("largest", [1e-6, 0.1, 2.0, 30.0, 2000.0])
def test_functions_are_right_to_the_last_digits(largest: float) -> None:
    x = torch.linspace(0, largest, 1024, dtype=torch.float32, device=DEVICE)
    out = torch.empty(4, 1024, device=DEVICE)
    functions[(1,)](x, out, SERIES)
    decay, complement, cosine, sine = out.double()
    exact = x.double()
    for found, expected in ((decay, torch.exp(-exact)), (complement, -torch.expm1(-exact))):
        assert ((found - expected).abs() <= 2e-7 * (1 + exact) * expected + 1e-37).all()
    for found, expected in ((cosine, exact.cos()), (sine, exact.sin())):
        assert ((found - expected).abs() <= 1.2e-7).all()
