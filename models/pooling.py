"""Down- and up-pooling by learned, block-diagonal maps of P steps; up-pooling is made causal by a shift.

Poolformer, section on pooling: y_k = b + sum_i W_i x_{kP+i} and u_{kP+i} = b + V_i z_k, where the
P matrices W_i (and V_i) are block-diagonal with G blocks. G = D is the depthwise convolution of
the published model; G = 1 is its dense alternative, whose up-pooling has a bias for each of the P
offsets. An output of the up-pooling at step t must not know steps after t, but z_k is known only
at step kP + P - 1: the output is shifted by P - 1 steps, and the first P - 1 are zero.

Shapes: B batch, K coarse steps, P pooling factor, D width, E coarse width, G groups.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.initialization import lecun_normal_, scaled_normal_


class DownPool(nn.Module):
    """Float[B, K P, D] -> Float[B, K, E]."""

    def __init__(self, width: int, coarse_width: int, *, factor: int, groups: int) -> None:
        super().__init__()
        self.factor, self.groups = factor, groups
        self.weight = nn.Parameter(torch.empty(factor, groups, width // groups, coarse_width // groups))
        self.bias = nn.Parameter(torch.zeros(coarse_width))
        lecun_normal_(self.weight, fan_in=factor * width // groups)

    def forward(self, x: Tensor) -> Tensor:
        windows = x.unflatten(1, (-1, self.factor))
        if self.weight.shape[2:] == (1, 1):
            return (windows * self.weight.flatten(1)).sum(dim=2) + self.bias
        grouped = windows.unflatten(-1, (self.groups, -1))
        return torch.einsum("bkpgi,pgio->bkgo", grouped, self.weight).flatten(2) + self.bias


class UpPool(nn.Module):
    """Float[B, K, E] -> Float[B, K P, D], delayed by P - 1 steps."""

    def __init__(
        self, width: int, coarse_width: int, *, factor: int, groups: int, output_scale: float
    ) -> None:
        super().__init__()
        self.factor, self.groups, self.width = factor, groups, width
        self.weight = nn.Parameter(torch.empty(factor, groups, coarse_width // groups, width // groups))
        self.bias = nn.Parameter(torch.zeros((factor, width) if groups == 1 else width))
        # flax counts the kernel's length into the fan-in of a convolution, not of a dense layer
        steps = 1 if groups == 1 else factor
        scaled_normal_(self.weight, fan_in=steps * coarse_width // groups, scale=output_scale)

    def forward(self, z: Tensor) -> Tensor:
        delayed = F.pad(self.unpool(z), (0, 0, self.factor - 1, 0))
        return delayed[:, : z.shape[1] * self.factor]

    def unpool(self, z: Tensor) -> Tensor:
        """The same without the delay: step kP + i is made of z_k."""
        if self.weight.shape[2:] == (1, 1):
            steps = torch.addcmul(self.bias, z.unsqueeze(2), self.weight.flatten(1))
        else:
            grouped = z.unflatten(-1, (self.groups, -1))
            steps = torch.einsum("bkgi,pgio->bkpgo", grouped, self.weight).flatten(3) + self.bias
        return steps.flatten(1, 2)

    def resume(self, z: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Continue a sequence; the state Float[B, P - 1, D] is what the delay holds back."""
        steps = torch.cat((state, self.unpool(z)), dim=1)
        length = z.shape[1] * self.factor
        return steps[:, :length], steps[:, length:]
