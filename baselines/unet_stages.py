"""Stages of a U-Net over time: blocks at ever lower rates, with skips around what is below them.

    level(x):   x_1 = block(x_0), ..., x_n = block(x_{n-1})     the way down, from x_0 = x; U-Net only
                y = x_n + UpPool(level below(DownPool(x_n)))
        U-Net:  y <- block(y) + x_{n-1}, ..., y <- block(y) + x_0
        plain:  y <- y + blocks(y)                              n = 0
    center(x) = x + blocks(x)

DownPool maps each window of P steps to one step, UpPool each step to P steps, and delays them by a whole
window so that no step is made of a later one. Any length works: steps that do not fill a window wait.

Source: Goel et al. 2022 (SaShiMi, arXiv 2202.09729), section 4.1, and its authors' code, whose topology
this is to the last skip.

Shapes: B batch, L length, K coarse steps, P pooling factor, D width, E coarse width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import PlacedMixer, State
from models.dropout import Dropout
from models.state import resume

Call = Callable[[nn.Module, Tensor], Tensor]


class Sequence(nn.Module):
    """Blocks that run in a fixed order, whichever way: all at once, continued, or step by step."""

    def in_order(self) -> Iterator[Any]:
        raise NotImplementedError

    def run(self, x: Tensor, call: Call) -> Tensor:
        """What is computed, given how to call a block; it calls each once, in order."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, lambda block, x: block(x))

    def initial_state(self, batch_size: int) -> State:
        return tuple(block.initial_state(batch_size) for block in self.in_order())

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, D] -> Float[B, D]."""
        return self._continue(lambda block, x, state: block.step(x, state), x, state)

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Continue a sequence for L more steps."""
        return self._continue(resume, x, state)

    def _continue(self, method: Callable[..., Any], x: Tensor, state: State) -> tuple[Tensor, State]:
        before, after = iter(state), []

        def call(block: nn.Module, x: Tensor) -> Tensor:
            y, block_state = method(block, x, next(before))
            after.append(block_state)
            return y

        return self.run(x, call), tuple(after)

    def state_size(self, batch_size: int, length: int) -> int:
        return sum(block.state_size(batch_size, length) for block in self.in_order())


class Center(Sequence):
    """x + blocks(x)."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def in_order(self) -> Iterator[Any]:
        return iter(self.blocks)

    def run(self, x: Tensor, call: Call) -> Tensor:
        y = x
        for block in self.blocks:
            y = call(block, y)
        return x + y


class Level(Sequence):
    """Blocks around what is pooled, and the skips between them."""

    def __init__(
        self, down: Iterable[nn.Module], pooled: Pooled, up: Iterable[nn.Module], *, unet: bool
    ) -> None:
        super().__init__()
        self.down = nn.ModuleList(down)
        self.pooled = pooled
        self.up = nn.ModuleList(up)
        self.unet = unet

    def in_order(self) -> Iterator[Any]:
        yield from self.down
        yield self.pooled
        yield from self.up

    def run(self, x: Tensor, call: Call) -> Tensor:
        skips = [x]
        for block in self.down:
            skips.append(call(block, skips[-1]))
        finest = skips.pop()
        y = finest + call(self.pooled, finest)
        if self.unet:
            for block in self.up:
                y = call(block, y) + skips.pop()
            return y
        z = y
        for block in self.up:
            z = call(block, z)
        return y + z


def placed_mixers(stage: Level | Center, level: int = 0, stride: int = 1) -> Iterator[PlacedMixer]:
    """The mixers of a stage and of all below it."""
    for block in stage.in_order():
        if isinstance(block, Pooled):
            yield from placed_mixers(block.inner, level + 1, stride * block.factor)
        elif not isinstance(block.layer, FeedForward):
            yield PlacedMixer(layer=block.layer, level=level, stride=stride)


class Pooled(nn.Module):
    """DownPool, all levels below, UpPool delayed by a window: Float[B, L, D] -> Float[B, L, D].

    State: the inputs of a window not yet full and the outputs not yet due, together P steps, and the inner.
    """

    def __init__(self, inner: Level | Center, *, width: int, coarse_width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        # in and out, the P steps of a window stand side by side, each with all its channels
        self.down_pool = nn.Linear(factor * width, coarse_width)
        self.inner = inner
        self.up_pool = nn.Linear(coarse_width, factor * width)

    def forward(self, x: Tensor) -> Tensor:
        length, factor = x.shape[1], self.factor
        windows = length // factor
        if windows == 0:
            return torch.zeros_like(x)
        z = self.inner(self._down(x[:, : windows * factor]))
        return F.pad(self._up(z), (0, 0, factor, 0))[:, :length]

    def initial_state(self, batch_size: int) -> State:
        outputs = self.up_pool.bias.new_zeros(batch_size, self.up_pool.out_features)
        outputs = outputs.unflatten(1, (self.factor, -1))
        return {
            "inputs": outputs[:, :0].clone(),
            "inner": self.inner.initial_state(batch_size),
            "outputs": outputs,
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, D] -> Float[B, D]; the inner level runs at every P-th call only."""
        inputs, inner = torch.cat((state["inputs"], x.unsqueeze(1)), dim=1), state["inner"]
        y, outputs = state["outputs"][:, 0], state["outputs"][:, 1:].clone()
        if inputs.shape[1] == self.factor:
            z, inner = self.inner.step(self._down(inputs)[:, 0], inner)
            inputs, outputs = inputs[:, :0].clone(), self._up(z.unsqueeze(1))
        return y, {"inputs": inputs, "inner": inner, "outputs": outputs}

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Continue a sequence for L more steps, of which the inner level takes those that fill windows."""
        length, inputs, outputs, inner = x.shape[1], state["inputs"], state["outputs"], state["inner"]
        inputs = torch.cat((inputs, x), dim=1)
        full = inputs.shape[1] - inputs.shape[1] % self.factor
        if full:
            z, inner = self.inner.resume(self._down(inputs[:, :full]), inner)
            outputs = torch.cat((outputs, self._up(z)), dim=1)
        after = {"inputs": inputs[:, full:].clone(), "inner": inner, "outputs": outputs[:, length:].clone()}
        return outputs[:, :length], after

    def state_size(self, batch_size: int, length: int) -> int:
        waiting = batch_size * self.up_pool.out_features * self.up_pool.bias.element_size()
        return waiting + self.inner.state_size(batch_size, length // self.factor)

    def _down(self, x: Tensor) -> Tensor:
        """Float[B, K P, D] -> Float[B, K, E]."""
        return self.down_pool(x.unflatten(1, (-1, self.factor)).flatten(2))

    def _up(self, z: Tensor) -> Tensor:
        """Float[B, K, E] -> Float[B, K P, D]."""
        return self.up_pool(z).unflatten(2, (self.factor, -1)).flatten(1, 2)


class Residual(nn.Module):
    """x + Dropout(layer(norm(x))) around a mixer or anything with its interface."""

    def __init__(
        self, layer: nn.Module, *, width: int, dropout: float = 0.0, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm is None else norm
        self.layer: Any = layer
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.layer(self.norm(x)))

    def initial_state(self, batch_size: int) -> State:
        return self.layer.initial_state(batch_size)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.layer.step(self.norm(x), state)
        return x + self.dropout(y), state

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.layer.resume(self.norm(x), state)
        return x + self.dropout(y), state

    def state_size(self, batch_size: int, length: int) -> int:
        return self.layer.state_size(batch_size, length)


class FeedForward(nn.Module):
    """W_2 GELU(W_1 x), with a mixer's interface and nothing to remember."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.input = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.output(self.dropout(F.gelu(self.input(x)))))

    def initial_state(self, batch_size: int) -> State:
        return ()

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self(x), ()

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self(x), ()

    def state_size(self, batch_size: int, length: int) -> int:
        return 0
