"""The learning rate of each update: a linear warm-up, then constant or a half cosine to zero."""

from __future__ import annotations

import math

import numpy as np

from harness.training.config import TrainConfig


def learning_rate(config: TrainConfig, applied: int) -> float:
    """The rate of the update that comes after `applied` applied (not skipped) ones.

    The first update has rate zero when there is a warm-up. Evaluated in float32 with the
    multiplication and addition fused, as optax does, so that runs of the original Poolformer
    code are reproduced to the last bit of the rate.
    """
    peak = np.float32(config.learning_rate)
    warmup = config.warmup_steps
    if applied < warmup:
        remaining = np.float32(1) - np.float32(applied) / np.float32(warmup)
        return float(np.float32(float(peak) - float(peak) * float(remaining)))
    if config.schedule == "constant":
        return float(peak)
    decay = max(config.steps - warmup, 1)
    angle = np.float32(math.pi) * np.float32(min(applied - warmup, decay)) / np.float32(decay)
    return float(peak * (np.float32(0.5) * (np.float32(1) + np.cos(angle))))
