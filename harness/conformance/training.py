"""Does it learn? Ten steps of our own training on clips that repeat, in evaluation bits before and after."""

from __future__ import annotations

from typing import Any

import torch

from harness import configuration
from harness.conformance.probes import SEED
from harness.conformance.subjects import ModelSubject
from harness.conformance.toy import ToyConfig, ToyData
from harness.conformance.verdict import Verdict, Violation, judge
from harness.training.config import TrainConfig
from harness.training.loop import train

STEPS = 10
SETTINGS = TrainConfig(
    steps=STEPS, batch_size=4, learning_rate=5e-3, warmup_steps=0, ema_decay=0.0, validate_every=STEPS
)
AROUND = {"name": "poolformer", "width": 16, "layers": 1, "pooling": [2], "dropout": 0.0}
"""The model in which a mixer is trained."""


def check_training(kind: str, name: str, options: Any) -> list[Verdict]:
    """Train a registered model, or a Poolformer of a registered mixer."""
    spec = {"name": name, **options}
    found = configuration.resolve("models", spec if kind == "models" else {**AROUND, "mixer": spec})
    subject = ModelSubject(found.cls, found.config, ToyConfig().vocab_size)
    label = f"{name} {dict(options)}" if options else name
    with torch.random.fork_rng(devices=[]):
        return judge((ten_training_steps,), subject, label)


def ten_training_steps(subject: ModelSubject) -> str:
    """The loss is finite, its gradient usable, and the clips are better known afterwards."""
    result = train(subject.blank(SEED), ToyData(ToyConfig()), SETTINGS, seed=SEED, device="cpu")
    if result.diverged:
        raise Violation(f"{result.reason}; look for log of 0, overflow, or too large initial weights")
    if result.skipped_updates:
        raise Violation(
            f"{result.skipped_updates} of {STEPS} updates were skipped, as their loss or gradient was not "
            f"finite or larger than {SETTINGS.skip_norm:g}; scale the initial weights down"
        )
    before, after = (row.nll_bits_validation for row in (result.history[0], result.history[-1]))
    if not after < before:
        raise Violation(
            f"{before:.3f} bits before, {after:.3f} after {STEPS} steps on clips that repeat 4 tokens; "
            f"look for detach() or no_grad() in forward, targets shifted twice, or an initialisation that "
            f"blocks the signal"
        )
    return f"{before:.2f} bits before, {after:.2f} after"
