"""How long one training step of a configuration takes, on random tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from harness import configuration
from harness.evaluation.timing import repeat
from harness.training.config import TrainConfig
from harness.training.step import compile_ahead, training_step
from harness.training.update import Update

THREADS = 1
"""As a trial has them unless `harness run` is told otherwise."""

SECONDS = 1.0
AT_LEAST = 5
WARMUP = 2


def step_seconds(spec: Mapping[str, Any], train: TrainConfig, *, vocab_size: int, length: int) -> float:
    """Median of forward, backward and update on one batch of whole clips or crops of `length` tokens.

    Raises: ConfigError for a model that refuses its configuration.
    """
    device, threads = _device(), torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = configuration.build("models", spec, vocab_size=vocab_size).to(device).train()
            tokens = torch.randint(vocab_size, (train.batch_size, length), device=device)
            lengths = torch.full((train.batch_size,), length, device=device)
            update = Update(model, train)
            compile_ahead(update, tokens, lengths)
            seconds = repeat(
                lambda: training_step(update, tokens, lengths),
                device=device,
                seconds=SECONDS,
                at_least=AT_LEAST,
                warmup=WARMUP,
            )
    finally:
        torch.set_num_threads(threads)
    return float(np.median(seconds))


def device_and_threads() -> str:
    """With what `step_seconds` measures."""
    from harness.execution.provenance import device_name

    return f"{device_name(_device())}, {THREADS} thread{'s' if THREADS != 1 else ''}"


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
