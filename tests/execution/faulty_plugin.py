"""A model that goes wrong in every way there is, and a metric that hangs: what isolation has to bear."""

import mmap
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from harness.contracts import Provenance, Split, only_counted
from harness.errors import DataError
from harness.registry import register


@register("models", "faulty")
class Faulty(nn.Module):
    """Goes wrong in its first forward pass, as `way` says."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        way: str = ""
        pause: float = 0.0
        marker: str = ""

    def __init__(self, config, *, vocab_size):
        super().__init__()
        self.config = config
        self.logits = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, tokens):
        if not only_counted(tokens):
            self.go_wrong()
        return self.logits.expand(*tokens.shape, -1)

    def go_wrong(self):
        time.sleep(self.config.pause)
        match self.config.way:
            case "raise":
                raise RuntimeError("it broke")
            case "exit":
                os._exit(7)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                child = subprocess.Popen(["sleep", "600"])
                Path(self.config.marker).write_text(str(child.pid))
                time.sleep(600)
            case "torch memory":
                torch.zeros(50 * 2**30, dtype=torch.uint8)
            case "numpy memory":
                np.ones(50 * 2**30, dtype=np.uint8)
            case "shared memory":
                np.frombuffer(mmap.mmap(-1, 3 * 2**29), np.uint8).sum()  # pages count once touched
                time.sleep(5)
            case "nan":
                self.logits.data.fill_(float("nan"))

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 0)

    def step(self, token, state):
        return self.logits.expand(len(state), -1), state

    def state_size(self, batch_size, length):
        return 0


@register("datasets", "faulty_data")
class FaultyData:
    """Zeros; refuses when a worker asks for it and `broken` is set."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        broken: bool = False
        length: int = 8
        vocab_size: int = 4
        sample_rate: int = 8000

    def __init__(self, config):
        if config.broken:
            raise DataError("clip 3 is no sound")
        self.vocab_size, self.sample_rate, self.length = config.vocab_size, config.sample_rate, config.length
        split = Split(tokens=np.zeros((4, config.length), np.uint8), lengths=np.full(4, config.length))
        self.splits = dict.fromkeys(("train", "validation", "test"), split)
        self.provenance = Provenance(
            source="made", version="1", licence="none", sha256="0" * 64, clips={"train": 4}
        )

    def decode(self, tokens):
        return tokens / 2.0 - 1.0
