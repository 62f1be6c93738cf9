"""Before anything is timed it is compared with double precision; what disagrees is not timed.

An error is the largest deviation of an array from its reference, relative to the reference's
largest value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.contest import Entry, in_one_line

FORWARD, BOTH = "forward", "forward+backward"
"""What is timed: the result alone, without autograd; or the result and all gradients."""

TOLERANCE = {torch.float32: 1e-4, torch.complex64: 1e-4, torch.float64: 1e-10, torch.complex128: 1e-10}
"""Largest error of a candidate that computes the same thing, by the type of its inputs."""


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """A function to be timed with its arguments, and what it must return and differentiate to."""

    run: Callable[..., Tensor]
    arguments: tuple[Tensor, ...]
    grad: Tensor
    """Gradient of the result."""
    expected: Tensor
    """The result in double precision."""
    expected_gradients: Mapping[str, Tensor]
    """Of each argument, in order, in double precision; the names are those of the columns."""


def admit(entry: Entry, exercise: Exercise, what: str) -> None:
    """Note the errors in the row; give it work if they are small, else the reason why it has none."""
    try:
        errors = errors_of(exercise, what)
    except Exception as error:
        entry.give_up("failed", in_one_line(error))
        return
    entry.columns |= errors
    allowed = TOLERANCE[exercise.grad.dtype]
    wrong = {name: error for name, error in errors.items() if not error <= allowed}  # NaN is wrong, too
    if wrong:
        entry.give_up("wrong", ", ".join(f"{name} is {error:.1e}" for name, error in wrong.items()))
    else:
        entry.work = work_of(exercise, what)


def errors_of(exercise: Exercise, what: str) -> dict[str, float]:
    if what == FORWARD:
        with torch.no_grad():
            return {"max_error": deviation(exercise.run(*exercise.arguments), exercise.expected)}
    leaves = _leaves(exercise)
    result = exercise.run(*leaves)
    gradients = torch.autograd.grad(result, leaves, exercise.grad)
    pairs = zip(gradients, exercise.expected_gradients.items(), strict=True)
    each = {f"error_grad_{name}": deviation(found, expected) for found, (name, expected) in pairs}
    largest = float(np.max([*each.values()]))  # NaN if one is, unlike max()
    return {
        "max_error": deviation(result.detach(), exercise.expected),
        "max_error_grad": largest,
        **each,
    }


def work_of(exercise: Exercise, what: str) -> Callable[[], object]:
    run, grad = exercise.run, exercise.grad
    if what == FORWARD:
        return lambda: _without_autograd(run, exercise.arguments)
    leaves = _leaves(exercise)
    return lambda: torch.autograd.grad(run(*leaves), leaves, grad)


def deviation(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@torch.no_grad()
def _without_autograd(run: Callable[..., Tensor], arguments: tuple[Tensor, ...]) -> Tensor:
    return run(*arguments)


def _leaves(exercise: Exercise) -> list[Tensor]:
    return [argument.detach().requires_grad_() for argument in exercise.arguments]
