"""A contest: candidates that do the same work, timed in turns so that a noisy machine hits all alike.

Every round times each candidate once, in an order of its own. A candidate that would take longer
than the budget takes part in fewer rounds, spread over all of them. What may not be timed (it is
not installed, it computes something else, it fails) stays a row that says so.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.messages import say
from harness.evaluation.timing import repeat

Status = Literal["ok", "ceiling", "missing", "wrong", "failed", "not timed"]
"""`ceiling`: no candidate, but what the machine can do. `wrong`: disagrees with the reference."""

AT_LEAST = 3
"""Repetitions of a candidate that is slower than the budget allows, by up to so many times; else one."""


@dataclass
class Entry:
    """One candidate at one size: a row of the result."""

    name: str
    columns: dict[str, Any]
    """What was measured, at which size, with which error: all that is known before the timing."""
    work: Callable[[], object] | None = None
    status: Status = "ok"
    note: str = ""
    """Why there is no time, or what a reader has to know about it."""
    ours: bool = False
    """The one that ratios are taken to."""
    bytes_moved: float | None = None
    """That any implementation has to read and write."""
    flops: float | None = None
    expected_seconds: float | None = None
    """Known from earlier calls; if it is beyond the budget, there is no warm-up."""
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def give_up(self, status: Status, note: str) -> None:
        self.work, self.status, self.note = None, status, note


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How often: up to `repetitions` rounds, and about `seconds` for each candidate."""

    repetitions: int = 20
    seconds: float = 1.0
    settling: int = 0
    """Calls before each one that is timed, of work that follows itself where it is used, as a training step
    does: the first after another candidate's finds nothing of its own in the caches."""

    def rounds_for(self, seconds_each: float) -> int:
        affordable = int(self.seconds / seconds_each) if seconds_each > 0 else self.repetitions
        at_least = AT_LEAST if seconds_each <= AT_LEAST * self.seconds else 1
        return min(self.repetitions, max(at_least, affordable))


def compete(entries: Sequence[Entry], budget: Budget, device: torch.device, title: str) -> None:
    """Fill in the seconds of every entry that has work to be timed."""

    def once(entry: Entry, settling: int = 0) -> float | None:
        try:
            assert entry.work is not None
            return float(repeat(entry.work, device=device, seconds=0.0, at_least=1, warmup=settling)[0])
        except Exception as error:
            entry.give_up("failed", in_one_line(error))
            return None

    say(title)
    times: dict[int, list[float]] = {index: [] for index, entry in enumerate(entries) if entry.work}
    turns: dict[int, int] = {}
    for index in times:
        seconds = entries[index].expected_seconds
        if seconds is None or seconds <= budget.seconds:
            seconds = once(entries[index])  # compiles and allocates
            if seconds is not None and seconds <= budget.seconds:
                seconds = once(entries[index])
        if seconds is not None:
            turns[index] = budget.rounds_for(seconds)
    shuffled = random.Random(0)
    with without_garbage_collection():
        for number in range(budget.repetitions):
            order = [index for index, n in turns.items() if takes_part(number, n, budget.repetitions)]
            shuffled.shuffle(order)
            for index in order:
                seconds = once(entries[index], budget.settling) if entries[index].work else None
                if seconds is not None:
                    times[index].append(seconds)
            gc.collect(0)  # between rounds; what is younger than the last one
    for index, found in times.items():
        if entries[index].work:
            entries[index].seconds = np.array(found)


def takes_part(number: int, turns: int, rounds: int) -> bool:
    """Whether a candidate with `turns` of the rounds has one in this round: evenly spread."""
    return (number + 1) * turns // rounds > number * turns // rounds


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def results(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One row an entry, in order, with times, the ratio to ours and the share of the ceiling."""
    ours = next((median(e) for e in entries if e.ours and len(e.seconds)), None)
    ceiling = next((e for e in entries if e.status == "ceiling" and e.bytes_moved and len(e.seconds)), None)
    highest = throughput(ceiling) if ceiling else None
    return [_row(entry, ours, highest) for entry in entries]


def _row(entry: Entry, ours: float | None, highest: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"name": entry.name, **entry.columns, "status": entry.status, "note": entry.note}
    row["ours"] = entry.ours
    row["bytes_moved"] = entry.bytes_moved
    row["ceiling_gb_per_s"] = highest
    if len(entry.seconds) == 0:
        return row
    lower, middle, upper = np.quantile(entry.seconds, (0.25, 0.5, 0.75)).tolist()
    row |= {
        "median_ms": 1e3 * middle,
        "iqr_ms": 1e3 * (upper - lower),
        "min_ms": 1e3 * float(entry.seconds.min()),
        "repetitions": len(entry.seconds),
    }
    if ours is not None and entry.status == "ok":
        row["ratio_to_ours"] = middle / ours
    if entry.bytes_moved:
        row["gb_per_s"] = throughput(entry)
        row["share_of_ceiling"] = throughput(entry) / highest if highest else None
    if entry.flops:
        row["gflop_per_s"] = entry.flops / middle / 1e9
    return row


def median(entry: Entry) -> float:
    return float(np.median(entry.seconds))


def throughput(entry: Entry) -> float:
    """GB/s at the median time."""
    return (entry.bytes_moved or 0.0) / median(entry) / 1e9


def in_one_line(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
