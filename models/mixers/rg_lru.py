"""The real-gated linear recurrent unit, complex-valued as in Poolformer.

    v    = W_in u                                     [r, i] = sigmoid(block-diagonal(v))
    a_t  = exp(r_t (-c softplus(rate) + i phase))
    h_t  = a_t h_{t-1} + sqrt(1 - |a_t|^2) (i_t v_t)      y = W_out [Re h, Im h]

One gate, r, scales both the log-magnitude and the phase of the decay. Sources: De et al. 2024
(Griffin), eq. 1 to 4; its complex form in the recurrentgemma code; Gallo Fernández 2025 (Poolformer).

Shapes: B batch, L length, D width, N channels, H blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.contracts import State, require
from models.initialization import Dense, lecun_normal_
from models.mixers.recurrence import RecurrentMixer, RingConfig, RingDecay, as_real, recurrence


@dataclass(frozen=True, kw_only=True)
class RGLRUConfig(RingConfig):
    blocks: int | None = None
    """Blocks of the gates' matrices; null: hidden / 8, or the next smaller number that divides."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.blocks is None or self.blocks >= 1, "blocks", "must be at least 1, or null")


class RGLRU(RecurrentMixer):
    """Gated linear recurrence with complex decays, Poolformer's own mixer."""

    Config = RGLRUConfig

    def __init__(self, config: RGLRUConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        hidden = config.hidden or 2 * width
        self.complex = config.complex
        self.channels = hidden // 2 if config.complex else hidden
        self.normalize_input = config.normalize_input
        self.input = Dense(width, hidden)
        self.gates = BlockDiagonalGates(hidden, self.channels, _blocks(config, hidden, self.channels))
        self.decay = RingDecay(config, self.channels, stride)
        self.output = Dense(hidden, width)

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        v = self.input(x)
        recurrence_gate, input_gate = self.gates(v)
        log_decay, phase = self.decay()
        h = recurrence(
            v,
            state,
            log_decay=recurrence_gate * log_decay,
            phase=None if phase is None else recurrence_gate * phase,
            gain=input_gate,
            normalize=self.normalize_input,
        )
        return self.output(as_real(h).to(x.dtype)), h[:, -1]


class BlockDiagonalGates(nn.Module):
    """Two sigmoid gates of block-diagonal maps, found together. Float[B, L, I] -> two of [B, L, N]."""

    def __init__(self, inputs: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.weight = nn.Parameter(torch.empty(2, blocks, inputs // blocks, channels // blocks))
        self.bias = nn.Parameter(torch.empty(2, channels))
        lecun_normal_(self.weight, fan_in=inputs)
        lecun_normal_(self.bias, fan_in=blocks)  # the original draws these too

    def forward(self, v: Tensor) -> tuple[Tensor, ...]:
        blocks = v.unflatten(-1, (self.blocks, -1))
        logits = torch.einsum("blhi,ghio->blgho", blocks, self.weight).flatten(-2)
        return torch.sigmoid(logits + self.bias).unbind(-2)


def _blocks(config: RGLRUConfig, hidden: int, channels: int) -> int:
    if config.blocks is None:
        return next(n for n in range(max(hidden // 8, 1), 0, -1) if channels % n == 0)
    divides = channels % config.blocks == 0
    require(divides, "blocks", f"must divide the {channels} channels of the state, got {config.blocks}")
    return config.blocks
