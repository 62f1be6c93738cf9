"""RWKV-7 "Goose": residual blocks of time mixing and of an MLP that sees the step before, too.

    x <- x + TimeMix(LayerNorm(x))        every layer blends the values of the first into its own
    x <- x + W_2 relu(W_1 (u_t + mu (u_{t-1} - u_t)))^2, u = LayerNorm(x)

Source: Peng et al. 2025 (arXiv 2503.14456), section 3 and appendix, and the authors' code (RWKV-LM, RWKV-v7),
whose initial values these are: the last maps of all branches are zero at first. The table's output is
normalised, and the head is not tied to it.

Shapes: B batch, L length, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from baselines.token_stack import Call, TokenStack
from harness.contracts import ParameterGroup, PlacedMixer, Preset, State, require
from harness.errors import ConfigError
from models.dropout import Dropout
from models.mixers import rwkv7
from models.mixers.recurrence import accumulation_dtype
from models.mixers.rwkv7 import shifted

Carried = tuple[Tensor, Tensor | None]
"""What goes from block to block: x, and the values of the first layer (None before it)."""


@dataclass(frozen=True, kw_only=True)
class RWKV7Config:
    width: int = 128
    """Any number; a head has the divisor of it that is nearest to 64."""
    layers: int = 6
    """Blocks, each with time mixing and an MLP."""
    expand: int = 4
    """Hidden width of the MLP, in widths."""
    mixer: rwkv7.RWKV7Config = field(default_factory=rwkv7.RWKV7Config)
    dropout: float = 0.0
    """On every residual branch."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "expand"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        require(0 <= self.dropout < 1, "dropout", f"must lie in [0, 1), got {self.dropout}")


class RWKV7(TokenStack):
    """RWKV-7 "Goose": linear attention with decays and corrections by channel, and shifted MLPs."""

    Config = RWKV7Config
    complexity: ClassVar[tuple[str, str]] = ("D² + D K", "D² + D K")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "layers": 2},
        {"width": 12, "layers": 3, "expand": 1, "mixer": {"head": 4, "decay_rank": 3}, "dropout": 0.2},
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={"width": 768, "layers": 12},
            source="Peng et al. 2025, RWKV7-Goose-Pile-168M: text; demo-training-run-v7-pile.sh of the "
            "authors' code",
            parameters=168_000_000,
            vocab_size=50_304,
            train={
                "batch_size": 240,
                "learning_rate": 8e-4,
                "schedule": "cosine",
                "warmup_steps": 10,
                "weight_decay": 0.1,
                "decay": "matrices",
                "beta2": 0.99,
                "epsilon": 1e-18,
                "clip_norm": 1.0,
                "skip_norm": None,
                "ema_decay": 0.0,
                "precision": "bfloat16",
            },
            note="There the rate falls to 3e-5, here to zero; contexts are of 4096 tokens.",
        ),
    }

    def __init__(self, config: RWKV7Config, vocab_size: int = 256) -> None:
        blocks = [RWKV7Block(config, layer) for layer in range(config.layers)]
        norm = nn.LayerNorm(config.width)
        super().__init__(blocks, width=config.width, vocab_size=vocab_size, norm=norm, head_bias=False)
        self.config = config
        self.table_norm = nn.LayerNorm(config.width)
        nn.init.uniform_(self.table.weight, -1e-4, 1e-4)
        nn.init.orthogonal_(self.head.weight, gain=0.5 * math.sqrt(max(vocab_size / config.width, 1)))

    def run(self, x: Tensor, call: Call) -> Tensor:
        carried: Carried = self.table_norm(x), None
        for block in self.blocks:
            carried = call(block, carried)
        return carried[0]

    def mixers(self) -> list[PlacedMixer]:
        """Of each layer its block: the MLP sees the step before, too, and values go from mixer to mixer."""
        return [PlacedMixer(layer=block, level=level) for level, block in enumerate(self.blocks)]

    def optimizer_groups(self) -> list[ParameterGroup]:
        """Decays learn twice as fast; what is no matrix of a layer does not decay."""
        decays = [block.mixer.decay.bias for block in self.blocks]
        known = {id(parameter) for parameter in decays}
        rest = [p for block in self.blocks for p in block.mixer.no_decay_parameters() if id(p) not in known]
        return [
            ParameterGroup(parameters=decays, learning_rate_scale=2.0, weight_decay=False),
            ParameterGroup(parameters=rest, weight_decay=False),
        ]


class RWKV7Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)), with the first layer's values beside x.

    State: that of the mixer, and the last input of the MLP, Float[B, D].
    """

    def __init__(self, config: RWKV7Config, layer: int) -> None:
        super().__init__()
        width = config.width
        self.mixer_norm = nn.LayerNorm(width)
        try:
            self.mixer = rwkv7.RWKV7(config.mixer, width=width, layer=layer, layers=config.layers)
        except ConfigError as error:  # options that do not fit this width
            raise error.under("mixer") from None
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = ShiftedMLP(width, config.expand * width, left=1 - layer / config.layers)
        self.dropout = Dropout(config.dropout)

    def forward(self, carried: Carried) -> Carried:
        return self.resume(carried, None)[0]

    def resume(self, carried: Carried, state: State) -> tuple[Carried, State]:
        """Float[B, L, D] -> Float[B, L, D]."""
        x, first = carried
        of_mixer, before = (None, None) if state is None else state
        y, of_mixer, values = self.mixer.mix(self.mixer_norm(x), of_mixer, first)
        x = x + self.dropout(y)
        y, last = self.mlp(self.mlp_norm(x), before)
        return (x + self.dropout(y), values if first is None else first), (of_mixer, last)

    def step(self, carried: Carried, state: State) -> tuple[Carried, State]:
        """Float[B, D] -> Float[B, D]."""
        longer = tuple(None if part is None else part.unsqueeze(1) for part in carried)
        (x, first), state = self.resume(longer, state)  # type: ignore[arg-type]
        assert first is not None
        return (x.squeeze(1), first.squeeze(1)), state

    def initial_state(self, batch_size: int) -> State:
        weight = self.mlp_norm.weight
        last = weight.new_zeros(batch_size, len(weight), dtype=accumulation_dtype(weight.dtype))
        return self.mixer.initial_state(batch_size), last

    def state_size(self, batch_size: int, length: int) -> int:
        weight = self.mlp_norm.weight
        last = batch_size * len(weight) * accumulation_dtype(weight.dtype).itemsize
        return self.mixer.state_size(batch_size, length) + last


class ShiftedMLP(nn.Module):
    """W_2 relu(W_1 (x_t + mu (x_{t-1} - x_t)))^2, without biases."""

    def __init__(self, width: int, hidden: int, *, left: float) -> None:
        """left: 1 in the first layer, down to almost 0 in the last: the more, the more is shifted."""
        super().__init__()
        self.share = nn.Parameter(1 - (torch.arange(width) / width) ** left**4)
        self.key = nn.Linear(width, hidden, bias=False)
        self.value = nn.Linear(hidden, width, bias=False)
        nn.init.orthogonal_(self.key.weight)
        nn.init.zeros_(self.value.weight)

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Float[B, L, D] after an input Float[B, D] (None: zeros); returns the last input, too."""
        previous, last = shifted(x, before)
        hidden = torch.relu(self.key(x + (previous - x) * self.share))
        return self.value(hidden * hidden), last
