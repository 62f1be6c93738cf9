"""template_name: the log of each trial as lines of JSON, for whatever reads those.

Everything below is yours to change. `harness check template_name.py` says whether it still takes a log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import TrackedTrial
from harness.registry import register


@register("trackers", "template_name")
class TemplateName:
    """A file of JSON lines for each trial (the line that `harness list trackers` shows)."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        suffix: str = ".jsonl"
        """Of the files' names."""

    def __init__(self, config: Config, *, suite: str, folder: Path) -> None:
        self.config = config
        self.folder = folder

    def begin(self, trial: TrackedTrial) -> Lines:
        """A new log; it replaces what there is of this trial."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Lines(self.folder / f"{trial.name}{self.config.suffix}", trial)


class Lines:
    """One line at the start, one a point of the learning curve, one at the end."""

    def __init__(self, file: Path, trial: TrackedTrial) -> None:
        self.file = file
        self.file.write_text("", encoding="utf-8")
        self._add(trial=trial.name, config=dict(trial.config))

    def point(self, step: int, values: Mapping[str, float]) -> None:
        self._add(step=step, **values)

    def end(self, status: str, columns: Mapping[str, float], error: str) -> None:
        self._add(status=status, error=error, **columns)

    def _add(self, **values: Any) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, default=str) + "\n")
