"""Griffin's recurrent block: a short convolution and a real-gated linear recurrent unit, beside a gate.

    v = conv(W_x u)     h = RG-LRU(v)     y = W_out (h * GELU(W_y u))

    [r, i] = sigmoid(block-diagonal(v))     log a_t = -c r_t softplus(Lambda)
    h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i_t v_t),   but h_t = i_t v_t where a document starts

A start is log a_t = -inf: then a_t is 0 and sqrt(1 - a_t^2) is 1. The first step of a stream is one.

Source: De et al. 2024 (Griffin, arXiv 2402.19427), section 2 and eq. 1 to 4, and the recurrentgemma
code, which adds the rule for starts. Parameters have that code's names, so that its weights load.

Shapes: B batch, L length, D width, N channels of the state, H blocks of the gates, K kernel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import require
from harness.errors import HarnessError
from models.block_diagonal import block_diagonal, each_map
from models.gelu_gate import gelu_gate
from models.mixers.recurrence import accumulation_dtype
from models.scan import backend_for, gated_scan, linear_scan
from models.scan.composed import input_scale

LARGEST_SLOPE = 1000.0
"""Bound on the derivative of sqrt(1 - a^2), recurrentgemma's."""
CONVOLUTION_SCALE = 0.01
"""Initial variance of the convolution's weights, over that of a unit gain."""


@dataclass(frozen=True, kw_only=True)
class RecurrentBlockConfig:
    hidden: int | None = None
    """Channels of the state; null: the width (the paper's models have 4/3 of it)."""
    blocks: int | None = None
    """Blocks of the gates' matrices; null: 16, or fewer that divide and are at least 8 wide."""
    kernel: int = 4
    """Steps that the convolution sees, the current one included."""
    c: float = 8.0
    """Factor on log a."""
    ring_of: Literal["base", "decay"] = "base"
    """What starts between the radii: a before the factor c is applied, uniform over the ring's area
    (the authors' code), or a^c, uniform (the paper), which remembers for c times as many steps."""
    min_radius: float = 0.9
    max_radius: float = 0.999
    scan: str | None = None
    """Backend of the scan; null: the fastest that this device has."""

    def __post_init__(self) -> None:
        require(self.hidden is None or self.hidden >= 1, "hidden", "must be at least 1, or null")
        require(self.blocks is None or self.blocks >= 1, "blocks", "must be at least 1, or null")
        require(self.kernel >= 1, "kernel", f"must be at least 1, got {self.kernel}")
        require(self.c > 0, "c", f"must be above 0, got {self.c}")
        require(0 < self.min_radius < 1, "min_radius", f"must lie in (0, 1), got {self.min_radius}")
        upper = self.min_radius <= self.max_radius < 1
        require(upper, "max_radius", f"must lie in [min_radius, 1), got {self.max_radius}")

    def sizes(self, width: int) -> tuple[int, int]:
        """Channels of the state and blocks of the gates, in a layer of this width.

        Raises: ConfigError
        """
        channels = self.hidden or width
        if self.blocks is None:
            most = min(16, max(channels // 8, 1))
            return channels, next(n for n in range(most, 0, -1) if channels % n == 0)
        divides = channels % self.blocks == 0
        require(divides, "blocks", f"must divide the {channels} channels of the state, got {self.blocks}")
        return channels, self.blocks


class RecurrentState(NamedTuple):
    """What the block remembers."""

    h: Tensor
    """Float[B, N], at least float32."""
    inputs: Tensor
    """The convolution's last K - 1 inputs, Float[B, K - 1, N]; zero before the start."""
    started: bool
    """Whether a step was made: the first one is a start."""


class RecurrentBlock(nn.Module):
    """Griffin's recurrent block: convolution and real-gated linear recurrence, with a multiplicative gate."""

    Config = RecurrentBlockConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"hidden": 24, "blocks": 3, "kernel": 2, "ring_of": "decay"},
        {"kernel": 1, "c": 4.0, "min_radius": 0.5},
    )

    def __init__(
        self, config: RecurrentBlockConfig, *, width: int, stride: int = 1, output_scale: float = 1.0
    ) -> None:
        """output_scale: initial variance of the output projection, over that of a unit gain."""
        super().__init__()
        channels, blocks = config.sizes(width)
        self.scan = config.scan
        self.linear_y = nn.Linear(width, channels)
        self.linear_x = nn.Linear(width, channels)
        self.conv_1d = TemporalConvolution(channels, config.kernel)
        self.rg_lru = RealGatedLRU(config, channels, blocks)
        self.linear_out = nn.Linear(channels, width)
        for linear, scale in ((self.linear_y, 1.0), (self.linear_x, 1.0), (self.linear_out, output_scale)):
            fan_in_normal_(linear.weight, linear.in_features, scale)
            nn.init.zeros_(linear.bias)

    @property
    def scan_backend(self) -> str:
        return backend_for(self.linear_x.weight.device, self.scan)

    def forward(self, x: Tensor) -> Tensor:
        return self.resume(x, None)[0]

    def log_decays(self, x: Tensor) -> Tensor:
        """Of every step, Float[B, L, N]."""
        return self.rg_lru.log_decays(self.conv_1d(self.linear_x(x), self.initial_state(len(x)).inputs)[0])

    def resume(
        self, x: Tensor, state: RecurrentState | None, starts: Tensor | None = None
    ) -> tuple[Tensor, RecurrentState]:
        """Float[B, L, D] from a state (None: the start of a stream) -> Float[B, L, D] and the last state.

        starts: Bool[B, L], steps at which another document starts, which sees nothing of what came before.
        """
        h0, inputs, started = self.initial_state(len(x)) if state is None else state
        v, inputs = self.conv_1d(self.linear_x(x), inputs, starts)
        if not started:
            first = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
            starts = first if starts is None else torch.cat((first, starts[:, 1:]), dim=1)
        h = self.rg_lru(v, h0, starts)
        gate = self.linear_y(x)
        y = self.linear_out(gelu_gate(h.to(gate.dtype), gate))
        return y, RecurrentState(h[:, -1].clone(), inputs, True)

    def initial_state(self, batch_size: int) -> RecurrentState:
        weight = self.conv_1d.w
        h = weight.new_zeros(batch_size, weight.shape[1], dtype=accumulation_dtype(weight.dtype))
        inputs = weight.new_zeros(batch_size, weight.shape[0] - 1, weight.shape[1])
        return RecurrentState(h, inputs, False)

    def step(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        y, state = self.resume(x.unsqueeze(1), state)
        return y.squeeze(1), state

    def state_size(self, batch_size: int, length: int) -> int:
        weight = self.conv_1d.w
        h = accumulation_dtype(weight.dtype).itemsize
        inputs = (weight.shape[0] - 1) * weight.element_size()
        return batch_size * weight.shape[1] * (h + inputs)


class TemporalConvolution(nn.Module):
    """Causal convolution of each channel with itself: y_t = b + sum_k w_k x_{t-K+1+k}."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(kernel, channels))
        self.b = nn.Parameter(torch.zeros(channels))
        fan_in_normal_(self.w, kernel, CONVOLUTION_SCALE)

    def forward(self, x: Tensor, inputs: Tensor, starts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x: Float[B, L, N] after the last inputs, Float[B, K - 1, N] -> outputs like x and the last inputs.

        starts: Bool[B, L], see `RecurrentBlock.resume`.
        """
        length, kernel = x.shape[1], len(self.w)
        window = torch.cat((inputs, x.to(inputs.dtype)), dim=1)
        last = window[:, length:].clone()  # a view would keep the whole window
        if starts is None and length > 1:
            y = F.conv1d(window.mT, self.w.mT.unsqueeze(1), self.b, groups=len(self.b))
            return y.mT, last
        seen = window.unfold(1, kernel, 1)  # [B, L, N, K]; for one step ten times as fast as conv1d
        if starts is not None:
            document = F.pad(starts, (kernel - 1, 0)).cumsum(1)  # counted from that of the last inputs
            same = document.unfold(1, kernel, 1) == document[:, kernel - 1 :, None]
            seen = seen * same.unsqueeze(2)
            last = last * (document[:, length:] == document[:, -1:]).unsqueeze(-1)
        return (seen * self.w.mT).sum(-1) + self.b, last


class RealGatedLRU(nn.Module):
    """The RG-LRU: a diagonal linear recurrence whose decay and input are gated by its input."""

    def __init__(self, config: RecurrentBlockConfig, channels: int, blocks: int) -> None:
        super().__init__()
        self.c, self.scan = config.c, config.scan
        self.a_param = nn.Parameter(_initial_lambda(config, channels))
        self.input_gate = BlockDiagonal(channels, blocks)
        self.a_gate = BlockDiagonal(channels, blocks)

    def forward(self, v: Tensor, h0: Tensor, starts: Tensor | None = None) -> Tensor:
        """v: Float[B, L, N], h0: Float[B, N] -> all states Float[B, L, N], at least float32.

        starts: Bool[B, S], which of the first S <= L steps start a document; later ones do not.
        """
        log_decay = -self.c * F.softplus(self.a_param.to(accumulation_dtype(v.dtype)))
        if starts is None:
            return self._from_state(v, h0, log_decay)
        steps = starts.shape[1]
        h = self._from_starts(v[:, :steps], h0, log_decay, starts)
        if steps == v.shape[1]:
            return h
        return torch.cat((h, self._from_state(v[:, steps:], h[:, -1], log_decay)), dim=1)

    def log_decays(self, v: Tensor) -> Tensor:
        """Of every step, Float[B, L, N], those after the first: at the start there is nothing to forget."""
        dtype = accumulation_dtype(v.dtype)
        log_decay = -self.c * F.softplus(self.a_param.to(dtype))
        return torch.sigmoid(self._gate_logits(v)[0].to(dtype)) * log_decay

    def _from_state(self, v: Tensor, h0: Tensor, log_decay: Tensor) -> Tensor:
        recurrence_logits, input_logits = self._gate_logits(v)
        return gated_scan(
            v,
            h0,
            log_decay=log_decay,
            recurrence_logits=recurrence_logits,
            input_logits=input_logits,
            largest_slope=LARGEST_SLOPE,
            backend=self.scan,
            check=False,
        )

    def _from_starts(self, v: Tensor, h0: Tensor, log_decay: Tensor, starts: Tensor) -> Tensor:
        """Steps of which some may be starts, a rule that the fused scan does not have."""
        dtype = log_decay.dtype
        recurrence_gate, input_gate = (torch.sigmoid(logits.to(dtype)) for logits in self._gate_logits(v))
        log_decay = (recurrence_gate * log_decay).masked_fill(starts.unsqueeze(-1), -torch.inf)
        b = input_scale(log_decay, LARGEST_SLOPE) * (input_gate * v.to(dtype))
        return linear_scan(torch.exp(log_decay), b, h0, backend=self.scan, check=False)

    def _gate_logits(self, v: Tensor) -> tuple[Tensor, ...]:
        """Of the recurrence gate and the input gate: Float[B, L, N] each."""
        weight = torch.stack((self.a_gate.w, self.input_gate.w))
        bias = torch.stack((self.a_gate.b, self.input_gate.b))
        return each_map(block_diagonal(v, weight, bias))


class BlockDiagonal(nn.Module):
    """Weights of a linear map in H blocks, Float[H, N/H, N/H] from input to output, and its biases."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        block = channels // blocks
        self.w = nn.Parameter(torch.empty(blocks, block, block))
        self.b = nn.Parameter(torch.zeros(channels))
        fan_in_normal_(self.w, block)


def fan_in_normal_(tensor: Tensor, fan_in: int, scale: float = 1.0) -> Tensor:
    """In place: normal with variance scale / fan_in, not cut as Poolformer's is."""
    return nn.init.normal_(tensor, std=math.sqrt(scale / fan_in))


def _initial_lambda(config: RecurrentBlockConfig, channels: int) -> Tensor:
    """Lambda Float[N], with exp(-softplus(Lambda)) the initial a before the factor c."""
    low, high = config.min_radius, config.max_radius
    if config.ring_of == "base":
        log_base = 0.5 * torch.empty(channels).uniform_(low**2, high**2).log()
    else:
        log_base = torch.empty(channels).uniform_(low, high).log() / config.c
    return torch.log(torch.expm1(-log_base))


def load_original(module: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Copies parameters of recurrentgemma's PyTorch modules, by name, keeping the precision of ours.

    Biases that it keeps in blocks are vectors here, which optimisers know not to decay.

    Raises: HarnessError naming the arrays that are missing, left over, or of another shape.
    """
    parameters = dict(module.named_parameters())
    missing, extra = sorted(parameters.keys() - arrays.keys()), sorted(arrays.keys() - parameters.keys())
    if missing or extra:
        name = type(module).__name__
        raise HarnessError(f"these are not the weights of this {name}: missing {missing}; not used {extra}")
    values = {name: torch.as_tensor(np.asarray(array)) for name, array in arrays.items()}
    for name, parameter in parameters.items():
        shape, expected = list(values[name].shape), list(parameter.shape)
        same = shape == expected or (len(expected) == 1 and values[name].numel() == expected[0])
        if not same:
            raise HarnessError(f"{name} has shape {shape}; this {type(module).__name__} needs {expected}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name].view_as(parameter))
