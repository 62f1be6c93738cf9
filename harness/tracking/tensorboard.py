"""TensorBoard: event files below the results folder, a folder for each trial.

Written by `tensorboardX`, which comes with Ray; `tensorboard` itself is only needed to look at them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import TrackedTrial
from harness.tracking.settings import settings_of

LATEST = 20.0
"""Seconds until a point is on disk."""


class TensorBoard:
    """TensorBoard event files in results/<suite>/tensorboard; on by default."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def __init__(self, config: Config, *, suite: str, folder: Path) -> None:
        self.folder = folder

    def begin(self, trial: TrackedTrial) -> EventFile:
        folder = self.folder / trial.name
        shutil.rmtree(folder, ignore_errors=True)
        return EventFile(folder, trial)


class EventFile:
    """`curve/…` over steps; at the end `final/…`, and the settings as hyperparameters."""

    def __init__(self, folder: Path, trial: TrackedTrial) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(folder), flush_secs=int(LATEST))
        self.settings: dict[str, Any] = settings_of(trial)
        self.last = 0

    def point(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"curve/{name}", value, step)
        self.last = step

    def end(self, status: str, columns: Mapping[str, float], error: str) -> None:
        from tensorboardX.summary import hparams

        final = {f"final/{name}": value for name, value in columns.items()}
        for summary in hparams({**self.settings, "status": status}, final):
            self.writer.file_writer.add_summary(summary)
        for name, value in final.items():
            self.writer.add_scalar(name, value, self.last)
        self.writer.add_text("status", f"{status}: {error}" if error else status, self.last)
        self.writer.close()
