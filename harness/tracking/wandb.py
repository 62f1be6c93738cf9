"""Weights & Biases, by its own client: Ray's callback wants a Tuner's trials, and an actor for each.

Without a network, or without an account on this machine, runs are kept below the results folder, and
`wandb sync` sends them when there is one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from harness.contracts import TrackedTrial
from harness.errors import HarnessError
from harness.tracking.notice import log
from harness.tracking.reach import reachable
from harness.tracking.settings import settings_of

ID_DIGITS = 16


class WeightsAndBiases:
    """Weights & Biases runs (pip install wandb), one a trial; offline where there is no network."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        project: str | None = None
        """None: the name of the suite."""
        entity: str | None = None
        mode: Literal["online", "offline"] | None = None
        """None: WANDB_MODE, else online where there is an account and the server answers."""

    def __init__(self, config: Config, *, suite: str, folder: Path) -> None:
        folder = folder.resolve()
        for name in ("CACHE", "DATA"):  # else below the home folder
            os.environ.setdefault(f"WANDB_{name}_DIR", str(folder / name.lower()))
        try:
            import wandb
        except ImportError as error:
            raise HarnessError(f"wandb does not import ({error}); pip install wandb") from None
        self.wandb, self.folder = wandb, folder
        self.entity, self.project = config.entity, config.project or suite
        self.mode = config.mode or self._mode()

    def _mode(self) -> str:
        if said := os.environ.get("WANDB_MODE"):
            return said
        server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
        if _has_account(server) and reachable(server):
            return "online"
        sync = f"wandb sync {self.folder / 'wandb'}/offline-run-*"
        log.warning("track: wandb is offline (no network, or no account here); later: %s", sync)
        return "offline"

    def begin(self, trial: TrackedTrial) -> Run:
        name = trial.key[:ID_DIGITS]
        self.folder.mkdir(parents=True, exist_ok=True)
        for earlier in self.folder.glob(f"wandb/offline-run-*-{name}"):
            shutil.rmtree(earlier, ignore_errors=True)
        return Run(
            self.wandb.init(
                entity=self.entity,
                project=self.project,
                group=trial.variant,
                name=f"{trial.variant}-s{trial.seed}",
                id=name,
                resume="allow" if self.mode == "online" else None,
                mode=self.mode,
                dir=str(self.folder),
                config=settings_of(trial),
                reinit="create_new",  # several trials at a time
                settings=self.wandb.Settings(silent=True, console="off", x_disable_stats=True),
            )
        )


def _has_account(server: str) -> bool:
    """Whether `wandb login` has been here, or a key is in the environment."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc().authenticators(urlsplit(server).hostname or "") is not None
    except (OSError, NetrcParseError):
        return False


class Run:
    """`curve/…` over steps; the final columns as the run's summary."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def point(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({f"curve/{name}": value for name, value in values.items()}, step=step)

    def end(self, status: str, columns: Mapping[str, float], error: str) -> None:
        self.run.summary.update({**columns, "status": status, "error": error})
        self.run.finish(exit_code=0 if status == "ok" else 1)
