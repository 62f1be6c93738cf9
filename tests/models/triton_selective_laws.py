"""What the Triton kernels of the selective scan must be: run by test_selective_backends.py in an
interpreter of their own, for the reason that triton_laws.py gives.
"""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from models.scan import triton_selective
from models.scan.triton_selective import selective_tile, triton_selective_scan
from models.scan.triton_selective_kernels import softplus
from models.scan.triton_support import Tile

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
EXACT = {"rtol": 1e-11, "atol": 1e-11}
OPTIONAL = ("D", "z", "bias", "h0")


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4 chunks of 2 steps and 2 channels: so that few numbers, which take long, fill several tiles."""
    if INTERPRETED:

        def small(states: int, steps: int) -> tuple[Tile, int]:
            return Tile(chunks=4, steps=2, channels=2), selective_tile(states, steps)[1]

        monkeypatch.setattr(triton_selective, "selective_tile", small)


def problem(
    length: int, *, batch: int = 1, channels: int = 2, states: int = 2, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Sequences in a type, the rest in at least float32; steps from small to large."""
    random = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64)

    wide = torch.promote_types(dtype, torch.float32)
    sequences = {name: normal(batch, length, channels).to(dtype) for name in ("u", "delta", "z")}
    sequences |= {name: normal(batch, length, states).to(dtype) for name in ("B", "C")}
    rest = {"A": -3 * normal(channels, states).sigmoid(), "D": normal(channels), "bias": 3 * normal(channels)}
    rest["h0"] = normal(batch, channels, states)
    found = sequences | {name: value.to(wide) for name, value in rest.items()}
    return {name: value.to(DEVICE).requires_grad_() for name, value in found.items()}


def scan(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return triton_selective_scan(**dict.fromkeys(OPTIONAL) | inputs)  # type: ignore[arg-type]


def by_definition(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    u, delta, A, B, C = (inputs[name] for name in ("u", "delta", "A", "B", "C"))
    D, z, bias, h = (inputs.get(name) for name in OPTIONAL)
    step = delta if bias is None else F.softplus(delta + bias)
    h, outputs = u.new_zeros(len(u), *A.shape) if h is None else h, []
    for t in range(u.shape[1]):
        size = step[:, t, :, None]
        h = torch.exp(size * A) * h + size * u[:, t, :, None] * B[:, t, None]
        outputs.append((h @ C[:, t, :, None]).squeeze(-1))
    y = torch.stack(outputs, dim=1)
    y = y if D is None else y + D * u
    return (y if z is None else y * F.silu(z)), h


def gradients(results: tuple[Tensor, Tensor], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """With a gradient that comes in through the last state, too."""
    targets = [torch.linspace(-1, 1, r.numel(), device=DEVICE).view_as(r).to(r.dtype) for r in results]
    return dict(zip(inputs, torch.autograd.grad(results, list(inputs.values()), targets), strict=True))


def assert_the_definition(inputs: dict[str, Tensor], **bounds: float) -> None:
    found, wanted = scan(inputs), by_definition(inputs)
    torch.testing.assert_close(found, wanted, **bounds)
    torch.testing.assert_close(gradients(found, inputs), gradients(wanted, inputs), **bounds)


@pytest.mark.parametrize("length", [1, 8, 19])
def test_outputs_last_state_and_gradients_are_those_of_the_definition(length: int) -> None:
    assert_the_definition(problem(length), **EXACT)


def test_sequences_and_blocks_of_channels_do_not_mix() -> None:
    assert_the_definition(problem(5, batch=2, channels=3, states=3), **EXACT)


@pytest.mark.parametrize("absent", [("D", "h0"), ("z", "bias"), OPTIONAL], ids="-".join)
def test_whatever_is_optional_may_be_left_out(absent: tuple[str, ...]) -> None:
    inputs = {name: value for name, value in problem(10).items() if name not in absent}
    if "bias" in absent:  # a step size as it is
        inputs["delta"] = F.softplus(inputs["delta"].detach()).requires_grad_()
    assert_the_definition(inputs, **EXACT)


def test_the_tiles_in_use_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_selective, "selective_tile", selective_tile)
    inputs = problem(10, channels=1, states=16, dtype=torch.float32)
    assert_the_definition(inputs, rtol=1e-4, atol=1e-5)


def test_half_precision_is_widened_when_loaded_and_gradients_return_in_it() -> None:
    half = problem(18, dtype=torch.bfloat16)
    wide = {name: value.detach().double().requires_grad_() for name, value in half.items()}
    found, wanted = scan(half), by_definition(wide)
    for ours, exact in zip(found, wanted, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - exact).abs().max() <= 2e-6 * exact.abs().max()
    exact_gradients = gradients(wanted, wide)
    for name, gradient in gradients(found, half).items():
        exact = exact_gradients[name]
        assert gradient.dtype == half[name].dtype
        # the interpreter cuts digits off where CUDA rounds
        bound = 2**-7 if gradient.dtype == torch.bfloat16 else 1e-5
        assert (gradient - exact).abs().max() <= bound * exact.abs().max(), name


def test_the_past_does_not_know_the_future_by_a_single_bit() -> None:
    inputs = {name: value.detach().clone() for name, value in problem(18, dtype=torch.float32).items()}
    before = scan(inputs)[0][:, :9]
    for name in ("u", "delta", "z", "B", "C"):
        inputs[name][:, 9:] = float("nan")
    assert torch.equal(scan(inputs)[0][:, :9], before)


def test_gradients_flow_through_a_state_that_is_handed_on() -> None:
    inputs, cut = problem(13), 5
    parts = []
    for piece in (slice(None, cut), slice(cut, None)):
        sequences = {name: inputs[name][:, piece] for name in ("u", "delta", "z", "B", "C")}
        h0 = {"h0": parts[-1][1]} if parts else {}
        parts.append(scan(inputs | sequences | h0))
    whole, both = scan(inputs), (torch.cat([y for y, _ in parts], dim=1), parts[-1][1])
    torch.testing.assert_close(both, whole, **EXACT)
    torch.testing.assert_close(gradients(both, inputs), gradients(whole, inputs), **EXACT)


def test_sequences_may_be_views_with_gaps() -> None:
    inputs = problem(9, batch=2)
    wanted = by_definition(inputs)
    gaps = {
        name: torch.stack((value, value), 2)[:, :, 0] if value.ndim == 3 and name != "h0" else value
        for name, value in inputs.items()
    }
    turned = inputs["z"].transpose(0, 1).contiguous().transpose(0, 1)
    torch.testing.assert_close(scan(gaps | {"z": turned}), wanted, **EXACT)


@triton.jit
def of_softplus(x, out):
    at = tl.arange(0, 512)
    tl.store(out + at, softplus(tl.load(x + at), 8))


def test_a_small_step_keeps_its_digits() -> None:
    x = torch.linspace(-60, 60, 512, dtype=torch.float32, device=DEVICE)
    out = torch.empty_like(x)
    of_softplus[(1,)](x, out)
    exact = torch.log1p(torch.exp(-x.double().abs())) + x.double().clamp(min=0)
    assert ((out - exact).abs() <= 3e-7 * exact).all()
