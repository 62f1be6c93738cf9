"""How long a piece of work takes, repeated within a budget of seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch


def repeat(
    work: Callable[[], object],
    *,
    device: torch.device,
    seconds: float,
    at_least: int,
    warmup: int,
) -> np.ndarray:
    """Float64[n] seconds of each of n >= at_least repetitions after `warmup` ones.

    Repeats until the budget is spent. On a GPU each repetition lies between two device events.
    """
    measure = _device_seconds if device.type == "cuda" else _wall_seconds
    for _ in range(warmup):
        measure(work)
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < at_least or time.perf_counter() < end:
        found.append(measure(work))
    return np.array(found)


def _wall_seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _device_seconds(work: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3
