"""Wall-clock time that waits for the device."""

from __future__ import annotations

import time

import torch


class Clock:
    """A stop-watch that runs inside its `with` block; `seconds` is the sum of all of them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._started = now(self.device)

    def __exit__(self, *_: object) -> None:
        self.seconds += now(self.device) - self._started


def now(device: torch.device) -> float:
    """Seconds, read once all work queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
