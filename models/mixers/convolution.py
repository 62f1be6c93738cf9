"""Causal convolution over the last K steps, alone or in front of another mixer.

    y_t = b + sum_j W_j x_{t-K+1+j},   the last tap, W_{K-1}, on the current step

Source: the "conv" layer and the `use_temporal_cnn` option of the Poolformer code.

Shapes: B batch, L length, D width, K kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State, can_resume, require
from models.initialization import lecun_normal_
from models.residual import EPSILON
from models.state import resume


@dataclass(frozen=True, kw_only=True)
class ConvolutionConfig:
    kernel: int = 3
    """Steps that an output sees, itself included."""
    groups: int = 1
    """1: every channel sees all; the width: each sees itself alone."""

    def __post_init__(self) -> None:
        require(self.kernel >= 1, "kernel", f"must be at least 1, got {self.kernel}")
        require(self.groups >= 1, "groups", f"must be at least 1, got {self.groups}")


class Convolution(nn.Module):
    """Causal convolution over a few steps."""

    Config = ConvolutionConfig

    def __init__(self, config: ConvolutionConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        divides = width % config.groups == 0
        require(divides, "groups", f"must divide the width, {width}, got {config.groups}")
        self.kernel, self.groups = config.kernel, config.groups
        self.weight = nn.Parameter(torch.empty(width, width // config.groups, config.kernel))
        self.bias = nn.Parameter(torch.zeros(width))
        lecun_normal_(self.weight, fan_in=config.kernel * width // config.groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.resume(x, None)[0]

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, L, D] after the inputs of a state (None: the start) -> Float[B, L, D] and the state."""
        before = self.kernel - 1
        window = F.pad(x, (0, 0, before, 0)) if state is None else torch.cat((state, x), dim=1)
        return self._convolve(window), window[:, window.shape[1] - before :].clone()  # a view would keep all

    def _convolve(self, x: Tensor) -> Tensor:
        return F.conv1d(x.transpose(1, 2), self.weight, self.bias, groups=self.groups).transpose(1, 2)

    def initial_state(self, batch_size: int) -> Tensor:
        """The last K - 1 inputs, Float[B, K - 1, D]."""
        return self.bias.new_zeros(batch_size, self.kernel - 1, len(self.bias))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.resume(x.unsqueeze(1), state)
        return y.squeeze(1), state

    def state_size(self, batch_size: int, length: int) -> int:
        return batch_size * (self.kernel - 1) * len(self.bias) * self.bias.element_size()


class ConvolutionThen(nn.Module):
    """A convolution and a LayerNorm in front of another mixer."""

    def __init__(self, convolution: nn.Module, mixer: nn.Module, *, width: int) -> None:
        super().__init__()
        self.convolution: Any = convolution
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.mixer: Any = mixer
        if not (can_resume(convolution) and can_resume(mixer)):
            self.resume = None  # type: ignore[assignment,method-assign]

    def forward(self, x: Tensor) -> Tensor:
        return self.mixer(self.norm(self.convolution(x)))

    def log_decays(self, x: Tensor) -> Tensor | None:
        """Those of the mixer behind, where it has any."""
        of_mixer = getattr(self.mixer, "log_decays", None)
        return None if of_mixer is None else of_mixer(self.norm(self.convolution(x)))

    def initial_state(self, batch_size: int) -> State:
        return self.convolution.initial_state(batch_size), self.mixer.initial_state(batch_size)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        front, rest = state
        x, front = self.convolution.step(x, front)
        x, rest = self.mixer.step(self.norm(x), rest)
        return x, (front, rest)

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, L, D] after what a state (None: the start) has seen -> Float[B, L, D] and the state."""
        front, rest = self.initial_state(len(x)) if state is None else state
        x, front = resume(self.convolution, x, front)
        x, rest = resume(self.mixer, self.norm(x), rest)
        return x, (front, rest)

    def state_size(self, batch_size: int, length: int) -> int:
        return self.convolution.state_size(batch_size, length) + self.mixer.state_size(batch_size, length)
