"""A model, a data set and a metric so small that a trial takes no time; and trials that go wrong.

A plugin file as a stranger would write it; the tests of execution name it in their suites.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import nn

from harness.contracts import Column, Provenance, Split, only_counted
from harness.registry import register


@register("models", "tiny")
class Toy(nn.Module):
    """Logits from the previous token alone; `wrong` makes a trial fail in a chosen way."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 4
        wrong: str = ""
        pause: float = 0.0
        once: str = ""

    def __init__(self, config, *, vocab_size):
        super().__init__()
        self.config = config
        self.table = nn.Embedding(vocab_size + 1, config.width)
        self.head = nn.Linear(config.width, vocab_size)
        self.start = vocab_size

    def forward(self, tokens):
        if self.config.wrong and not only_counted(tokens):
            self.go_wrong()
        time.sleep(self.config.pause)
        shifted = torch.nn.functional.pad(tokens, (1, 0), value=self.start)[:, :-1]
        return self.head(self.table(shifted))

    def go_wrong(self):
        match self.config.wrong:
            case "raise":
                raise RuntimeError("it <broke>")
            case "exit":
                os._exit(7)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "memory":
                raise MemoryError("no room")
            case "worker" if not self.happened():
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)  # on a busy machine a trial may end before its worker does
            case "actor" if not self.happened():
                os.kill(psutil.Process().parent().ppid(), signal.SIGKILL)
                time.sleep(60)
            case "nan":
                self.head.weight.data.fill_(float("nan"))

    def happened(self):
        """Whether this has gone wrong before, in whichever process."""
        marker = Path(self.config.once)
        before = marker.exists()
        marker.touch()
        return before

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 0)

    def step(self, token, state):
        if token is None:
            token = torch.full((len(state),), self.start)
        return self.head(self.table(token)), state

    def state_size(self, batch_size, length):
        return 0


@register("datasets", "tiny_data")
class ToyData:
    """Random tokens."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        length: int = 16
        vocab_size: int = 16
        sample_rate: int = 8000

    def __init__(self, config):
        self.vocab_size, self.sample_rate, self.length = config.vocab_size, config.sample_rate, config.length
        draw = np.random.default_rng(0)
        self.splits = {
            name: Split(
                tokens=draw.integers(0, 16, (12, config.length)).astype(np.uint8),
                lengths=np.full(12, config.length),
            )
            for name in ("train", "validation", "test")
        }
        self.provenance = Provenance(
            source="drawn", version="1", licence="none", sha256="0" * 64, clips={"train": 12}
        )

    def decode(self, tokens):
        return tokens / 8.0 - 1.0


@register("metrics", "alone")
class Alone:
    """Notes when it began and ended, to show that nothing ran beside it."""

    lane = "exclusive"
    columns = {
        "alone_from": Column(description="start", unit="s"),
        "alone_to": Column(description="end", unit="s"),
    }

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pause: float = 0.05
        broken: bool = False

    def __init__(self, config):
        self.config = config

    def measure(self, context):
        if self.config.broken:
            raise RuntimeError("the clock stands still")
        start = time.time()
        time.sleep(self.config.pause)
        return {"alone_from": start, "alone_to": time.time()}
