"""Decoder-only transformer with the parts that are standard today.

    tokens -> shift right by one -> table -> pre-norm blocks of attention and SwiGLU -> norm -> head

The blocks are those of LLaMA (Touvron et al. 2023, section 2.2), see `baselines.decoder_stack`; the
head is not tied to the token table.

Initialisation: fan-in scaled normal weights, the residual branches' last ones smaller with depth, and
a unit normal token table; the head has GPT-2's standard deviation of 0.02 (Radford et al. 2019,
section 2.3), so that predictions start near the uniform distribution.

Shapes: B batch, L length, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.decoder_stack import DecoderStack, hidden_width, initialise
from harness.contracts import PlacedMixer, Preset, State, require
from models.dropout import Dropout

METASEQ_TRAINING = {
    "learning_rate": 2e-4,
    "schedule": "cosine",
    "warmup_steps": 500,
    "beta2": 0.98,
    "weight_decay": 0.1,
    "clip_norm": 1.0,
}
"""Yu et al. 2023, appendix A.1 and table 15; the learning rate falls in a line there."""
METASEQ_NOTE = (
    "The size that the paper states is a class of GPT-3's, whose count has a vocabulary of 50,000. There are "
    "learned positions and MLPs of four widths with ReLU, here rotary ones and SwiGLU of as many weights."
)


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    width: int = 128
    layers: int = 6
    heads: int = 4
    expand: float = 8 / 3
    """Hidden width of SwiGLU over `width`; 8/3 costs what a plain MLP of factor 4 does."""
    rope_base: float = 10_000.0
    dropout: float = 0.0
    """On the token table's output and on every residual branch."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        check_heads("heads", self.heads, self.width)
        check_block(self.expand, self.rope_base, self.dropout)

    @property
    def hidden(self) -> int:
        """Hidden width of SwiGLU, the nearest multiple of 8."""
        return hidden_width(self.width, self.expand)


def check_heads(name: str, heads: int, width: int) -> None:
    """Raises: ConfigError for heads that do not divide the width into even parts."""
    message = f"{heads} heads need a width that is a multiple of {2 * heads} (for RoPE), got {width}"
    require(heads >= 1 and width % (2 * heads) == 0, name, message)


def check_block(expand: float, rope_base: float, dropout: float) -> None:
    """Raises: ConfigError for options of a block that cannot work."""
    require(expand > 0, "expand", f"must be above 0, got {expand}")
    require(rope_base > 1, "rope_base", f"must be above 1, got {rope_base}")
    require(0 <= dropout < 1, "dropout", f"must lie in [0, 1), got {dropout}")


class Transformer(nn.Module):
    """Decoder-only transformer: RoPE, RMSNorm, SwiGLU, causal attention, KV cache."""

    Config: ClassVar[type] = TransformerConfig
    complexity: ClassVar[tuple[str, str]] = ("D² + L D", "D² + L D")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 16, "layers": 2, "heads": 2},
        {"width": 24, "layers": 1, "heads": 3, "dropout": 0.2},
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={"width": 768, "layers": 13, "heads": 12, "dropout": 0.1},
            source="Yu et al. 2023 (MEGABYTE, arXiv 2305.07185), table 15, audio: Transformer, 135M",
            parameters=135_000_000,
            train={"batch_size": 2048, "crop": 1024, **METASEQ_TRAINING},
            note=f"92 M parameters. {METASEQ_NOTE}",
        )
    }

    def __init__(self, config: Any, vocab_size: int = 256) -> None:
        super().__init__()
        self.config = config
        self.start = vocab_size // 2  # silence, in mu-law and in linear audio
        self.table = nn.Embedding(vocab_size, config.width)
        self.dropout = Dropout(config.dropout)
        self.body = self.build_body(config)
        self.norm = nn.RMSNorm(config.width)
        self.head = nn.Linear(config.width, vocab_size, bias=False)
        initialise(self)
        nn.init.normal_(self.head.weight, std=0.02)

    @staticmethod
    def build_body(config: Any) -> Any:
        """What stands between the table and the head: Float[B, L, D] -> Float[B, L, D], causal."""
        return DecoderStack(
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            hidden=config.hidden,
            rope_base=config.rope_base,
            dropout=config.dropout,
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V]."""
        previous = F.pad(tokens[:, :-1], (1, 0), value=self.start)
        return self.head(self.norm(self.body(self.dropout(self.table(previous)))))

    def mixers(self) -> list[PlacedMixer]:
        """The blocks, each a level of its own."""
        return self.body.mixers(layers=True)

    def initial_state(self, batch_size: int) -> State:
        """The token before the next one, Long[B] (the start token), and the state of the body."""
        start = torch.full((batch_size,), self.start, device=self.table.weight.device)
        return start, self.body.initial_state(batch_size)

    def resume(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The next tokens Long[B, L] -> their logits Float[B, L, V] and the state after them.

        That state is None where the body has none, see `period` of the models that are made of this one.
        Raises: ValueError for a state of `step`, which does not know the token before these.
        """
        last, inner = state
        if last is None:
            raise ValueError("a state of `step` lacks the token before the next ones; resume one of `resume`")
        previous = torch.cat((last.unsqueeze(1), tokens[:, :-1]), dim=1)
        x, inner = self.body.resume(self.dropout(self.table(previous)), inner)
        return self.head(self.norm(x)), None if inner is None else (tokens[:, -1].clone(), inner)

    def step(self, token: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The previous token Long[B] (None: the state knows it) -> logits Float[B, V] of the next.

        Writes into the cache of the state it is given: a state is good for one continuation.
        """
        last, inner = state
        x, inner = self.body.step(self.dropout(self.table(last if token is None else token)), inner)
        return self.head(self.norm(x)), (None, inner)

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        last = batch_size * torch.long.itemsize if length == 0 else 0
        return last + self.body.state_size(batch_size, length)
