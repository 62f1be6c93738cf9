"""SkipBlocks: blocks, a shorter sequence in the middle with a skip around it, blocks.

    y <- down blocks (x)
    y <- y + UpPool(inner(DownPool(y)))       the short skip, Poolformer's
    y <- up blocks (y)
    y <- x + y                                the long skip, of its first versions

where inner is the next SkipBlock or, at the bottom, a TemporalStack of blocks alone.

Shapes: B batch, L length, D width, P pooling factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn

from harness.contracts import State
from models.pooling import DownPool, UpPool
from models.residual import ResBlock

SkipName = Literal["short", "long", "both", "none"]


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
        skip: SkipName = "short",
    ) -> None:
        super().__init__()
        self.down = TemporalStack(down)
        self.down_pool = down_pool
        self.inner = inner
        self.up_pool = up_pool
        self.up = TemporalStack(up)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        y = self._around_pooling(y, self.up_pool(self.inner(self.down_pool(y))))
        return self._around_all(x, self.up(y))

    def _around_pooling(self, y: Tensor, pooled: Tensor) -> Tensor:
        return y + pooled if self.skip in ("short", "both") else pooled

    def _around_all(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y if self.skip in ("long", "both") else y

    def initial_state(self, batch_size: int) -> State:
        """The blocks' states, the inputs waiting to be pooled, and the outputs waiting for their step.

        Inputs and outputs together are always P - 1 vectors, at first all of them outputs: zeros.
        """
        return {
            "down": self.down.initial_state(batch_size),
            "inputs": (),
            "pool": self.down_pool.initial_state(batch_size),
            "inner": self.inner.initial_state(batch_size),
            "outputs": _apart(self.up_pool.initial_state(batch_size)),
            "up": self.up.initial_state(batch_size),
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, D] -> Float[B, D]; the inner level runs at every P-th call only."""
        y, down = self.down.step(x, state["down"])
        inputs, pool, inner, outputs = (*state["inputs"], y), state["pool"], state["inner"], state["outputs"]
        if len(inputs) == self.down_pool.factor:
            pooled, pool = self.down_pool.resume(torch.stack(inputs, dim=1), pool)
            z, inner = self.inner.step(pooled[:, 0], inner)
            inputs, outputs = (), _apart(self.up_pool.unpool(z.unsqueeze(1)))
        y, up = self.up.step(self._around_pooling(y, outputs[0]), state["up"])
        state = {
            "down": down,
            "inputs": inputs,
            "pool": pool,
            "inner": inner,
            "outputs": outputs[1:],
            "up": up,
        }
        return self._around_all(x, y), state

    def state_size(self, batch_size: int, length: int) -> int:
        waiting = batch_size * (self.up_pool.factor - 1) * self.up_pool.width
        return (
            self.down.state_size(batch_size, length)
            + self.down_pool.state_size(batch_size)
            + self.inner.state_size(batch_size, length // self.down_pool.factor)
            + self.up.state_size(batch_size, length)
            + waiting * self.up_pool.nothing.element_size()
        )


def _apart(x: Tensor) -> tuple[Tensor, ...]:
    """The steps of Float[B, L, D]. Views would keep the memory of all until the last had its turn."""
    return tuple(step.clone() for step in x.unbind(1))
