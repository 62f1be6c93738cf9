"""The metric `horizon`: which level of a model remembers how far back, measured in three ways.

In the row stand a few numbers a level and two for the claim that deep levels carry the long-range
dependencies; whole curves go into `series/horizon_cut.csv`, `horizon_memory.csv` and
`horizon_gradient.csv` of the trial's folder. docs/memory_horizon.md says how to read them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from harness.contracts import Column, Lane, MetricContext, PlacedMixer, require
from harness.evaluation.horizon.cut import RiseSums, cut_bits, distances, masked_bits, phase_of
from harness.evaluation.horizon.decays import memories
from harness.evaluation.horizon.gradient import GradientSizes, boundary, measure_gradients, reaches
from harness.evaluation.horizon.levels import CannotIsolate, levels_of, placed_mixers
from harness.evaluation.horizon.series import cut_rows, memory_rows, write_series
from harness.evaluation.horizon.summary import (
    EVERYTHING,
    LEVELS,
    Curve,
    curve_columns,
    gradient_columns,
    long_distance,
    memory_columns,
)
from harness.evaluation.nll import SPLITS
from harness.evaluation.windows import window_batches
from harness.training.precision import precision

Batch = tuple[Tensor, Tensor]


def _per_level() -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for level in range(LEVELS):
        columns |= {
            f"horizon_rise_bits_level{level}": Column(
                description=f"rise of the NLL when level {level} remembers nothing", unit="bits/sample"
            ),
            f"horizon_long_bits_level{level}": Column(
                description=f"rise of the NLL when level {level} knows no more than horizon_long_ms, and no "
                "less than half of it",
                unit="bits/sample",
            ),
            f"horizon_half_ms_level{level}": Column(
                description=f"distance of cuts of level {level} at which half of its rise is left", unit="ms"
            ),
            f"horizon_memory_ms_level{level}": Column(
                description=f"median effective memory of the channels of level {level}, by their decays",
                unit="ms",
            ),
        }
    return columns


class Horizon:
    """Memory horizon of each level: cuts of its state, decays of its gates, gradients through it."""

    lane: ClassVar[Lane] = "training"
    columns: ClassVar[Mapping[str, Column]] = {
        "horizon_levels": Column(description="levels (or layers) with a memory"),
        "horizon_context": Column(description="longest window that was read", unit="samples"),
        "horizon_long_ms": Column(
            description="what counts as long: a power of two of samples, at most a quarter of the window",
            unit="ms",
        ),
        "horizon_level_correlation": Column(
            description="rank correlation of a level with the distance at which half of its rise is left"
        ),
        "horizon_depth_short": Column(
            description="mean level by what memory of less than about horizon_long_ms is worth"
        ),
        "horizon_depth_long": Column(
            description="mean level by what memory of more than about horizon_long_ms is worth"
        ),
        "horizon_gradient_depth_short": Column(
            description="mean level by the gradient that reaches back the least distance"
        ),
        "horizon_gradient_depth_long": Column(
            description="mean level by the gradient that reaches back the greatest distance"
        ),
        "horizon_memory_correlation": Column(
            description="rank correlation of a level with the median effective memory of its channels"
        ),
        "horizon_remarks": Column(description="what could not be measured, and why"),
        **_per_level(),
    }

    @dataclass(frozen=True, kw_only=True)
    class Config:
        split: str = "test"
        clips: int = 16
        """Evenly spaced clips that are read, in windows of the training crop."""
        phases: int = 2
        """Offsets of the cuts that a batch is measured at for every distance."""
        gradient_batches: int = 4
        """Passes whose gradients are taken apart, of one window for each distance; 0: none."""
        batch_tokens: int | None = None
        """Tokens of a forward pass; null: what suits the device."""

        def __post_init__(self) -> None:
            known = self.split in SPLITS
            require(known, "split", f"must be one of {', '.join(SPLITS)}, got {self.split!r}")
            for name in ("clips", "phases"):
                require(getattr(self, name) >= 1, name, f"must be at least 1, got {getattr(self, name)}")
            require(self.gradient_batches >= 0, "gradient_batches", "must not be negative")
            tokens = self.batch_tokens
            require(tokens is None or tokens >= 1, "batch_tokens", "must be at least 1, or null")

    def __init__(self, config: Config) -> None:
        self.config = config

    def measure(self, context: MetricContext) -> dict[str, Any]:
        """The row's columns; the curves go into the folder `series`."""
        mixers = placed_mixers(context.model)
        if not mixers:
            return {
                "horizon_levels": 0,
                "horizon_remarks": "the model lists no mixers, and holds no TemporalMixer",
            }
        strides = levels_of(mixers)
        batches = list(self._batches(context, self.config.clips))
        length = max(tokens.shape[1] for tokens, _ in batches)
        rate = context.dataset.sample_rate
        scale = 1000 / rate if rate else math.nan
        with torch.no_grad(), precision("float32"):
            context.progress(0.0, "memory by decays")
            memory = self._memories(context.model, batches, mixers)
            curves = self._curves(context, batches, mixers, length)
        sizes, remarks = self._gradients(context, mixers, length)
        write_series(context.folder, "horizon_cut", cut_rows(curves, strides), scale)
        write_series(context.folder, "horizon_memory", memory_rows(memory, strides), scale)
        gradients = list(sizes.rows(strides))
        write_series(context.folder, "horizon_gradient", gradients, scale)
        return {
            "horizon_levels": len(strides),
            "horizon_context": length,
            **curve_columns(curves, strides, long_distance(length), scale, remarks),
            **memory_columns(memory, scale),
            **gradient_columns(gradients),
            "horizon_remarks": "; ".join(remarks),
        }

    def _batches(self, context: MetricContext, clips: int) -> Iterator[Batch]:
        return window_batches(
            context.dataset.splits[self.config.split],
            window=context.config["train"]["crop"],
            max_clips=clips,
            batch_tokens=self.config.batch_tokens,
            device=context.device,
        )

    def _memories(
        self, model: Any, batches: Sequence[Batch], mixers: Sequence[PlacedMixer]
    ) -> dict[int, np.ndarray]:
        found: dict[int, list[np.ndarray]] = {}
        for tokens, lengths in batches:
            for level, samples in memories(model, tokens, lengths, mixers).items():
                found.setdefault(level, []).append(samples)
        return {level: np.concatenate(parts) for level, parts in found.items()}

    def _curves(
        self, context: MetricContext, batches: Sequence[Batch], mixers: Sequence[PlacedMixer], length: int
    ) -> dict[str, Curve]:
        """Level, or "all", -> rises of the NLL by samples between cuts."""
        strides = levels_of(mixers)
        parts = {str(level): {level} for level in strides} | {EVERYTHING: {*strides}}
        start = float(torch.rand((), generator=torch.Generator().manual_seed(context.seed)))
        todo = [(part, every) for part in parts for every in distances(length)]
        sums = {each: RiseSums() for each in todo}
        for number, (tokens, lengths) in enumerate(batches):
            whole = masked_bits(context.model, tokens, lengths)
            for place, (part, every) in enumerate(todo):
                done = (number + place / len(todo)) / len(batches)
                context.progress(0.8 * done, f"cuts of level {part} every {every} samples")
                levels = parts[part]
                if 1 < every <= min(strides[level] for level in levels):
                    sums[part, every] = sums[part, 1]  # restarts every step, as a cut every sample does
                    continue
                for turn in range(1 if every == 1 else self.config.phases):
                    phase = phase_of(number, every, start + turn / self.config.phases)
                    bits = cut_bits(
                        context.model, tokens, lengths, mixers, levels=levels, every=every, phase=phase
                    )
                    sums[part, every].add(bits - whole, lengths, every=every, phase=phase)
        return {
            part: {every: sums[part, every].means() for every in distances(length)}
            for part in parts
            if distances(length)
        }

    def _gradients(
        self, context: MetricContext, mixers: Sequence[PlacedMixer], length: int
    ) -> tuple[GradientSizes, list[str]]:
        """Of full windows alone; what could not be taken apart is remarked."""
        sizes, wanted = GradientSizes(), self.config.gradient_batches
        if not wanted:
            return sizes, []
        size = max(len(reaches(length, boundary(length, mixers))), 1)
        batches = self._batches(context, clips=wanted * size)
        full = [window for tokens, lengths in batches for window in tokens[lengths == length]]
        groups = [full[first : first + size] for first in range(0, len(full), size)][:wanted]
        try:
            with precision("float32"):
                for turn, group in enumerate(groups):
                    context.progress(0.8 + 0.2 * turn / len(groups), "gradients by level")
                    measure_gradients(context.model, torch.stack(group), mixers, sizes, turn=turn)
        except CannotIsolate as reason:
            return GradientSizes(), [f"no gradients by level: {reason}"]
        if not sizes.clips:
            return sizes, ["no gradients by level: windows are too short for the strides"]
        return sizes, []
