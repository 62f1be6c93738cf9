"""A training in a process of its own, to be killed, and the same one undisturbed."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from harness import configuration
from harness.conformance.toy import ToyConfig, ToyData
from harness.training.config import TrainConfig
from harness.training.loop import train
from harness.training.result import TrainingResult
from harness.training.resume import ResumeFile
from harness.training.seeds import seed_everything

PRELOAD = ["harness.training.loop", "torch._dynamo", "models.poolformer"]
"""What a server imports from which processes are forked."""

MODEL = {"name": "poolformer", "width": 8, "layers": 1, "pooling": [2], "dropout": 0.2}
SETTINGS = TrainConfig(
    steps=16, batch_size=3, crop=20, warmup_steps=3, validate_every=7, validation_clips=2,
    schedule="cosine", ema_decay=0.9, skip_norm=4.8,
)  # fmt: skip


def trained(path: Path, sending: Connection | None = None) -> tuple[torch.nn.Module, TrainingResult]:
    """Trains, or goes on to train, and says each step; the state is on disk after every one."""
    torch.set_num_threads(1)
    dataset = ToyData(ToyConfig())
    seed_everything("initialisation", 0)
    model = configuration.build("models", MODEL, vocab_size=dataset.vocab_size)
    resume = ResumeFile(path, identity={"key": "k"}, every=0.0, largest_share=float("inf"))

    def say(step: int, steps: int, bits: float) -> None:
        if sending is not None:
            sending.send((os.getpid(), step))

    return model, train(model, dataset, SETTINGS, seed=0, device="cpu", on_progress=say, resume=resume)
