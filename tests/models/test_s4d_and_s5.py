"""S4D and S5 against the definitions in the papers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from mixer_laws import randn
from state_spaces import mixer

from harness.errors import ConfigError
from models.mixers.state_space import discretize, hippo_legs


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


@pytest.mark.parametrize(
    ("spec", "field"),
    [
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
