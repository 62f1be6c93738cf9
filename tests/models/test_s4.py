"""HiPPO and S4 against the definitions in the papers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from state_spaces import mixer
from torch import Tensor

from harness.configuration import build
from harness.errors import ConfigError
from models.mixers.state_space import hippo_legs, log_uniform


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


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"name": "s4", "state": 7}, "state"),
        ({"name": "s4", "systems": 0}, "systems"),
        ({"name": "s4", "systems": 3}, "systems"),
        ({"name": "s4", "min_step": 0.0}, "min_step"),
        ({"name": "s4", "max_step": 1e-5}, "max_step"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mixer(spec)
    assert caught.value.path == (field,)
