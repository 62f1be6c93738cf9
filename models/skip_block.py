"""SkipBlocks: blocks, a shorter sequence in the middle with a skip around it, blocks.

    y <- down blocks (x)
    y <- y + UpPool(inner(DownPool(y)))       the short skip, Poolformer's
    y <- up blocks (y)
    y <- x + y                                the long skip, of its first versions

where inner is the next SkipBlock or, at the bottom, a TemporalStack of blocks alone. Steps that do not
fill a window of the pooling wait for the next ones: any length works, and any cut of a sequence.

Shapes: B batch, L length, D width, P pooling factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn

from harness.contracts import State
from models.pooling import DownPool, UpPool
from models.recompute import recomputed
from models.residual import ResBlock

SkipName = Literal["short", "long", "both", "none"]


class TemporalStack(nn.ModuleList):
    """Residual blocks, one after another. Float[B, L, D] -> Float[B, L, D].

    `recompute`: each block keeps for the backward pass its input alone.
    """

    def __init__(self, blocks: Iterable[ResBlock], *, recompute: bool = False) -> None:
        super().__init__(blocks)
        self.recompute = recompute

    def __iter__(self) -> Iterator[ResBlock]:
        return cast("Iterator[ResBlock]", super().__iter__())

    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            x = recomputed(block, x) if self.recompute else block(x)
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

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Continue a sequence for L more steps."""
        states = []
        for block, block_state in zip(self, state, strict=True):
            if self.recompute:
                x, block_state = recomputed(block.resume, x, block_state)
            else:
                x, block_state = block.resume(x, block_state)
            states.append(block_state)
        return x, tuple(states)

    def state_size(self, batch_size: int, length: int) -> int:
        return sum(block.state_size(batch_size, length) for block in self)


class SkipBlock(nn.Module):
    """One level of Poolformer. Float[B, L, D] -> Float[B, L, D]."""

    def __init__(
        self,
        *,
        down: Iterable[ResBlock],
        down_pool: DownPool,
        inner: SkipBlock | TemporalStack,
        up_pool: UpPool,
        up: Iterable[ResBlock],
        skip: SkipName = "short",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.down = TemporalStack(down, recompute=recompute)
        self.down_pool = down_pool
        self.inner = inner
        self.up_pool = up_pool
        self.up = TemporalStack(up, recompute=recompute)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        y = self._around_pooling(y, self._pooled(y))
        return self._around_all(x, self.up(y))

    def _pooled(self, y: Tensor) -> Tensor:
        windows = y.shape[1] // self.down_pool.factor
        if windows == 0:
            return torch.zeros_like(y)
        over = y.shape[1] - windows * self.down_pool.factor
        full = y[:, :-over] if over else y  # even a slice of all has a gradient that is a copy
        return self.up_pool(self.inner(self.down_pool(full)), length=y.shape[1])

    def _around_pooling(self, y: Tensor, pooled: Tensor) -> Tensor:
        return y + pooled if self.skip in ("short", "both") else pooled

    def _around_all(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y if self.skip in ("long", "both") else y

    def initial_state(self, batch_size: int) -> State:
        """The blocks' states, the inputs waiting to be pooled, and the outputs waiting for their step.

        Inputs and outputs together are always P - 1 steps, Float[B, ., D], at first all of them outputs.
        """
        outputs = self.up_pool.initial_state(batch_size)
        return _state(
            self.down.initial_state(batch_size),
            outputs.new_empty(batch_size, 0, self.up_pool.width),
            self.down_pool.initial_state(batch_size),
            self.inner.initial_state(batch_size),
            outputs,
            self.up.initial_state(batch_size),
        )

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, D] -> Float[B, D]; the inner level runs at every P-th call only."""
        y, down = self.down.step(x, state["down"])
        inputs, outputs = torch.cat((state["inputs"], y.unsqueeze(1)), dim=1), state["outputs"]
        pool, inner = state["pool"], state["inner"]
        if inputs.shape[1] == self.down_pool.factor:
            pooled, pool = self.down_pool.resume(inputs, pool)
            z, inner = self.inner.step(pooled[:, 0], inner)
            inputs, outputs = inputs[:, :0].clone(), self.up_pool.unpool(z.unsqueeze(1))
        y, up = self.up.step(self._around_pooling(y, outputs[:, 0]), state["up"])
        outputs = outputs[:, 1:].clone()  # a view would keep the first, too
        return self._around_all(x, y), _state(down, inputs, pool, inner, outputs, up)

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Continue a sequence for L more steps, of which the inner level takes those that fill windows."""
        y, down = self.down.resume(x, state["down"])
        inputs, outputs = torch.cat((state["inputs"], y), dim=1), state["outputs"]
        pool, inner = state["pool"], state["inner"]
        length, full = y.shape[1], inputs.shape[1] - inputs.shape[1] % self.down_pool.factor
        if full:
            pooled, pool = self.down_pool.resume(inputs[:, :full], pool)
            z, inner = self.inner.resume(pooled, inner)
            outputs, later = self.up_pool.resume(z, outputs, length)
        else:
            outputs, later = outputs[:, :length], outputs[:, length:]
        y, up = self.up.resume(self._around_pooling(y, outputs), state["up"])
        return self._around_all(x, y), _state(down, inputs[:, full:].clone(), pool, inner, later.clone(), up)

    def state_size(self, batch_size: int, length: int) -> int:
        waiting = batch_size * (self.up_pool.factor - 1) * self.up_pool.width
        return (
            self.down.state_size(batch_size, length)
            + self.down_pool.state_size(batch_size)
            + self.inner.state_size(batch_size, length // self.down_pool.factor)
            + self.up.state_size(batch_size, length)
            + waiting * self.up_pool.nothing.element_size()
        )


def _state(
    down: State, inputs: Tensor, pool: State, inner: State, outputs: Tensor, up: State
) -> dict[str, State]:
    """Always in this order, so that the tensors of two states correspond."""
    return {"down": down, "inputs": inputs, "pool": pool, "inner": inner, "outputs": outputs, "up": up}
