"""Measurements that the laws are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.conformance.subjects import Subject
from harness.conformance.verdict import Violation
from harness.contracts import State

SEED = 0
ROUNDING = 1e-4
"""Largest difference, over the outputs' largest magnitude, that float32 rounding can explain."""
ROUNDING_IN_DOUBLE = 1e-9


def prepared(subject: Subject) -> nn.Module:
    """A fresh module whose all-zero parameters are filled: behind a zero every law would hold."""
    module = subject.build(SEED)
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return module


def run(module: nn.Module, inputs: Tensor, training: bool = False, seed: int = SEED) -> Tensor:
    """One forward pass; the same seed draws the same dropout masks."""
    module.train(training)
    torch.manual_seed(seed)
    with torch.no_grad():
        return module(inputs)


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Largest absolute difference over the last axis, Float64[...]; equal NaN are equal."""
    same = (a == b) | (a.isnan() & b.isnan())
    apart = (a.double() - b.double()).abs().nan_to_num(nan=torch.inf)
    return apart.masked_fill(same, 0).amax(-1)


def scale(outputs: Tensor) -> float:
    """Largest finite magnitude."""
    return float(outputs.double().nan_to_num(0, 0, 0).abs().max())


@dataclass(frozen=True)
class Influence:
    """How far an output that should not have moved did."""

    amount: float
    scale: float
    place: str

    def within(self, tolerance: float) -> bool:
        return self.amount <= tolerance * self.scale


def assert_untouched(
    subject: Subject, probe: Callable[[nn.Module, torch.dtype, bool], Influence], advice: str
) -> str:
    """Nothing moves: not by one bit, in evaluation and in training mode.

    An algorithm that mixes all positions and cancels them again (an FFT) moves by rounding alone.
    It is told from a leak in double precision, where rounding is nine orders of magnitude smaller.
    """
    remark = ""
    for training in (False, True):
        module = prepared(subject)
        found = probe(module, torch.float32, training)
        if found.amount == 0:
            continue
        double = probe(module.double(), torch.float64, training)
        if not double.within(ROUNDING_IN_DOUBLE):
            mode = "training" if training else "evaluation"
            raise Violation(
                f"in {mode} mode, {found.place} moved by {found.amount:.3g} (outputs reach "
                f"{found.scale:.3g}; in float64 {double.amount:.3g} of {double.scale:.3g}); {advice}"
            )
        remark = f"equal but for rounding: {found.amount:.1g} in float32, {double.amount:.1g} in float64"
    return remark


def assert_close(expected: Tensor, found: Tensor, what: str, advice: str) -> None:
    """Equal but for float32 rounding, Float[B, L, D] each."""
    if expected.shape != found.shape:
        raise Violation(f"{what}: shapes {list(expected.shape)} and {list(found.shape)}; {advice}")
    apart = difference(expected, found)
    allowed = ROUNDING * scale(expected)
    if not (apart <= allowed).all():
        row, position = (apart > allowed).nonzero()[apart[apart > allowed].argmax()].tolist()
        first = int((apart > allowed).any(0).nonzero()[0])
        raise Violation(
            f"{what} differ by {float(apart.max()):.3g} at position {position} of {expected.shape[1]}, "
            f"row {row} (first at position {first}; {allowed:.3g} would be rounding); {advice}"
        )


def assert_identical(expected: Tensor, found: Tensor, what: str, advice: str) -> None:
    """Equal to the bit."""
    apart = difference(expected, found)
    if apart.any():
        raise Violation(f"{what} differ by {float(apart.max()):.3g}; {advice}")


def tensors_in(state: State) -> Iterator[Tensor]:
    """All tensors in any nesting of tuples, lists and dicts."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, list | tuple):
        for part in state:
            yield from tensors_in(part)
    elif isinstance(state, dict):
        yield from tensors_in(list(state.values()))


def state_bytes(state: State) -> int:
    """Bytes of the elements of all tensors in a state; one that stands in two places counts twice."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(state))


def allocated_bytes(state: State) -> int:
    """Bytes that a state keeps allocated: the storages behind its tensors, each once and whole."""
    storages = [tensor.untyped_storage() for tensor in tensors_in(state)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
