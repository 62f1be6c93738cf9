"""MEGABYTE: a large transformer over patches of P tokens, and a small one over the tokens of a patch.

    g_k = [E_g x_t]_t of patch k - 1, concatenated, a learned patch for k = 0     width D, D/P a token
    h   = Transformer_global(g)                                                   causal over patches
    u_t = W_gl h_k[its part p] + E_l x_{t-1}, a learned vector for p = 0          t = k P + p
    logits_t = W Transformer_local(u of patch k)_p                                causal within the patch

Time is O((L/P)^2 + L P), and O(L) with a window on the global model. Both transformers are stacks of
`baselines.decoder_stack`, with rotary positions where the paper adds learned ones, and the head is a
matrix of its own, not E_l. Neither the local model's attention across patches nor strided inference
(sections 2.3.2 and 2.3.3) is here.

Source: Yu et al. 2023 (arXiv 2305.07185), section 2.2, figure 2 and the pseudocode of appendix B.

Shapes: B batch, L length, P patch, K patches, D global width, E local width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.decoder_stack import DecoderStack, hidden_width, initialise
from baselines.transformer import METASEQ_NOTE, METASEQ_TRAINING, check_block, check_heads
from harness.contracts import PlacedMixer, Preset, State, require


@dataclass(frozen=True, kw_only=True)
class MegaByteConfig:
    """Widths are multiples of `patch` and of twice `heads`."""

    width: int = 128
    """Of the global model."""
    patch: int = 8
    """Tokens of a patch."""
    layers: int = 4
    """Of the global model."""
    heads: int = 4
    local_width: int | None = None
    """Of the local model; null: half the width, rounded to a multiple of twice its heads."""
    local_layers: int = 2
    local_heads: int = 4
    window: int | None = None
    """Patches that the global model's attention sees, the current one included; null: all."""
    expand: float = 8 / 3
    """Hidden width of SwiGLU, in widths."""
    rope_base: float = 10_000.0
    dropout: float = 0.0
    """On every residual branch."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "local_layers", "local_heads"):
            require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
        require(self.patch >= 2, "patch", f"must be at least 2, got {self.patch}")
        message = f"must be a multiple of the patch, {self.patch}, got {self.width}"
        require(self.width % self.patch == 0, "width", message)
        check_heads("heads", self.heads, self.width)
        check_heads("local_heads", self.local_heads, self.inner_width)
        require(self.window is None or self.window >= 1, "window", "must be at least 1, or null")
        check_block(self.expand, self.rope_base, self.dropout)

    @property
    def inner_width(self) -> int:
        """Of the local model."""
        unit = 2 * self.local_heads
        return self.local_width or unit * max(1, round(self.width / 2 / unit))


class MegaByte(nn.Module):
    """A transformer over patches of tokens, and a smaller one within each patch (Yu et al. 2023)."""

    Config: ClassVar[type] = MegaByteConfig
    complexity: ClassVar[tuple[str, str]] = ("D² + P D + L D / P²", "D² + P D + L D / P²")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 16, "patch": 4, "layers": 2, "heads": 2, "local_layers": 1, "local_heads": 2},
        {
            "width": 12,
            "patch": 3,
            "layers": 1,
            "heads": 2,
            "local_width": 10,
            "local_layers": 1,
            "local_heads": 1,
            "window": 2,
            "dropout": 0.2,
        },
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(
            config={
                "width": 1024,
                "patch": 32,
                "layers": 24,
                "heads": 16,
                "local_width": 768,
                "local_layers": 14,
                "local_heads": 12,
                "dropout": 0.1,
            },
            source="Yu et al. 2023 (arXiv 2305.07185), table 15, audio: MEGABYTE w/o cross-patch local "
            "model, 350M and 146M",
            parameters=350_000_000 + 146_000_000,
            train={"batch_size": 256, "crop": 524_288, **METASEQ_TRAINING},
            note=f"401 M parameters. {METASEQ_NOTE}",
        )
    }

    def __init__(self, config: MegaByteConfig, vocab_size: int = 256) -> None:
        super().__init__()
        self.config, self.patch = config, config.patch
        part, inner = config.width // config.patch, config.inner_width
        shared = {"rope_base": config.rope_base, "dropout": config.dropout}
        self.global_table = nn.Embedding(vocab_size, part)
        self.global_start = nn.Parameter(torch.randn(config.width))
        self.global_model = DecoderStack(
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            hidden=hidden_width(config.width, config.expand),
            window=config.window,
            **shared,
        )
        self.global_norm = nn.RMSNorm(config.width)
        self.projection = nn.Linear(part, inner, bias=False)
        self.local_table = nn.Embedding(vocab_size, inner)
        self.local_start = nn.Parameter(torch.randn(inner))
        self.local_model = DecoderStack(
            width=inner,
            layers=config.local_layers,
            heads=config.local_heads,
            hidden=hidden_width(inner, config.expand),
            window=config.patch,
            **shared,
        )
        self.local_norm = nn.RMSNorm(inner)
        self.head = nn.Linear(inner, vocab_size, bias=False)
        for part_of_it in (self.global_model, self.projection, self.local_model):
            initialise(part_of_it)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V], those at t made of the tokens before t."""
        return self._local(tokens, self.global_model(self._patches(tokens, None)))

    def mixers(self) -> list[PlacedMixer]:
        """The blocks of the local model, whose memory ends with the patch, and of the global one."""
        return [*self.local_model.mixers(), *self.global_model.mixers(1, self.patch)]

    @property
    def period(self) -> int:
        """Tokens of a patch: `resume` begins with one."""
        return self.patch

    def resume(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The next tokens Long[B, L] -> their logits Float[B, L, V] and the state after them.

        That state is None unless L is a multiple of the patch.
        Raises: ValueError for a state of `step`, which does not know the token before these.
        """
        steps, known, last = state["steps"], state["known"], state["last"]
        if steps and last is None:
            raise ValueError("a state of `step` lacks the last token; resume from a state of `resume`")
        before = torch.cat((known, last.unsqueeze(1)), dim=1) if steps else None
        h, cache = self.global_model.resume(self._patches(tokens, before), state["global"])
        logits = self._local(tokens, h)
        if tokens.shape[1] % self.patch:
            return logits, None
        after = self.initial_state(len(tokens))
        patch = tokens[:, -self.patch :]
        after |= {
            "steps": steps + tokens.shape[1],
            "known": patch[:, :-1].clone(),
            "last": patch[:, -1].clone(),
        }
        return logits, after | {"global": cache}

    def initial_state(self, batch_size: int) -> State:
        """What is known of the sequence, and the caches of both models.

        steps: made so far; last: the token before the next one, Long[B], which only `resume` knows;
        known: Long[B, .], those before it of which the global model does not know; given: what that
        model says of the patch, Float[B, P, E].
        """
        weight = self.head.weight
        return {
            "steps": 0,
            "known": torch.empty(batch_size, 0, dtype=torch.long, device=weight.device),
            "last": None,
            "global": self.global_model.initial_state(batch_size),
            "given": weight.new_zeros(batch_size, self.patch, self.config.inner_width),
            "local": self.local_model.initial_state(batch_size),
        }

    def step(self, token: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The previous token Long[B] (None: the state knows it) -> logits Float[B, V] of the next.

        The global model runs at the first token of a patch. Writes into the caches of the state it is
        given: a state is good for one continuation.
        """
        steps, known, cache = state["steps"], state["known"], state["global"]
        given, local = state["given"], state["local"]
        if steps:
            last = state["last"] if token is None else token
            known = torch.cat((known, last.unsqueeze(1)), dim=1)
        place = steps % self.patch
        if place == 0:
            g = self.global_table(known).flatten(1) if steps else self.global_start.expand(len(known), -1)
            h, cache = self.global_model.step(g, cache)
            given, local = self._given(h), self.local_model.initial_state(len(known))
            known, before = known[:, :0].clone(), self.local_start
        else:
            before = self.local_table(known[:, -1])
        x, local = self.local_model.step(given[:, place] + before, local)
        parts = {"known": known, "last": None, "global": cache, "given": given, "local": local}
        return self.head(self.local_norm(x)), {"steps": steps + 1, **parts}

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        patches = -(-length // self.patch)
        place = (length - 1) % self.patch if length else 0  # of the last token that was predicted
        given = self.patch * self.config.inner_width * self.head.weight.element_size()
        return (
            batch_size * (place * torch.long.itemsize + given)
            + self.global_model.state_size(batch_size, patches)
            + self.local_model.state_size(batch_size, place + 1 if length else 0)
        )

    def _patches(self, tokens: Tensor, before: Tensor | None) -> Tensor:
        """What the global model reads for the patches of Long[B, L], Float[B, K, D].

        For the first that is the patch before, Long[B, P] (None: what is learned for the start), for any
        other the one before it.
        """
        batch, patches = len(tokens), (tokens.shape[1] - 1) // self.patch
        read = self.global_table(tokens[:, : patches * self.patch]).reshape(batch, patches, self.config.width)
        if before is None:
            first = self.global_start.expand(batch, 1, -1)
        else:
            first = self.global_table(before).reshape(batch, 1, -1)
        return torch.cat((first, read), dim=1)

    def _given(self, h: Tensor) -> Tensor:
        """Float[..., D] of a patch -> Float[..., P, E] for its tokens."""
        return self.projection(self.global_norm(h).unflatten(-1, (self.patch, -1)))

    def _local(self, tokens: Tensor, h: Tensor) -> Tensor:
        """Long[B, L] and Float[B, K, D] of their patches -> logits Float[B, L, V]."""
        batch, length = tokens.shape
        padded = F.pad(tokens, (0, h.shape[1] * self.patch - length)).unflatten(1, (-1, self.patch))
        start = self.local_start.expand(*padded.shape[:2], 1, -1)
        before = torch.cat((start, self.local_table(padded[:, :, :-1])), dim=2)
        x = self.local_model((self._given(h) + before).flatten(0, 1))
        return self.head(self.local_norm(x)).unflatten(0, (batch, -1)).flatten(1, 2)[:, :length]
