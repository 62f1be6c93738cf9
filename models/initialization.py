"""Initial values: flax's defaults, which the original Poolformer relies on, and its output scaling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_CUT = 2.0

# Standard deviation of a unit normal cut there, by which the cut one is widened again.
_CUT_NORMAL_DEVIATION = 0.87962566103423978


def lecun_normal_(tensor: Tensor, fan_in: int) -> Tensor:
    """In place: normal with variance 1 / fan_in, cut at two standard deviations (before widening).

    As flax draws it, by the inverse of the distribution function: no value is drawn twice.
    """
    deviation = math.sqrt(1 / fan_in) / _CUT_NORMAL_DEVIATION
    within = math.erf(_CUT / math.sqrt(2))
    with torch.no_grad():
        tensor.uniform_(-within, within).erfinv_().mul_(math.sqrt(2) * deviation)
        return tensor.clamp_(-_CUT * deviation, _CUT * deviation)  # where the ends were rounded


def scaled_normal_(tensor: Tensor, fan_in: int, scale: float) -> Tensor:
    """In place: normal with variance scale / fan_in."""
    return nn.init.normal_(tensor, std=math.sqrt(scale / fan_in))


def output_normal_(tensor: Tensor, fan_in: int, scale: float | None) -> Tensor:
    """In place, of a branch's last map: normal with variance scale / fan_in, or as any other (None)."""
    if scale is None:
        return lecun_normal_(tensor, fan_in)
    return scaled_normal_(tensor, fan_in, scale)


class Dense(nn.Linear):
    """A linear map with bias, `lecun_normal_` weights and zero biases."""

    def reset_parameters(self) -> None:
        lecun_normal_(self.weight, self.in_features)
        nn.init.zeros_(self.bias)
