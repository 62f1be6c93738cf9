"""Pooling: P steps become one, and one becomes P again; up-pooling is made causal by a shift.

Poolformer, section on pooling: y_k = b + sum_i W_i x_{kP+i} and u_{kP+i} = b + V_i z_k, where the
P matrices W_i (and V_i) are block-diagonal with G blocks. G = D is the depthwise convolution of
the published model; G = 1 is its dense alternative, whose up-pooling has a bias for each of the P
offsets. An output of the up-pooling at step t must not know steps after t, but z_k is known only
at step kP + P - 1: the output is shifted by P - 1 steps, and the first P - 1 are zero.

What it is compared with: a convolution whose windows overlap (2P steps, every P), the mean of a
window, and its last step alone; the latter two have no parameters and repeat z_k on the way up.
DiffStride (Riad et al. 2022) is not among them: it learns its stride by cropping the spectrum of
the whole sequence, so that every output depends on every input, later ones included.

Shapes: B batch, K coarse steps, P pooling factor, D width, E coarse width, G groups.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State
from models.initialization import lecun_normal_, output_normal_

PoolingKind = Literal["linear", "convolution", "average", "subsample"]
WITHOUT_PARAMETERS = ("average", "subsample")


def build_down_pool(
    kind: PoolingKind, width: int, coarse_width: int, *, factor: int, groups: int
) -> DownPool:
    """The way down; without parameters it keeps the width."""
    if kind == "average":
        return AverageDownPool(factor)
    if kind == "subsample":
        return SubsampleDownPool(factor)
    learned = ConvolutionDownPool if kind == "convolution" else LinearDownPool
    return learned(width, coarse_width, factor=factor, groups=groups)


def build_up_pool(
    kind: PoolingKind, width: int, coarse_width: int, *, factor: int, groups: int, output_scale: float | None
) -> UpPool:
    """The way up that goes with it."""
    if kind in WITHOUT_PARAMETERS:
        return RepeatUpPool(width, factor)
    return LinearUpPool(width, coarse_width, factor=factor, groups=groups, output_scale=output_scale)


class DownPool(nn.Module):
    """Float[B, K P, D] -> Float[B, K, E]. By itself it remembers nothing from window to window."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def initial_state(self, batch_size: int) -> State:
        return ()

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Continue a sequence with K more windows."""
        return self(x), state

    def state_size(self, batch_size: int) -> int:
        return 0


class LinearDownPool(DownPool):
    """A block-diagonal map of each window: the paper's."""

    def __init__(self, width: int, coarse_width: int, *, factor: int, groups: int) -> None:
        super().__init__(factor)
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(factor, groups, width // groups, coarse_width // groups))
        self.bias = nn.Parameter(torch.zeros(coarse_width))
        lecun_normal_(self.weight, fan_in=factor * width // groups)

    def forward(self, x: Tensor) -> Tensor:
        return _map_windows(x, self.weight) + self.bias


class ConvolutionDownPool(DownPool):
    """A causal convolution, kernel 2P and stride P: each window, and the one before it, in a map each.

    The state is what the last window adds to the next step, Float[B, E].
    """

    def __init__(self, width: int, coarse_width: int, *, factor: int, groups: int) -> None:
        super().__init__(factor)
        sizes = factor, groups, width // groups, coarse_width // groups
        self.weight = nn.Parameter(torch.empty(2, *sizes))  # of the window before, and of the window
        self.bias = nn.Parameter(torch.zeros(coarse_width))
        lecun_normal_(self.weight, fan_in=2 * factor * width // groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.resume(x, self.initial_state(len(x)))[0]

    def initial_state(self, batch_size: int) -> Tensor:
        return self.bias.new_zeros(batch_size, len(self.bias))

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        later, now = (_map_windows(x, weight) for weight in self.weight)
        before = torch.cat((state.unsqueeze(1), later[:, :-1]), dim=1)
        return now + before + self.bias, later[:, -1].clone()  # a view would keep all K

    def state_size(self, batch_size: int) -> int:
        return batch_size * self.bias.numel() * self.bias.element_size()


class AverageDownPool(DownPool):
    """The mean of each window."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.factor)).mean(dim=2)


class SubsampleDownPool(DownPool):
    """The last step of each window."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.factor - 1 :: self.factor]


class UpPool(nn.Module):
    """Float[B, K, E] -> Float[B, K P, D], delayed by P - 1 steps."""

    nothing: Tensor

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor, self.width = factor, width
        # has the model's type and device, where no parameter has them
        self.register_buffer("nothing", torch.empty(0), persistent=False)

    def unpool(self, z: Tensor) -> Tensor:
        """The same without the delay: step kP + i is made of z_k."""
        raise NotImplementedError

    def forward(self, z: Tensor, length: int | None = None) -> Tensor:
        """The first `length` steps, K P + P - 1 at most; K P by default."""
        steps = self.unpool(z)
        delay = self.factor - 1
        length = steps.shape[1] if length is None else length
        # what is too much at the end is cut off by padding less: a slice's gradient would be a copy more
        return F.pad(steps, (0, 0, delay, length - steps.shape[1] - delay))

    def initial_state(self, batch_size: int) -> Tensor:
        """What the delay holds back, Float[B, P - 1, D]: at first zeros."""
        return self.nothing.new_zeros(batch_size, self.factor - 1, self.width)

    def resume(self, z: Tensor, state: Tensor, length: int | None = None) -> tuple[Tensor, Tensor]:
        """The next `length` steps (by default K P) of what was held back and then of z, and the rest."""
        steps = torch.cat((state, self.unpool(z)), dim=1)
        length = z.shape[1] * self.factor if length is None else length
        return steps[:, :length], steps[:, length:]


class LinearUpPool(UpPool):
    """A block-diagonal map to each of P steps: the paper's."""

    def __init__(
        self, width: int, coarse_width: int, *, factor: int, groups: int, output_scale: float | None
    ) -> None:
        super().__init__(width, factor)
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(factor, groups, coarse_width // groups, width // groups))
        self.bias = nn.Parameter(torch.zeros((factor, width) if groups == 1 else width))
        # flax counts the kernel's length into the fan-in of a convolution, not of a dense layer
        steps = 1 if groups == 1 else factor
        output_normal_(self.weight, fan_in=steps * coarse_width // groups, scale=output_scale)

    def unpool(self, z: Tensor) -> Tensor:
        if self.weight.shape[2:] == (1, 1):
            steps = torch.addcmul(self.bias, z.unsqueeze(2), self.weight.flatten(1))
        else:
            grouped = z.unflatten(-1, (self.groups, -1))
            steps = torch.einsum("bkgi,pgio->bkpgo", grouped, self.weight).flatten(3) + self.bias
        return steps.flatten(1, 2)


class RepeatUpPool(UpPool):
    """Each coarse step P times over."""

    def unpool(self, z: Tensor) -> Tensor:
        return z.unsqueeze(2).expand(-1, -1, self.factor, -1).flatten(1, 2)


def _map_windows(x: Tensor, weight: Tensor) -> Tensor:
    """Sums the block-diagonal maps [P, G, D/G, E/G] of each window's steps, Float[B, K, E].

    On a CPU the product of all blocks with all windows takes two thirds of the time of an einsum over
    the same axes; depthwise, no custom kernel in torch beats the plain sum by more than a tenth.
    """
    factor, groups = weight.shape[:2]
    windows = x.unflatten(1, (-1, factor))
    if weight.shape[2:] == (1, 1):
        return (windows * weight.flatten(1)).sum(dim=2)
    rows = windows.unflatten(-1, (groups, -1)).permute(3, 0, 1, 2, 4).flatten(3).flatten(1, 2)
    sums = torch.bmm(rows, weight.transpose(0, 1).flatten(1, 2))  # [G, B K, E/G]
    return sums.unflatten(1, (len(x), -1)).permute(1, 2, 0, 3).flatten(2)
