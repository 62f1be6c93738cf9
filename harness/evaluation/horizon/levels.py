"""The layers along time of any model, by level, and how to stand between a model and them.

A model lists its mixers with level and stride itself (`SequenceModel.mixers`); of one that does not,
every `TemporalMixer` inside is a level of its own, at the sample rate: the layers of an isotropic stack.

Shapes: B batch, L steps of a layer, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from harness.contracts import PlacedMixer, State, TemporalMixer
from harness.errors import HarnessError

Steps = Any
"""What a layer maps: a tensor Float[B, L, ...], or several in a tuple, of which some may be None."""

Original = Callable[[Steps, State], tuple[Steps, State]]
"""A layer as it is: the steps after a state (None: the start) -> outputs and the state after them."""

Run = Callable[[PlacedMixer, Original, Steps], tuple[Steps, State]]
"""What a layer is to give for a whole sequence instead."""


class CannotIsolate(HarnessError):
    """Raised where a level's part in what a model computes cannot be told from the rest; says why."""


def placed_mixers(model: nn.Module) -> list[PlacedMixer]:
    """The layers along time, from the first level on; none for a model without memory."""
    listed = getattr(model, "mixers", None)
    found = listed() if callable(listed) else _discovered(model)
    return sorted(found, key=lambda placed: placed.level)


def _discovered(model: nn.Module) -> Sequence[PlacedMixer]:
    found: list[nn.Module] = []

    def visit(module: nn.Module) -> None:
        for child in module.children():
            if not isinstance(child, TemporalMixer):
                visit(child)
            elif all(child is not known for known in found):
                found.append(child)

    visit(model)
    return [PlacedMixer(layer=layer, level=number) for number, layer in enumerate(found)]


def levels_of(mixers: Sequence[PlacedMixer]) -> dict[int, int]:
    """level -> samples between two of its steps."""
    return {placed.level: placed.stride for placed in mixers}


@contextmanager
def replaced(mixers: Sequence[PlacedMixer], run: Run) -> Iterator[None]:
    """Inside the block, what the model gets from these layers is what `run` says.

    For one pass over whole sequences: a state that the model hands to a layer is that of the start.
    Raises: CannotIsolate, from the model, where it reads a sequence in chunks.
    """
    before = [(placed.layer, _own(placed.layer)) for placed in mixers]
    for placed in mixers:
        _replace(placed, run)
    try:
        yield
    finally:
        for layer, own in before:
            for name in ("forward", "resume"):
                layer.__dict__.pop(name, None)
            layer.__dict__.update(own)


def _own(layer: nn.Module) -> dict[str, Any]:
    """What stands in the instance itself, as the `resume` of None that says an instance has none."""
    return {name: layer.__dict__[name] for name in ("forward", "resume") if name in layer.__dict__}


def _replace(placed: PlacedMixer, run: Run) -> None:
    layer, original = placed.layer, original_of(placed)
    passes = 0

    def resume(x: Steps, *rest: Any) -> tuple[Steps, State]:
        nonlocal passes
        passes += 1
        if passes > 1:
            raise CannotIsolate(f"{type(layer).__name__} is called of parts of a sequence")
        return run(placed, original, x)

    pairs = placed.resume is not None  # its `forward`, where it has one, gives more than y
    layer.__dict__["forward"] = resume if pairs else lambda x: resume(x)[0]
    if callable(getattr(layer, "resume", None)):
        layer.__dict__["resume"] = resume


def original_of(placed: PlacedMixer) -> Original:
    """A layer's own way to continue; of one that cannot, its `forward` from the start alone."""
    layer = placed.layer
    if placed.resume is not None:
        return placed.resume
    resume, forward = getattr(layer, "resume", None), layer.forward  # bound before they are replaced
    if callable(resume):
        return resume

    def from_the_start(x: Steps, state: State) -> tuple[Steps, State]:
        if state is not None:
            raise CannotIsolate(f"{type(layer).__name__} has no `resume`")
        return forward(x), None

    return from_the_start


def map_steps(function: Callable[[Tensor], Tensor], x: Steps) -> Steps:
    """The same for each tensor of a tuple."""
    if isinstance(x, Tensor):
        return function(x)
    return x if x is None else tuple(map_steps(function, part) for part in x)


def first_of(x: Steps) -> Tensor:
    """The tensor that says how many clips and steps there are."""
    return x if isinstance(x, Tensor) else first_of(x[0])


def common_period(mixers: Sequence[PlacedMixer]) -> int:
    """Samples after which the steps of all levels begin together again."""
    return math.lcm(*(placed.stride for placed in mixers))
