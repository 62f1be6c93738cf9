"""A stack over tokens: what the baselines share that put equal blocks one after the other.

    tokens -> shift right by one -> table -> blocks -> norm -> head

Shapes: B batch, L length, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import ParameterGroup, State
from models.dropout import Dropout
from models.parameter_groups import parameter_groups
from models.state import resume

Call = Callable[[Any, Any], Any]
"""How to run a block on what the one before it gave: all at once, continued, or a single step."""


class TokenStack(nn.Module):
    """A token table, blocks one after the other, a norm and a head, around blocks of any kind.

    A block has what a mixer has, Float[B, L, D] -> Float[B, L, D].
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        *,
        width: int,
        vocab_size: int,
        norm: nn.Module,
        dropout: float = 0.0,
        head_bias: bool = True,
    ) -> None:
        super().__init__()
        self.start = vocab_size // 2  # silence, in mu-law and in linear audio
        self.table = nn.Embedding(vocab_size, width)
        self.dropout = Dropout(dropout)
        self.blocks: Any = nn.ModuleList(blocks)
        self.norm = norm
        self.head = nn.Linear(width, vocab_size, bias=head_bias)

    def run(self, x: Tensor, call: Call) -> Tensor:
        """Through all blocks in order, each called once."""
        for block in self.blocks:
            x = call(block, x)
        return x

    def forward(self, tokens: Tensor) -> Tensor:
        """Long[B, L] -> logits Float[B, L, V], those at t made of the tokens before t."""
        before = F.pad(tokens[:, :-1], (1, 0), value=self.start)
        return self._logits(self.run(self._embed(before), lambda block, x: block(x)))

    def resume(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The next tokens Long[B, L] -> their logits Float[B, L, V] and the state after them.

        The state is one that `initial_state` or `resume` returned, and is left as it is.
        Raises: ValueError for a state of `step`, which does not know the token before these.
        """
        last, states = state
        if last is None:
            raise ValueError("a state of `step` lacks the last token; resume from a state of `resume`")
        before = torch.cat((last.unsqueeze(1), tokens[:, :-1]), dim=1)
        logits, after = self._continue(resume, before, states)
        return logits, (tokens[:, -1].clone(), after)

    def step(self, token: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The previous token Long[B] (None: the state knows it) -> logits Float[B, V] of the next."""
        last, states = state
        logits, after = self._continue(_step, last if token is None else token, states)
        return logits, (None, after)

    def initial_state(self, batch_size: int) -> State:
        """The token before the next ones, Long[B] (the start token), and the states of the blocks."""
        start = torch.full((batch_size,), self.start, device=self.head.weight.device)
        return start, tuple(block.initial_state(batch_size) for block in self.blocks)

    def state_size(self, batch_size: int, length: int) -> int:
        """Bytes of the state after `length` steps."""
        last = batch_size * torch.long.itemsize if length == 0 else 0
        return last + sum(block.state_size(batch_size, length) for block in self.blocks)

    def optimizer_groups(self) -> list[ParameterGroup]:
        return parameter_groups(self)

    def _continue(
        self, method: Callable[..., Any], before: Tensor, states: Iterable[State]
    ) -> tuple[Tensor, State]:
        given, after = iter(states), []

        def call(block: Any, x: Any) -> Any:
            y, state = method(block, x, next(given))
            after.append(state)
            return y

        return self._logits(self.run(self._embed(before), call)), tuple(after)

    def _embed(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.table(tokens))

    def _logits(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x))


class MixerBlock(nn.Module):
    """A block whose state is its mixer's: x + mixer(norm(x)), and what a subclass adds to it."""

    mixer_norm: nn.Module
    mixer: Any

    def forward(self, x: Tensor) -> Tensor:
        return self._add(x, self.mixer(self.mixer_norm(x)))

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, L, D] -> Float[B, L, D] and the mixer's last state."""
        y, state = resume(self.mixer, self.mixer_norm(x), state)
        return self._add(x, y), state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, D] -> Float[B, D]."""
        y, state = self.mixer.step(self.mixer_norm(x), state)
        return self._add(x, y), state

    def initial_state(self, batch_size: int) -> State:
        return self.mixer.initial_state(batch_size)

    def state_size(self, batch_size: int, length: int) -> int:
        return self.mixer.state_size(batch_size, length)

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        """The block's output, given its input and the mixer's output."""
        raise NotImplementedError


def _step(block: Any, x: Any, state: State) -> tuple[Any, State]:
    return block.step(x, state)
