"""Poolformer: an autoregressive model of nested SkipBlocks over ever shorter sequences.

    tokens -> shift right by one -> embedding -> SkipBlock(P1, SkipBlock(P2, ... TemporalStack)) -> head

Source: Gallo Fernández 2025, "Poolformer" (arXiv 2510.02206), and its code (`patch-ar`). Level 0
runs at the sample rate, level l at every P1 P2 ... Pl-th sample, the bottom at the rate of the last.

Shapes: B batch, L length, V vocabulary, D width, P pooling factor.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.configuration import build
from harness.contracts import Drawer, ParameterGroup, PlacedMixer, Spec, State, can_resume, require
from harness.errors import ConfigError
from models.embedding import build_embedding
from models.initialization import Dense
from models.mixers.convolution import ConvolutionThen
from models.native.call import reason_against
from models.parameter_groups import parameter_groups
from models.poolformer_config import CONSTANT_BRANCH_SCALE, LevelMixers, PoolformerConfig
from models.pooling import build_down_pool, build_up_pool
from models.recompute import recomputed_in_chunks
from models.residual import EPSILON, MLP, ResBlock
from models.scan import backends, scan_backends
from models.skip_block import SkipBlock, TemporalStack

log = logging.getLogger("harness")


class Poolformer(nn.Module):
    """Nested pooled levels of gated linear recurrences (Gallo Fernández 2025)."""

    Config = PoolformerConfig
    complexity: ClassVar[tuple[str, str]] = ("D²", "D²")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8, "pooling": [2, 3], "layers": 1},
        {
            "width": 8,
            "pooling": [3, 1],
            "layers": [2, 1, 1],
            "down_layers": [1, 0],
            "mixer": [["convolution", "rg_lru"], {"name": "attention", "heads": 2, "window": 3}, "lru"],
            "pool_groups": 2,
            "skip": "both",
            "embedding": "table",
            "norm": "rms",
        },
        {
            "width": 8,
            "pooling": [4],
            "layers": 1,
            "down_layers": 0,
            "mixer": "diagonal_rnn",
            "temporal_convolution": "convolution",
            "widening": 2,
            "pool_groups": 1,
            "embedding": "mlp",
            "gating": False,
            "initialization": "constant",
        },
        {"width": 8, "pooling": [2, 2], "layers": 1, "pooling_kind": "convolution", "pool_groups": 4},
        {"width": 8, "pooling": [3], "layers": 1, "pooling_kind": "average", "skip": "long"},
        {
            "width": 8,
            "pooling": [2],
            "layers": [0, 1],
            "down_layers": 1,
            "pooling_kind": "subsample",
            "skip": "none",
            "initialization": "plain",
        },
        {"width": 8, "pooling": [], "layers": 1, "mixer": "attention", "norm": "none"},
    )

    def __init__(self, config: PoolformerConfig, vocab_size: int = 256) -> None:
        super().__init__()
        self.config = config
        self.start_token = vocab_size // 2
        self.embedding = build_embedding(config.embedding, vocab_size, config.width)
        self.body = build_level(config, 0)
        self.norm = nn.LayerNorm(config.width, eps=EPSILON)
        self.head = Dense(config.width, vocab_size)
        self._check_resume()

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V], those at t made of the tokens before t."""
        before = F.pad(tokens[:, :-1], (1, 0), value=self.start_token)
        chunk = self.config.recompute_chunk
        if chunk is None or chunk >= tokens.shape[1] or not torch.is_grad_enabled():
            x = self.body(self.embedding(before))
        else:
            state = self.body.initial_state(len(tokens))
            x = recomputed_in_chunks(self._read, before, state, chunk)
        return self.head(self.norm(x))

    def _read(self, before: Tensor, state: State) -> tuple[Tensor, State]:
        return self.body.resume(self.embedding(before), state)

    def initial_state(self, batch_size: int) -> State:
        """The last token before the next ones, Long[B] (the start token), and the states of the levels."""
        start = torch.full((batch_size,), self.start_token, device=self.head.weight.device)
        return {"last": start, "levels": self.body.initial_state(batch_size)}

    def step(self, token: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The previous token Long[B] (None: the state knows it) -> logits Float[B, V] of the next.

        The state that comes back does not know the next token, which is yet to be drawn.
        """
        last = state["last"] if token is None else token
        x, levels = self.body.step(self.embedding(last), state["levels"])
        return self.head(self.norm(x)), {"levels": levels}

    def resume(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The next tokens Long[B, L] -> their logits Float[B, L, V] and the state after them.

        A sequence may be cut anywhere: the chunks' logits are those of the whole. The state is one
        that `initial_state` or `resume` returned; `step` takes these too.
        Raises: ValueError for a state of `step`, which does not know the token before these.
        """
        if "last" not in state:
            raise ValueError("a state of `step` lacks the last token; resume from a state of `resume`")
        before = torch.cat((state["last"].unsqueeze(1), tokens[:, :-1]), dim=1)
        x, levels = self._read(before, state["levels"])
        return self.head(self.norm(x)), {"last": tokens[:, -1].clone(), "levels": levels}

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        last = batch_size * torch.long.itemsize if length == 0 else 0
        return last + self.body.state_size(batch_size, length)

    def mixers(self) -> list[PlacedMixer]:
        """The mixers of all levels, in the order of computation."""
        return list(_placed(self.body, self.config.level_strides))

    def _check_resume(self) -> None:
        """`resume` is there only if every mixer has it."""
        layers = [block.layer for block in self.modules() if isinstance(block, ResBlock)]
        without = {type(layer).__name__ for layer in layers if not can_resume(layer)}
        if without:
            self.resume = None  # type: ignore[assignment,method-assign]
            message = f"needs mixers that can `resume`; {', '.join(sorted(without))} cannot"
            require(self.config.recompute_chunk is None, "recompute_chunk", message)

    @property
    def period(self) -> int:
        """Samples in a step of the bottom level: chunks of a multiple leave nothing waiting in between."""
        return self.config.level_strides[-1]

    def drawer(self, batch_size: int) -> Drawer | None:
        """On a GPU a graph of a whole period; on a CPU the kernel that steps through all levels at once."""
        from models.generation.cuda_graph import PeriodDrawer  # they know this class
        from models.generation.native import CannotTranslate, NativeDrawer

        if self.head.weight.is_cuda:
            return PeriodDrawer(self, batch_size) if PeriodDrawer.fits(self) else None
        try:
            return NativeDrawer(self, batch_size)
        except CannotTranslate as reason:
            log.info("clips are drawn step by step: %s", reason)
            return None

    def optimizer_groups(self) -> list[ParameterGroup]:
        """What its mixers keep from weight decay."""
        return parameter_groups(self)

    @staticmethod
    def kernels() -> dict[str, str | None]:
        """Of the scans on this machine's fastest device, and the CPU's others."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        scans = {f"scan {name}": reason for name, reason in backends(device).items()}
        others = ("block_diagonal", "gated_branch", "gated_input", "gelu_gate", "sampling")
        return scans | {f"native {name}": reason_against(name) for name in others}

    @property
    def scan_backend(self) -> str:
        return scan_backends(self)


def build_level(config: PoolformerConfig, level: int) -> SkipBlock | TemporalStack:
    """A level with all that is below it."""
    down, up = config.level_mixers[level]
    branches = 2 * (len(down) + len(up))  # that the level's output is a sum of
    recompute = level < config.recompute
    if level == config.levels - 1:
        return TemporalStack(build_blocks(config, level, up, branches), recompute=recompute)
    branches += 1  # the inner level
    kind, factor = config.pooling_kind, config.pooling[level]
    width, coarse_width = config.level_widths[level : level + 2]
    groups = config.pool_groups or width
    scale = 1 / branches if config.initialization == "scaled" else None
    return SkipBlock(
        down=build_blocks(config, level, down, branches),
        down_pool=build_down_pool(kind, width, coarse_width, factor=factor, groups=groups),
        inner=build_level(config, level + 1),
        up_pool=build_up_pool(kind, width, coarse_width, factor=factor, groups=groups, output_scale=scale),
        up=build_blocks(config, level, up, branches),
        skip=config.skip,
        recompute=recompute,
    )


def _placed(part: SkipBlock | TemporalStack, strides: Sequence[int], level: int = 0) -> Iterator[PlacedMixer]:
    """The mixers of a level and of all that is below it."""
    for blocks in (part,) if isinstance(part, TemporalStack) else (part.down, part.up):
        for block in blocks:
            if not isinstance(block.layer, MLP):
                yield PlacedMixer(layer=block.layer, level=level, stride=strides[level])
    if isinstance(part, SkipBlock):
        yield from _placed(part.inner, strides, level + 1)


def build_blocks(config: PoolformerConfig, level: int, mixers: LevelMixers, branches: int) -> list[ResBlock]:
    """For each mixer a block around it and one around an MLP."""
    width = config.level_widths[level]
    hidden = config.expand * width

    def block(layer: nn.Module, branch: int) -> ResBlock:
        return ResBlock(
            layer,
            width=width,
            branch=branch,
            norm=config.norm,
            gating=config.gating,
            dropout=config.dropout,
            output_scale=1 / branches if config.initialization == "scaled" else None,
            branch_scale=CONSTANT_BRANCH_SCALE if config.initialization == "constant" else 1.0,
        )

    blocks = []
    for spec in mixers:
        blocks.append(block(_build_mixer(config, level, spec), width))
        blocks.append(block(MLP(width, hidden), hidden))
    return blocks


def _build_mixer(config: PoolformerConfig, level: int, spec: Spec) -> nn.Module:
    width, stride = config.level_widths[level], config.level_strides[level]
    try:
        mixer = build("mixers", spec, width=width, stride=stride)
    except ConfigError as error:  # options that do not fit this width
        raise error.under("mixer") from None
    front = config.temporal_convolution
    if front is None or _name(front) == _name(spec):
        return mixer
    return ConvolutionThen(build("mixers", front, width=width, stride=stride), mixer, width=width)


def _name(spec: Spec) -> str:
    return spec if isinstance(spec, str) else spec["name"]
