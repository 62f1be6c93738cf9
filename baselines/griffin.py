"""Hawk and Griffin: residual blocks around a gated linear recurrence and, in Griffin, local attention.

    x <- x + mixer(norm(x))        mixer: the recurrent block, or (Griffin, every third) local attention
    x <- x + W_down (GELU(W_1 norm(x)) * W_2 norm(x))

Source: De et al. 2024 (Griffin, arXiv 2402.19427), section 2, and the recurrentgemma code, whose
parameter names these are, so that its weights load (`models.mixers.recurrent_block.load_original`).
That code rounds the factor sqrt(D) on the embedding to bfloat16, ours does not.

Initialisation: fan-in scaled normal weights; those of the last matrix of every residual branch have
the variance 2 / (layers fan-in), so that the sum over all branches does not grow with depth.

Shapes: B batch, L length, D width, E = expand D, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.local_attention import LocalAttention
from harness.contracts import PlacedMixer, Preset, State, require
from harness.errors import ConfigError
from models.dropout import Dropout
from models.gelu_gate import gelu_gate
from models.mixers.recurrent_block import RecurrentBlock, RecurrentBlockConfig, fan_in_normal_
from models.scan import scan_backends

EPSILON = 1e-6
MixerName = Literal["recurrent", "attention"]


@dataclass(frozen=True, kw_only=True)
class HawkConfig:
    width: int = 128
    layers: int = 6
    """Residual blocks, each with a mixer and an MLP."""
    recurrent: RecurrentBlockConfig = field(default_factory=RecurrentBlockConfig)
    expand: int = 3
    """Width of the MLP's two branches, in widths."""
    scale_embedding: bool = True
    """Multiply the embedding by sqrt(width), as RecurrentGemma does; the paper's models do not."""
    tied: bool = True
    """The head is the embedding's table; else a matrix of its own."""
    logits_cap: float | None = None
    """Bound c on the logits, c tanh(logits / c); null: none. RecurrentGemma's is 30."""
    dropout: float = 0.0
    """On the embedding and on every residual branch."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "expand"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        require(self.logits_cap is None or self.logits_cap > 0, "logits_cap", "must be above 0, or null")
        require(0 <= self.dropout < 1, "dropout", f"must lie in [0, 1), got {self.dropout}")
        try:
            self.recurrent.sizes(self.width)
        except ConfigError as error:
            raise error.under("recurrent") from None

    @property
    def mixers(self) -> tuple[MixerName, ...]:
        """The mixer of each layer."""
        recurrent: MixerName = "recurrent"
        return (recurrent,) * self.layers

    def build_mixer(self, name: MixerName) -> RecurrentBlock | LocalAttention:
        return RecurrentBlock(self.recurrent, width=self.width, output_scale=self.output_scale)

    @property
    def output_scale(self) -> float:
        """Initial variance of the last matrix of a residual branch, over that of a unit gain."""
        return 2 / self.layers


@dataclass(frozen=True, kw_only=True)
class GriffinConfig(HawkConfig):
    pattern: tuple[MixerName, ...] = ("recurrent", "recurrent", "attention")
    """Mixers of the first layers, and so on."""
    heads: int = 4
    """Query heads of the attention; they share one key and one value."""
    window: int = 1024
    """Steps before the current one that attention sees."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.pattern) >= 1, "pattern", "needs at least one mixer")
        require(self.window >= 1, "window", f"must be at least 1, got {self.window}")
        require(self.heads >= 1, "heads", f"must be at least 1, got {self.heads}")
        divides = self.width % (4 * self.heads) == 0
        message = f"{self.heads} heads must divide the width, {self.width}, into multiples of 4 (half turns)"
        require(divides, "heads", message)

    @property
    def mixers(self) -> tuple[MixerName, ...]:
        return tuple(self.pattern[layer % len(self.pattern)] for layer in range(self.layers))

    def build_mixer(self, name: MixerName) -> RecurrentBlock | LocalAttention:
        if name == "recurrent":
            return super().build_mixer(name)
        return LocalAttention(
            width=self.width, heads=self.heads, window=self.window, output_scale=self.output_scale
        )


class Hawk(nn.Module):
    """Griffin's gated linear recurrences (RG-LRU) without attention."""

    Config: ClassVar[type] = HawkConfig
    complexity: ClassVar[tuple[str, str]] = ("D²", "D²")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 16, "layers": 2},
        {
            "width": 12,
            "layers": 1,
            "recurrent": {"hidden": 18, "blocks": 3, "kernel": 2, "ring_of": "decay"},
            "scale_embedding": False,
            "tied": False,
            "logits_cap": 30.0,
            "dropout": 0.2,
        },
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={
                "width": 4096,
                "layers": 32,
                "recurrent": {"hidden": 5632, "blocks": 32},
                "scale_embedding": False,
            },
            source="De et al. 2024, Hawk-7B: HAWK_PAPER_7B in recurrentgemma/common.py of the authors' code",
            note="Called 7 B; no exact count is published. 7.11 B without the token table.",
        ),
    }

    def __init__(self, config: HawkConfig, vocab_size: int = 256) -> None:
        super().__init__()
        self.config = config
        self.start = vocab_size // 2  # silence, in mu-law and in linear audio
        self.embedder = Embedder(vocab_size, config.width, scale=config.scale_embedding)
        self.dropout = Dropout(config.dropout)
        self.blocks: Any = nn.ModuleList(ResidualBlock(config, mixer) for mixer in config.mixers)
        self.final_norm = RMSNorm(config.width)
        self.head = None if config.tied else nn.Linear(config.width, vocab_size, bias=False)
        if self.head is not None:
            fan_in_normal_(self.head.weight, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V], those at t made of the tokens before t."""
        return self.resume(tokens, self.initial_state(len(tokens)))[0]

    def resume(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The next tokens Long[B, L] -> their logits Float[B, L, V] and the state after them.

        The state is one that `initial_state` or `resume` returned, and is left as it is.
        Raises: ValueError for a state of `step`, which does not know the token before these.
        """
        known, states = state
        if known is None:
            raise ValueError(
                "a state of `step` lacks the token before the next ones; resume from one of `resume`"
            )
        x = self.dropout(self.embedder(torch.cat((known.unsqueeze(1), tokens[:, :-1]), dim=1)))
        after = []
        for block, block_state in zip(self.blocks, states, strict=True):
            x, block_state = block.resume(x, block_state)
            after.append(block_state)
        return self._logits(x), (tokens[:, -1].clone(), after)

    def initial_state(self, batch_size: int) -> State:
        """The tokens before the next ones, Long[B] (the start token), and the states of the mixers."""
        start = torch.full((batch_size,), self.start, device=self.final_norm.scale.device)
        return start, [block.mixer.initial_state(batch_size) for block in self.blocks]

    def step(self, token: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The previous token Long[B] (None: the state knows it) -> logits Float[B, V] of the next.

        Writes into the caches of the state it is given: a state is good for one continuation.
        """
        known, states = state
        x = self.dropout(self.embedder(known if token is None else token))
        after = []
        for block, block_state in zip(self.blocks, states, strict=True):
            x, block_state = block.step(x, block_state)
            after.append(block_state)
        return self._logits(x), (None, after)

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        known = batch_size * torch.long.itemsize if length == 0 else 0
        return known + sum(block.mixer.state_size(batch_size, length) for block in self.blocks)

    def mixers(self) -> list[PlacedMixer]:
        """The mixers, each of a layer."""
        return [PlacedMixer(layer=block.mixer, level=level) for level, block in enumerate(self.blocks)]

    @property
    def scan_backend(self) -> str:
        return scan_backends(self)

    def _logits(self, x: Tensor) -> Tensor:
        table = self.embedder.input_embedding if self.head is None else self.head.weight
        logits = F.linear(self.final_norm(x), table)
        cap = self.config.logits_cap
        return logits if cap is None else cap * torch.tanh(logits / cap)


class Griffin(Hawk):
    """Two gated linear recurrences (RG-LRU), one local attention, and so on."""

    Config: ClassVar[type] = GriffinConfig
    complexity: ClassVar[tuple[str, str]] = ("D² + W D", "D² + W D")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 16, "layers": 3, "heads": 2, "window": 7},
        {"width": 16, "layers": 2, "pattern": ["attention", "recurrent"], "dropout": 0.1},
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={**Hawk.presets["paper"].config, "heads": 32, "window": 1024},
            source="De et al. 2024, Griffin-7B: GRIFFIN_PAPER_7B in recurrentgemma/common.py of the authors' "
            "code",
            note="Called 7 B; no exact count is published. 6.75 B without the token table.",
        ),
        "recurrentgemma_2b": Preset(
            config={
                "width": 2560,
                "layers": 26,
                "recurrent": {"hidden": 2560, "blocks": 10},
                "heads": 10,
                "window": 2048,
                "logits_cap": 30.0,
            },
            source="Botev et al. 2024 (RecurrentGemma), table 1: RECURRENT_GEMMA_2B_V1 in the same file",
            parameters=2_700_000_000,
            vocab_size=256_000,
        ),
    }


class ResidualBlock(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: HawkConfig, mixer: MixerName) -> None:
        super().__init__()
        self.temporal_pre_norm = RMSNorm(config.width)
        self._mixer = f"{mixer}_block"
        self.add_module(self._mixer, config.build_mixer(mixer))
        self.channel_pre_norm = RMSNorm(config.width)
        self.mlp_block = GatedMLP(config.width, config.expand * config.width, config.output_scale)
        self.dropout = Dropout(config.dropout)

    @property
    def mixer(self) -> Any:
        """The recurrent block or the attention, whose parameters have that name."""
        return getattr(self, self._mixer)

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, L, D] -> Float[B, L, D] and the mixer's last state."""
        y, state = self.mixer.resume(self.temporal_pre_norm(x), state)
        return self._add(x, y), state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, D] -> Float[B, D]."""
        y, state = self.mixer.step(self.temporal_pre_norm(x), state)
        return self._add(x, y), state

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.dropout(y)
        return x + self.dropout(self.mlp_block(self.channel_pre_norm(x)))


class GatedMLP(nn.Module):
    """W_down (GELU(W_1 x) * W_2 x), with biases."""

    def __init__(self, width: int, hidden: int, output_scale: float) -> None:
        super().__init__()
        self.ffw_up = UpProjection(width, hidden)
        self.ffw_down = nn.Linear(hidden, width)
        fan_in_normal_(self.ffw_down.weight, hidden, output_scale)
        nn.init.zeros_(self.ffw_down.bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.ffw_up(x)
        return self.ffw_down(gelu_gate(value, gate))


class UpProjection(nn.Module):
    """Both branches of the MLP, Float[..., D] -> two of Float[..., E]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(2, width, hidden))
        self.b = nn.Parameter(torch.zeros(2 * hidden))
        fan_in_normal_(self.w, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gate, value = self.b.chunk(2)
        return x @ self.w[0] + gate, x @ self.w[1] + value


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * (1 + scale)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.scale.shape, 1 + self.scale, EPSILON)


class Embedder(nn.Module):
    """A vector for each token, times sqrt(D) if scaled."""

    def __init__(self, vocab_size: int, width: int, *, scale: bool) -> None:
        super().__init__()
        self.input_embedding = nn.Parameter(torch.empty(vocab_size, width))
        self.factor = math.sqrt(width) if scale else 1.0
        fan_in_normal_(self.input_embedding, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.factor * F.embedding(tokens, self.input_embedding)
