"""By differentiation: through which level's state a loss depends on inputs of long ago.

Take a moment c at which the steps of all levels begin together. What comes after c knows what came
before only by what is held at c: the states of the mixers, level by level, and what the pooling's
delays still owe. Every path from an input before c to a loss after c crosses c once, through one of
these, so the gradient falls apart exactly:

    d loss_t / d x_p  =  sum over levels l of G_l  +  G_delays          (p < c <= t)

    G_delays    what is left when the states of all mixers are constants at c
    G_l         what is added when those of level l are not

Each term is found by one backward pass through the model with the other levels' states detached at
c; values stay as they are. c lies in the middle of the way, t - c ~ c - p, so that a level is asked what
it holds of a path half-way. x is the model's embedding of a token; the size of a term is its root mean
square over clips and over the positions of a band of distances, summed over the embedding's channels.

Shapes: B clips, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from harness.contracts import PlacedMixer, State
from harness.evaluation.horizon.levels import (
    CannotIsolate,
    Original,
    Steps,
    common_period,
    first_of,
    levels_of,
    map_steps,
    replaced,
)
from harness.training.loss import token_bits

ALL, DELAYS = "all", "delays"


@dataclass
class GradientSizes:
    """Mean squares of the terms by part and distance, summed over the clips seen so far."""

    squares: dict[tuple[str, int], float] = field(default_factory=dict)
    clips: dict[int, int] = field(default_factory=dict)

    def add(self, part: str, distance: int, square: float) -> None:
        self.squares[part, distance] = self.squares.get((part, distance), 0.0) + square

    def rows(self, strides: dict[int, int]) -> Iterator[dict[str, Any]]:
        """part, stride, distance in samples, root mean square in bits a unit, and its share of all parts."""
        parts = [*map(str, strides), DELAYS]
        for distance, clips in sorted(self.clips.items()):
            sizes = {part: (self.squares[part, distance] / clips) ** 0.5 for part in (*parts, ALL)}
            total = sum(sizes[part] for part in parts)
            for part in (*parts, ALL):
                yield {
                    "level": part,
                    "stride": strides[int(part)] if part.isdigit() else 1,
                    "distance_samples": distance,
                    "gradient": sizes[part],
                    "share": sizes[part] / total if total > 0 and part != ALL else float("nan"),
                }


def boundary(length: int, mixers: Sequence[PlacedMixer]) -> int:
    """The moment c: the multiple of all strides nearest to the middle of a window, 0 if there is none."""
    period = common_period(mixers)
    nearest = period * round(length / 2 / period)
    return nearest if 0 < nearest < length else 0


def reaches(length: int, moment: int) -> list[int]:
    """Samples on either side of c, powers of two: distances are twice as long."""
    return [2**power for power in range(15) if 2**power <= min(moment, length - moment) * 4 // 5]


def part_gradients(
    model: nn.Module, tokens: Tensor, mixers: Sequence[PlacedMixer], *, moment: int, targets: Tensor
) -> dict[str, Tensor]:
    """part -> the gradient of each clip's loss at its target Long[B], over the embeddings: Float[B, T, D].

    Parts: every level, "delays", and "all", their sum found by itself.
    Raises: CannotIsolate
    """
    levels = levels_of(mixers)
    whole = _gradient(model, tokens, mixers, moment, targets, kept=set(levels))
    without = _gradient(model, tokens, mixers, moment, targets, kept=set())
    parts = {
        str(level): _gradient(model, tokens, mixers, moment, targets, kept={level}) - without
        for level in levels
    }
    return parts | {DELAYS: without, ALL: whole}


def _gradient(
    model: nn.Module,
    tokens: Tensor,
    mixers: Sequence[PlacedMixer],
    moment: int,
    targets: Tensor,
    *,
    kept: set[int],
) -> Tensor:
    """Of the losses at the targets, with the states of levels that are not kept constant at the moment."""

    def run(placed: PlacedMixer, original: Original, x: Steps) -> tuple[Steps, State]:
        step = -(-moment // placed.stride)
        if placed.level in kept or first_of(x).shape[1] <= step:
            return original(x, None)
        before, state = original(map_steps(lambda part: part[:, :step], x), None)
        after, state = original(map_steps(lambda part: part[:, step:], x), _detached(state))
        return _joined(before, after), state

    with torch.enable_grad(), replaced(mixers, run), _embeddings(model, tokens) as embedded:
        bits = token_bits(model(tokens), tokens)
        if not embedded:
            raise CannotIsolate(f"{type(model).__name__} embeds its tokens by no module of its own, in order")
        loss = bits.gather(1, targets[:, None]).sum()
        found = torch.autograd.grad(loss, embedded, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.detach().flatten(2) for gradient in found], dim=-1)


def _detached(state: State) -> State:
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        return {key: _detached(part) for key, part in state.items()}
    if isinstance(state, list | tuple):
        parts = [_detached(part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    return state


def _joined(before: Steps, after: Steps) -> Steps:
    if isinstance(before, Tensor):
        return torch.cat((before, after), dim=1)
    return None if before is None else tuple(map(_joined, before, after))


@contextmanager
def _embeddings(model: nn.Module, tokens: Tensor) -> Iterator[list[Tensor]]:
    """Inside the block, what the model's modules make of the tokens before each: leaves Float[B, T, D]."""
    found: list[Tensor] = []
    before = tokens[:, :-1]

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        read = inputs[0] if inputs else None
        if not (isinstance(read, Tensor) and isinstance(output, Tensor)) or read.is_floating_point():
            return None
        if read.shape != tokens.shape or not torch.equal(read[:, 1:], before):
            return None
        found.append(output.detach().requires_grad_())
        return found[-1]

    handles = [module.register_forward_hook(hook) for module in model.modules() if module is not model]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def measure_gradients(
    model: nn.Module, tokens: Tensor, mixers: Sequence[PlacedMixer], sizes: GradientSizes, *, turn: int
) -> None:
    """Adds one clip a distance, or a clip in turn where there are fewer, of Long[B, T] without padding."""
    length = tokens.shape[1]
    moment = boundary(length, mixers)
    reach = reaches(length, moment)
    if not reach:
        return
    # one backward pass serves all distances: each clip has its own
    own = [reach[(turn + row) % len(reach)] for row in range(len(tokens))]
    targets = torch.tensor([moment + each - 1 for each in own], device=tokens.device)
    for part, gradient in part_gradients(model, tokens, mixers, moment=moment, targets=targets).items():
        for row, each in enumerate(own):
            # position p embeds token p - 1; those around p = c - each are about 2 each before the target
            band = gradient[row, moment - each * 5 // 4 : moment - each * 3 // 4]
            sizes.add(part, 2 * each, float(band.double().square().sum(-1).mean()))
    for each in own:
        sizes.clips[2 * each] = sizes.clips.get(2 * each, 0) + 1
