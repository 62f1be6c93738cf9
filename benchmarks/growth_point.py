"""One point of `benchmarks.growth`, in a process of its own: JSON in as the only argument, JSON out.

python -m benchmarks.growth_point '{"model": …, "batch": 1, "length": 1024, "threads": 1, …}'
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks import training
from benchmarks.contest import in_one_line, without_garbage_collection
from harness.evaluation.flops import count_parameters
from harness.evaluation.memory import MIB, PeakMemory
from harness.evaluation.timing import repeat

CHECKED = 256
"""Tokens of a clip that are compared with double precision."""


def measure(point: dict[str, Any]) -> dict[str, Any]:
    """Columns of the row of a point: model, batch, length, dtype, device, threads, repetitions.

    Peak memory is that of the optimiser, the averaged weights and two steps.
    """
    try:
        return _measure(point)
    except torch.OutOfMemoryError as error:
        return {"status": "out of memory limit", "note": in_one_line(error)}
    except Exception as error:
        return {"status": "failed", "note": in_one_line(error)}


def _measure(point: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(point["threads"])
    device = torch.device(point["device"])
    model = training.model_of(point["model"], device)
    tokens, lengths = training.random_clips(point["batch"], point["length"], device)
    error = training.error_of(model, model, tokens[:, :CHECKED], point["dtype"])
    found: dict[str, Any] = {"parameters": count_parameters(model), "max_error": error}
    if not error <= training.TOLERANCE[point["dtype"]]:
        return {**found, "status": "wrong", "note": f"max_error is {error:.1e}"}
    with PeakMemory(device) as memory:
        step = training.step_of(model, (tokens, lengths), point["dtype"])
        step()
        step()
    with without_garbage_collection():
        seconds = repeat(step, device=device, seconds=0.0, at_least=point["repetitions"], warmup=0)
    lower, middle, upper = (1e3 * np.quantile(seconds, (0.25, 0.5, 0.75))).tolist()
    return {
        **found,
        "status": "ok",
        "median_ms": middle,
        "iqr_ms": upper - lower,
        "min_ms": 1e3 * float(seconds.min()),
        "repetitions": len(seconds),
        "peak_memory_mib": memory.bytes / MIB,
        "memory_method": memory.method,
        "tokens_per_second": 1e3 * point["batch"] * point["length"] / middle,
    }
