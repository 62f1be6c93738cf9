"""SkipBlocks: blocks, a shorter sequence in the middle with a skip around it, blocks.

    x <- down blocks (x)
    x <- x + UpPool(inner(DownPool(x)))
    x <- up blocks (x)

where inner is the next SkipBlock or, at the bottom, a TemporalStack of blocks alone.

Shapes: B batch, L length, D width, P pooling factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from harness.contracts import State
from models.pooling import DownPool, UpPool
from models.residual import ResBlock


class TemporalStack(nn.ModuleList):
    """Residual blocks, one after another. Float[B, L, D] -> Float[B, L, D]."""

    def __iter__(self) -> Iterator[ResBlock]:
        return cast("Iterator[ResBlock]", super().__iter__())

    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            x = block(x)
        return x

    def initial_state(self, batch_size: int) -> State:
        return tuple(block.initial_state(batch_size) for block in self)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, D] -> Float[B, D]."""
        states = []
        for block, block_state in zip(self, state, strict=True):
            x, block_state = block.step(x, block_state)
            states.append(block_state)
        return x, tuple(states)

    def state_size(self, batch_size: int, length: int) -> int:
        return sum(block.state_size(batch_size, length) for block in self)


class SkipBlock(nn.Module):
    """One level of Poolformer. Float[B, L, D] -> Float[B, L, D] for L divisible by all factors below."""

    def __init__(
        self,
        *,
        down: Iterable[ResBlock],
        down_pool: DownPool,
        inner: SkipBlock | TemporalStack,
        up_pool: UpPool,
        up: Iterable[ResBlock],
    ) -> None:
        super().__init__()
        self.down = TemporalStack(down)
        self.down_pool = down_pool
        self.inner = inner
        self.up_pool = up_pool
        self.up = TemporalStack(up)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        x = x + self.up_pool(self.inner(self.down_pool(x)))
        return self.up(x)

    def initial_state(self, batch_size: int) -> State:
        """The blocks' states, the inputs waiting to be pooled, and the outputs waiting for their step.

        Inputs and outputs together are always P - 1 vectors, at first all of them outputs: zeros.
        """
        zeros = self.up_pool.bias.new_zeros(self.up_pool.factor - 1, batch_size, self.up_pool.width)
        return {
            "down": self.down.initial_state(batch_size),
            "inputs": (),
            "inner": self.inner.initial_state(batch_size),
            "outputs": tuple(zero.clone() for zero in zeros),
            "up": self.up.initial_state(batch_size),
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, D] -> Float[B, D]; the inner level runs at every P-th call only."""
        x, down = self.down.step(x, state["down"])
        inputs, inner, outputs = (*state["inputs"], x), state["inner"], state["outputs"]
        if len(inputs) == self.down_pool.factor:
            pooled = self.down_pool(torch.stack(inputs, dim=1))[:, 0]
            z, inner = self.inner.step(pooled, inner)
            steps = self.up_pool.unpool(z.unsqueeze(1)).unbind(1)
            # Views would keep the memory of all P until the last of them has had its turn.
            inputs, outputs = (), (steps[0], *(step.clone() for step in steps[1:]))
        x, up = self.up.step(x + outputs[0], state["up"])
        return x, {"down": down, "inputs": inputs, "inner": inner, "outputs": outputs[1:], "up": up}

    def state_size(self, batch_size: int, length: int) -> int:
        waiting = batch_size * (self.up_pool.factor - 1) * self.up_pool.width
        return (
            self.down.state_size(batch_size, length)
            + self.inner.state_size(batch_size, length // self.down_pool.factor)
            + self.up.state_size(batch_size, length)
            + waiting * self.up_pool.bias.element_size()
        )
