"""What the curves of all levels say, in a few numbers: does memory move down the levels with distance?

    half(level)     the distance k at which the rise of the NLL is half of that at k = 1
    correlation     Spearman's, of the level's number with that distance
    depth           the mean level, weighted by what its memory is worth: of that longer than about K,
                    the rise of late tokens at K, and of the rest, rise(1) - that

Rises of different levels need not add up to that of all: levels can stand in for each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from harness.evaluation.horizon.cut import Rises

WORTHLESS_BITS = 1e-3
"""A level whose whole memory is worth less has no half of it that could be told from noise."""

Curve = Mapping[int, Rises]
"""Samples between cuts -> rises of the NLL."""

EVERYTHING = "all"
"""The curve of all levels cut at once."""

LEVELS = 16
"""Levels, or layers, that have columns in the row; curves of more stand in the series."""


def half_distance(curve: Curve) -> float:
    """Samples between cuts at which half of the rise is left, between two of the curve on a logarithmic axis.

    NaN for a level whose memory is worth nothing; infinite where more than half is left at the longest.
    """
    ways = sorted(curve)
    half = curve[ways[0]].every / 2
    if 2 * half < WORTHLESS_BITS:
        return math.nan
    for near, far in pairwise(ways):
        if curve[far].every <= half:
            part = (curve[near].every - half) / (curve[near].every - curve[far].every)
            return 2 ** (math.log2(near) + part * math.log2(far / near))
    return math.inf


def long_distance(length: int) -> int:
    """K: the largest power of two up to a quarter of a window, so that most of it lies beyond K."""
    return int(2 ** math.floor(math.log2(max(length // 4, 1))))


def depth(weights: Mapping[int, float]) -> float:
    """The mean level by weight, those below zero counted as zero; NaN where nothing is left."""
    positive = {level: max(weight, 0.0) for level, weight in weights.items() if not math.isnan(weight)}
    total = sum(positive.values())
    return sum(level * weight for level, weight in positive.items()) / total if total > 0 else math.nan


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's, ties by their mean rank, pairs with NaN left out; NaN for fewer than two values."""
    import pandas as pd

    pairs = pd.DataFrame({"x": x, "y": y}).dropna().rank()
    if len(pairs) < 2 or (pairs.nunique() < 2).any():
        return math.nan
    return float(np.corrcoef(pairs["x"], pairs["y"])[0, 1])


def curve_columns(
    curves: Mapping[str, Curve],
    strides: Mapping[int, int],
    long: int,
    scale: float,
    remarks: list[str],
) -> dict[str, Any]:
    by_level = {level: curves[str(level)] for level in strides if str(level) in curves}
    if not by_level:
        return {}
    halves = {level: half_distance(curve) for level, curve in by_level.items()}
    longest = max(max(curve) for curve in by_level.values())
    beyond = [str(level) for level, half in halves.items() if math.isinf(half)]
    if beyond:
        remarks.append(f"half_ms of level {', '.join(beyond)} is that of the longest cut or more")
    none = [str(level) for level, half in halves.items() if math.isnan(half)]
    if none:
        remarks.append(f"memory of level {', '.join(none)} is worth nothing")
    halves = {level: min(half, longest) for level, half in halves.items()}
    columns: dict[str, Any] = {"horizon_long_ms": long * scale}
    for level, curve in by_level.items():
        if level < LEVELS:
            columns[f"horizon_rise_bits_level{level}"] = curve[min(curve)].every
            columns[f"horizon_long_bits_level{level}"] = curve[long].late
            columns[f"horizon_half_ms_level{level}"] = halves[level] * scale
    columns["horizon_level_correlation"] = rank_correlation(list(halves), list(halves.values()))
    columns["horizon_depth_short"] = depth(
        {level: curve[min(curve)].every - curve[long].late for level, curve in by_level.items()}
    )
    columns["horizon_depth_long"] = depth({level: curve[long].late for level, curve in by_level.items()})
    return columns


def memory_columns(memory: Mapping[int, np.ndarray], scale: float) -> dict[str, Any]:
    medians = {level: float(np.median(values)) for level, values in memory.items()}
    columns = {
        f"horizon_memory_ms_level{level}": median * scale
        for level, median in medians.items()
        if level < LEVELS
    }
    return columns | {"horizon_memory_correlation": rank_correlation(list(medians), list(medians.values()))}


def gradient_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not rows:
        return {}
    ways = [row["distance_samples"] for row in rows]
    return {
        f"horizon_gradient_depth_{name}": depth(
            {
                int(row["level"]): row["gradient"]
                for row in rows
                if row["distance_samples"] == way and row["level"].isdigit()
            }
        )
        for name, way in (("short", min(ways)), ("long", max(ways)))
    }
