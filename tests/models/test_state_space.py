"""Laws of the state-space mixers, and their parts against the definitions in the papers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from harness.configuration import build
from harness.contracts import counting_flops
from harness.errors import ConfigError
from models.mixers.fft_convolution import fft_convolution
from models.mixers.linear_system import DenseSystem, DiagonalSystem, LinearSystem
from models.mixers.state_space import discretize, hippo_legs, log_uniform
from models.poolformer import Poolformer

few = settings(max_examples=10, deadline=None)
SPECS: dict[str, dict[str, Any]] = {
    "s4": {"name": "s4", "state": 8},
    "s4 by cauchy, one system": {"name": "s4", "state": 6, "systems": 1, "algorithm": "cauchy"},
    "s4 of two systems without glu": {"name": "s4", "state": 4, "systems": 2, "glu": False},
    "s4d": {"name": "s4d", "state": 8},
    "s4d inv, bilinear": {"name": "s4d", "initialization": "inv", "discretization": "bilinear"},
    "s4d legs": {"name": "s4d", "initialization": "legs"},
    "s4d real": {"name": "s4d", "state": 5, "initialization": "real"},
    "s5": {"name": "s5"},
    "s5 in blocks without gate": {"name": "s5", "state": 12, "blocks": 3, "gate": False},
}
HIPPO = [{"name": "s4"}, {"name": "s4", "algorithm": "cauchy"}, {"name": "s4d"}, {"name": "s5", "state": 64}]
each = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def mixer(spec: dict[str, Any], width: int = 4) -> Any:
    torch.manual_seed(0)
    return build("mixers", spec, width=width, stride=1).double()


def randn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype)


def rollout(layer: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    outputs = []
    for x_t in x.unbind(1):
        y, state = layer.step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


# ------------------------------------------------------------------------------------------- laws


@each
@given(length=st.integers(1, 70))
@few
def test_stepping_equals_the_whole_sequence(spec: dict[str, Any], length: int) -> None:
    layer, x = mixer(spec), randn(3, length, 4)
    found, state = rollout(layer, x, layer.initial_state(3))
    torch.testing.assert_close(found, layer(x), rtol=1e-9, atol=1e-11)
    assert state.nbytes == layer.initial_state(3).nbytes == layer.state_size(3, length)
    torch.testing.assert_close(state, layer.resume(x, None)[1], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("spec", HIPPO, ids=str)
def test_stepping_equals_the_whole_sequence_in_float32_at_the_hippo_initialisation(
    spec: dict[str, Any],
) -> None:
    """Where stepping in the eigenbasis of S4's matrix is wrong by more than a tenth."""
    layer, x = mixer(spec).float(), randn(2, 600, 4, dtype=torch.float32)
    with torch.no_grad():
        found, _ = rollout(layer, x, layer.initial_state(2))
        expected = layer(x)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@each
@given(length=st.integers(2, 70), data=st.data())
@few
def test_a_sequence_may_be_cut_anywhere(spec: dict[str, Any], length: int, data: st.DataObject) -> None:
    layer, x = mixer(spec), randn(2, length, 4)
    cut = data.draw(st.integers(1, length - 1))
    head, state = layer.resume(x[:, :cut], None)
    tail, state = layer.resume(x[:, cut:], state)
    torch.testing.assert_close(torch.cat((head, tail), dim=1), layer(x), rtol=1e-9, atol=1e-11)
    whole = layer.resume(x, layer.initial_state(2))[1]
    torch.testing.assert_close(state, whole, rtol=1e-9, atol=1e-11)


@each
def test_gradients_pass_through_the_state(spec: dict[str, Any]) -> None:
    layer, x = mixer(spec), randn(2, 45, 4).requires_grad_()
    inputs = [x, *layer.parameters()]
    weights = randn(2, 45, 4)
    whole = torch.autograd.grad((layer(x) * weights).sum(), inputs)
    head, state = layer.resume(x[:, :19], None)
    tail, _ = layer.resume(x[:, 19:], state)
    joined = torch.autograd.grad((torch.cat((head, tail), dim=1) * weights).sum(), inputs)
    for expected, found in zip(whole, joined, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@each
@given(length=st.integers(2, 70), data=st.data())
@few
def test_the_past_does_not_know_the_future(spec: dict[str, Any], length: int, data: st.DataObject) -> None:
    """Of a convolution by FFT but for rounding, of a scan by not a single bit."""
    layer, x = mixer(spec), randn(2, length, 4)
    t = data.draw(st.integers(1, length - 1))
    before = layer(x)
    x[:, t:] += 1
    moved = (layer(x) - before)[:, :t].abs().max()
    assert moved == 0 if spec["name"] == "s5" else moved < 1e-12 * before.abs().max()


@each
def test_gradients_reach_every_parameter_and_the_input(spec: dict[str, Any]) -> None:
    layer, x = mixer(spec), randn(2, 12, 4).requires_grad_()
    layer(x).square().sum().backward()
    for name, tensor in {**dict(layer.named_parameters()), "x": x}.items():
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@each
def test_lower_precisions_keep_their_type_and_a_state_in_float32(
    spec: dict[str, Any], dtype: torch.dtype
) -> None:
    layer, x = mixer(spec).to(dtype), randn(2, 12, 4).to(dtype)
    assert layer(x).dtype == dtype
    y, state = layer.step(x[:, 0], layer.initial_state(2))
    assert y.dtype == dtype
    assert state.dtype.to_complex() == torch.complex64


@each
def test_autocast_leaves_the_systems_in_float32(spec: dict[str, Any]) -> None:
    layer, x = mixer(spec).float(), randn(2, 300, 4, dtype=torch.float32)
    expected = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x)
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


@each
def test_the_dynamics_are_named_for_a_learning_rate_of_their_own(spec: dict[str, Any]) -> None:
    layer = mixer(spec)
    own = {id(p) for p in layer.ssm_parameters()}
    names = {name.removeprefix("ssm.") for name, p in layer.named_parameters() if id(p) in own}
    optional = {"frequency", "p"} & {name.removeprefix("ssm.") for name, _ in layer.named_parameters()}
    assert names == {"log_step", "log_decay", "b"} | optional


def test_the_mixers_drop_into_the_levels_of_poolformer() -> None:
    torch.manual_seed(0)
    spec = {
        "name": "poolformer",
        "width": 8,
        "pooling": [2, 3],
        "layers": 1,
        "mixer": [{"name": "s5"}, {"name": "s4d", "state": 8}, {"name": "s4", "state": 8}],
    }
    model: Poolformer = build("models", spec, vocab_size=16).double().eval()
    tokens = torch.randint(16, (2, 31))
    state, token, logits = model.initial_state(2), None, []
    for t in range(31):
        found, state = model.step(token, state)
        logits.append(found)
        token = tokens[:, t]
    torch.testing.assert_close(torch.stack(logits, dim=1), model(tokens), rtol=1e-9, atol=1e-10)


# -------------------------------------------------------------------------------- linear systems


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


# -------------------------------------------------------------------------------------- S4, HiPPO


def legs(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A and B of HiPPO-LegS, as defined."""
    a = np.zeros((size, size))
    for n in range(size):
        a[n, n] = -(n + 1)
        for k in range(n):
            a[n, k] = -math.sqrt((2 * n + 1) * (2 * k + 1))
    return a, np.sqrt(2 * np.arange(size) + 1)


def both_of_each_pair(x: Tensor) -> np.ndarray:
    return np.concatenate((x.numpy(), x.numpy().conj()))


@pytest.mark.parametrize("size", [2, 8, 64])
def test_hippo_is_given_in_its_eigenbasis(size: int) -> None:
    """Eigenvalues depend on the basis badly, values of the transfer function do not."""
    a, b = legs(size)
    found = hippo_legs(size)
    eigenvalue = both_of_each_pair(torch.complex(torch.full_like(found.p, -0.5), found.frequency))
    p, b_eigen = both_of_each_pair(found.p), both_of_each_pair(found.b)
    a_eigen = np.diag(eigenvalue) - np.outer(p, p)
    for s in (0.3 + 2j, 1 - 0.7j, 40j):
        expected = b @ np.linalg.solve(s * np.eye(size) - a, b)
        value = b_eigen @ np.linalg.solve(s * np.eye(size) - a_eigen, b_eigen)
        assert abs(value - expected) < 1e-11 * abs(expected)


def s4_matrices(layer: Any, channel: int) -> tuple[np.ndarray, ...]:
    """A, B and C of a channel, both of each conjugate pair, and its step."""
    system = layer.ssm.continuous()
    eigenvalue, p, b = (both_of_each_pair(x[channel].detach()) for x in system[1:])
    c = both_of_each_pair(torch.view_as_complex(layer.ssm.c.detach())[channel])
    return np.diag(eigenvalue) - np.outer(p, p.conj()), b, c, system.step[channel].item()


@pytest.mark.parametrize("algorithm", ["steps", "powers", "cauchy"])
@pytest.mark.parametrize("length", [1, 2, 3, 8, 33])
def test_the_kernel_of_s4_is_that_of_the_bilinear_rule(algorithm: str, length: int) -> None:
    layer = mixer({"name": "s4", "state": 8, "algorithm": algorithm})
    with torch.no_grad():
        layer.ssm.p.add_(0.3 * torch.randn_like(layer.ssm.p))  # also of complex p and b
        layer.ssm.b.add_(0.3 * torch.randn_like(layer.ssm.b))
    kernel = layer.ssm.kernel(length).detach().numpy()
    for channel in range(4):
        a, b, c, step = s4_matrices(layer, channel)
        inverse = np.linalg.inv(np.eye(8) - step / 2 * a)
        discrete = inverse @ (np.eye(8) + step / 2 * a)
        h, expected = inverse @ b * step, []
        for _ in range(length):
            expected.append((c @ h).real)
            h = discrete @ h
        np.testing.assert_allclose(kernel[channel], expected, rtol=1e-10, atol=1e-13)


def test_all_algorithms_of_s4_give_the_same_gradients() -> None:
    gradients = []
    for algorithm in ("powers", "cauchy", "steps"):
        layer = mixer({"name": "s4", "algorithm": algorithm})
        weights = torch.linspace(-1, 1, 4 * 101, dtype=torch.float64).view(4, 101)
        (layer.ssm.kernel(101) * weights).sum().backward()
        gradients.append([p.grad for p in layer.ssm.parameters()])
    for powers, *others in zip(*gradients, strict=True):
        for other in others:
            torch.testing.assert_close(other, powers, rtol=1e-8, atol=1e-10 * powers.abs().max().item())


def test_channels_share_systems_in_turn() -> None:
    layer = mixer({"name": "s4", "state": 4, "systems": 2})
    assert layer.ssm.frequency.shape == (2, 2) and layer.ssm.c.shape == (4, 2, 2)
    with torch.no_grad():
        layer.ssm.frequency[1] += 1
        layer.ssm.log_step[:], layer.ssm.c[:] = -3, layer.ssm.c[0].clone()
    kernel = layer.ssm.kernel(20)
    torch.testing.assert_close(kernel[0], kernel[2])
    torch.testing.assert_close(kernel[1], kernel[3])
    assert (kernel[0] - kernel[1]).abs().max() > 1e-3


def test_s4_has_the_numbers_of_parameters_of_the_paper() -> None:
    """d 256, N 64, tied: step, A (2 x 32), B and P (32 complex each), C (32 complex a channel), D, output."""
    layer = build("mixers", {"name": "s4", "systems": 1, "glu": False}, width=256, stride=1)
    expected = 256 + 2 * 32 + 2 * 64 + 256 * 64 + 256 + 256 * 257
    assert sum(p.numel() for p in layer.parameters()) == expected


def test_steps_start_uniform_in_the_logarithm() -> None:
    torch.manual_seed(0)
    log_step = log_uniform(4096, 1e-3, 1e-1) / math.log(10)
    assert -3.001 < log_step.min() < -2.99 and -1.01 < log_step.max() < -0.999
    assert abs(log_step.mean() + 2) < 0.03


# ------------------------------------------------------------------------------------ S4D and S5


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
@pytest.mark.parametrize("eigenvalue", [-0.5 + 3j, -1e-6 + 1e-5j, -2.0])
def test_the_discretisation_is_the_solution_over_a_step(rule: str, eigenvalue: complex) -> None:
    step = 0.125
    dtype = torch.complex128 if isinstance(eigenvalue, complex) else torch.float64
    a, gain = discretize(torch.tensor(eigenvalue, dtype=dtype), torch.tensor(step).double(), rule)
    if rule == "zoh":  # exp of [[lambda, 1], [0, 0]] holds both
        block = scipy.linalg.expm(step * np.array([[eigenvalue, 1], [0, 0]]))
        expected = block[0, 0], block[0, 1]
    else:
        half = step / 2 * eigenvalue
        expected = (1 + half) / (1 - half), step / (1 - half)
    assert complex(a) == pytest.approx(expected[0], rel=1e-10)
    assert complex(gain) == pytest.approx(expected[1], rel=1e-10)


@pytest.mark.parametrize(
    ("initialization", "expected"),
    [
        ("lin", [-0.5 + 1j * math.pi * n for n in range(4)]),
        ("inv", [-0.5 + 8j / math.pi * (8 / (2 * n + 1) - 1) for n in range(4)]),
        ("real", [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0]),
    ],
)
def test_s4d_starts_with_the_eigenvalues_of_the_paper(initialization: str, expected: list[complex]) -> None:
    ssm = mixer({"name": "s4d", "state": 8, "initialization": initialization}).ssm
    frequency = 0 if ssm.frequency is None else ssm.frequency.detach().numpy()
    found = -np.exp(ssm.log_decay.detach().numpy()) + 1j * frequency
    np.testing.assert_allclose(found, np.tile(expected, (4, 1)), rtol=1e-6)


def test_the_kernel_of_s4d_is_a_sum_of_exponentials() -> None:
    ssm = mixer({"name": "s4d", "state": 8}).ssm
    eigenvalue = torch.complex(-ssm.log_decay.exp(), ssm.frequency)
    step, c = ssm.log_step.exp().unsqueeze(-1), torch.view_as_complex(ssm.c)
    residue = c * (torch.exp(eigenvalue * step) - 1) / eigenvalue
    exponent = eigenvalue.unsqueeze(-1) * step.unsqueeze(-1) * torch.arange(50)
    expected = 2 * (residue.unsqueeze(-1) * torch.exp(exponent)).sum(1).real
    torch.testing.assert_close(ssm.kernel(50), expected)


def test_s5_is_one_system_of_all_channels() -> None:
    layer, x = mixer({"name": "s5", "state": 12, "blocks": 2}, width=6), randn(1, 20, 6)
    eigenvalue = torch.complex(-layer.log_decay.exp(), layer.frequency)
    step, b, c = layer.log_step.exp(), torch.view_as_complex(layer.b), torch.view_as_complex(layer.c)
    h, expected = torch.zeros(6, dtype=torch.complex128), []
    for u in x[0]:
        a = torch.exp(eigenvalue * step)
        h = a * h + (a - 1) / eigenvalue * (b @ u.to(b.dtype))
        y = torch.nn.functional.gelu(2 * (c @ h).real + layer.direct * u)
        expected.append(y * torch.sigmoid(layer.gate(y)))
    torch.testing.assert_close(layer(x)[0], torch.stack(expected))


def test_each_block_of_s5_starts_as_hippo() -> None:
    layer = mixer({"name": "s5", "state": 12, "blocks": 3})
    torch.testing.assert_close(layer.frequency.detach(), hippo_legs(4).frequency.repeat(3), rtol=1e-6, atol=0)
    assert mixer({"name": "s5", "blocks": 3}, width=7).initial_state(1).shape == (1, 6)


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"name": "s4", "state": 7}, "state"),
        ({"name": "s4", "systems": 0}, "systems"),
        ({"name": "s4", "systems": 3}, "systems"),
        ({"name": "s4", "min_step": 0.0}, "min_step"),
        ({"name": "s4", "max_step": 1e-5}, "max_step"),
        ({"name": "s4d", "state": 3}, "state"),
        ({"name": "s4d", "state": 0, "initialization": "real"}, "state"),
        ({"name": "s5", "state": 8, "blocks": 3}, "state"),
        ({"name": "s5", "blocks": 0}, "blocks"),
        ({"name": "s5", "min_step": -1.0}, "min_step"),
        ({"name": "s5", "max_step": 1e-5}, "max_step"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mixer(spec)
    assert caught.value.path == (field,)
