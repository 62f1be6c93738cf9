"""Initial values: flax's defaults, which the original Poolformer relies on, and its output scaling."""

from __future__ import annotations

import math

from torch import Tensor, nn

# Standard deviation of a unit normal cut at two, by which the cut one is widened again.
_CUT_NORMAL_DEVIATION = 0.87962566103423978


def lecun_normal_(tensor: Tensor, fan_in: int) -> Tensor:
    """In place: normal with variance 1 / fan_in, cut at two standard deviations (before widening)."""
    deviation = math.sqrt(1 / fan_in) / _CUT_NORMAL_DEVIATION
    return nn.init.trunc_normal_(tensor, std=deviation, a=-2 * deviation, b=2 * deviation)


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
