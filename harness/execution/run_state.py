"""What a run is doing now, for whoever asks from outside: `run.json` in the results folder.

Nothing depends on it: it is written now and then while a run works, and goes when the run ends. Whether a
run works at all, the store's lock tells.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.execution.forecast import Forecast
from harness.execution.provenance import command_line
from harness.store.atomic import write_text

if TYPE_CHECKING:
    from harness.execution.executor import Events
    from harness.execution.plan import Plan
    from harness.execution.run_trial import Task
    from harness.store.record import Record

NAME = "run.json"

SECONDS = 2.0
"""How often it is written."""


class RunState:
    """Events on their way to others: passes them on and keeps the file."""

    def __init__(self, folder: Path, plan: Plan, events: Events) -> None:
        self.path, self.events = folder / NAME, events
        self.forecast = Forecast(plan)
        self.running: dict[str, dict[str, Any]] = {}
        self.about = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command_line(),
            "slots": plan.slots,
        }
        self.written_at = 0.0

    def __enter__(self) -> RunState:
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def waiting(self, words: str) -> None:
        self.events.waiting(words)

    def planned(self, plan: Plan) -> None:
        self.events.planned(plan)

    def started(self, task: Task) -> None:
        self.events.started(task)
        self.running[task.trial.key] = {
            "lane": task.lane,
            "attempt": task.attempt,
            "since": time.time(),
            "fraction": 0.0,
            "text": "starting",
        }
        self._write_now_and_then()

    def progress(self, task: Task, fraction: float, text: str) -> None:
        self.events.progress(task, fraction, text)
        self.forecast.progress(task, fraction)
        if task.trial.key in self.running:
            self.running[task.trial.key] |= {"fraction": fraction, "text": text}
        self._write_now_and_then()

    def ended(self, task: Task, record: Record) -> None:
        self.events.ended(task, record)
        self.forecast.ended(task, record)
        self.running.pop(task.trial.key, None)
        self._write_now_and_then()

    def _write_now_and_then(self) -> None:
        if time.monotonic() - self.written_at > SECONDS:
            self._write()

    def _write(self) -> None:
        self.written_at = time.monotonic()
        state = {
            **self.about,
            "updated": time.time(),
            "fraction": self.forecast.fraction,
            "seconds_left": self.forecast.seconds_left,
            "trials": self.running,
        }
        with contextlib.suppress(OSError):  # a full disk is for the records to complain about
            write_text(self.path, json.dumps(state, indent=1) + "\n")


def read_run_state(folder: Path) -> dict[str, Any]:
    """What the file says, however old; empty where there is none."""
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def who_runs(folder: Path) -> str:
    """For the run that has to wait."""
    state = read_run_state(folder)
    who = f" (process {state['pid']} on {state['host']}, since {state['since']})" if "pid" in state else ""
    return f"another run{who} works in {folder}; waiting for it to end"
