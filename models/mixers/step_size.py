"""Initial step sizes of a discretised state space.

    delta = softplus(projection + bias),   softplus(bias) log-uniform in [smallest, largest]

Source: the `dt` of Mamba and Mamba-2 (Gu and Dao 2023, section 3.6), which never starts below 1e-4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.contracts import require

FLOOR = 1e-4


def require_steps(smallest: float, largest: float) -> None:
    """The checks of a config's fields `min_step` and `max_step`."""
    require(smallest > 0, "min_step", f"must be above 0, got {smallest}")
    require(largest >= smallest, "max_step", f"must be at least min_step, {smallest}, got {largest}")


def step_bias(count: int, smallest: float, largest: float) -> Tensor:
    """Random biases Float[count], the inverse softplus of the steps."""
    low, high = math.log(smallest), math.log(largest)
    step = torch.exp(torch.empty(count).uniform_(low, high)).clamp(min=FLOOR)
    return step + torch.log(-torch.expm1(-step))
