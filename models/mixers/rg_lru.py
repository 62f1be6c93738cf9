"""The real-gated linear recurrent unit, complex-valued as in Poolformer.

    v    = W_in u                                     [r, i] = sigmoid(block-diagonal(v))
    a_t  = exp(r_t (-c softplus(rate) + i phase))
    h_t  = a_t h_{t-1} + sqrt(1 - |a_t|^2) (i_t v_t)      y = W_out [Re h, Im h]

One gate, r, scales both the log-magnitude and the phase of the decay. Sources: De et al. 2024
(Griffin), eq. 1 to 4; its complex form in the recurrentgemma code; Gallo Fernández 2025 (Poolformer).

Shapes: B batch, L length, D width, H hidden, N channels, G gates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from harness.contracts import State, require
from models.block_diagonal import block_diagonal
from models.gated_input import gated_input
from models.initialization import Dense, lecun_normal_
from models.mixers.recurrence import RingConfig, RingDecay, ScannedMixer
from models.scan import gated_scan


@dataclass(frozen=True, kw_only=True)
class RGLRUConfig(RingConfig):
    blocks: int | None = None
    """Blocks of the gates' matrices; null: hidden / 8, or the next smaller number that divides."""
    recurrence_gate: bool = True
    """The gate r on the decay; without it the decay is the same at every step."""
    input_gate: bool = True
    """The gate i on the input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.blocks is None or self.blocks >= 1, "blocks", "must be at least 1, or null")
        gated = self.recurrence_gate or self.input_gate
        require(gated, "input_gate", "or recurrence_gate must be on; the mixer without gates is `lru`")


class RGLRU(ScannedMixer):
    """Gated linear recurrence with complex decays, Poolformer's own mixer."""

    Config = RGLRUConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"complex": False, "recurrence_gate": False, "ring_of": "decay"},
        {"input_gate": False, "normalize_input": False, "adaptive_phase": True},
    )

    def __init__(self, config: RGLRUConfig, *, width: int, stride: int = 1) -> None:
        super().__init__()
        self.config = config
        self.scan = config.scan
        self.hidden = config.hidden or 2 * width
        channels = self.hidden // 2 if config.complex else self.hidden
        self.input = Dense(width, self.hidden)
        blocks = _blocks(config, self.hidden, channels)
        gates = config.recurrence_gate + config.input_gate
        self.gates = BlockDiagonalGates(gates, self.hidden, channels, blocks)
        self.decay = RingDecay(config, channels, stride)
        self.output = Dense(self.hidden, width)

    def log_decays(self, x: Tensor) -> Tensor:
        """Of every step, Float[B, L, N]; Float[N] without the gate on the decay."""
        log_decay, _ = self.decay()
        if not self.config.recurrence_gate:
            return log_decay
        return torch.sigmoid(self.gates(self.input(x))[:, :, 0].to(log_decay.dtype)) * log_decay

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        v, *logits = gated_input(x, self.input, self.gates.weight, self.gates.bias)
        log_decay, phase = self.decay()
        h = gated_scan(
            v,
            state,
            log_decay=log_decay,
            phase=phase,
            recurrence_logits=logits.pop(0) if self.config.recurrence_gate else None,
            input_logits=logits.pop(0) if self.config.input_gate else None,
            normalize=self.config.normalize_input,
            backend=self.scan,
            check=False,
        )
        return self.output(h.to(x.dtype)), h[:, -1]


class BlockDiagonalGates(nn.Module):
    """The logits of G gates, of block-diagonal maps, found together. Float[B, L, H] -> [B, L, G, N]."""

    def __init__(self, gates: int, inputs: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.weight = nn.Parameter(torch.empty(gates, blocks, inputs // blocks, channels // blocks))
        self.bias = nn.Parameter(torch.empty(gates, channels))
        lecun_normal_(self.weight, fan_in=inputs)
        lecun_normal_(self.bias, fan_in=blocks)  # the original draws these too

    def forward(self, v: Tensor) -> Tensor:
        return block_diagonal(v, self.weight, self.bias)


def _blocks(config: RGLRUConfig, hidden: int, channels: int) -> int:
    if config.blocks is None:
        return next(n for n in range(max(hidden // 8, 1), 0, -1) if channels % n == 0)
    divides = channels % config.blocks == 0
    require(divides, "blocks", f"must divide the {channels} channels of the state, got {config.blocks}")
    return config.blocks
