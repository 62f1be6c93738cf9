"""What any executor does, and the one that needs no Ray: tasks one after another, in this process."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.execution.run_trial import Task, run_task
from harness.execution.signals import StopAsked
from harness.store.atomic import remove_leftovers
from harness.store.lock import only_one_at_a_time
from harness.store.record import Record
from harness.training.stopping import never

if TYPE_CHECKING:
    from harness.execution.plan import Plan


class Events(Protocol):
    """Told what happens to each task, as it happens."""

    def waiting(self, words: str) -> None:
        """Another run works in the store; this one goes on after it."""

    def planned(self, plan: Plan) -> None:
        """What is to run is not what it was: another run has done some of it."""

    def started(self, task: Task) -> None: ...

    def progress(self, task: Task, fraction: float, text: str) -> None: ...

    def ended(self, task: Task, record: Record) -> None: ...


class Silence:
    """Events that nobody watches; what a watcher of one of them alone starts from."""

    def waiting(self, words: str) -> None:
        return None

    def planned(self, plan: Plan) -> None:
        return None

    def started(self, task: Task) -> None:
        return None

    def progress(self, task: Task, fraction: float, text: str) -> None:
        return None

    def ended(self, task: Task, record: Record) -> None:
        return None


class Executor(AbstractContextManager["Executor"], Protocol):
    """Runs tasks of one lane: side by side in the training lane, alone in the exclusive one.

    `run` returns when every task has a record, or those that were begun have one and `no_more()`, which
    an executor is made with, is true. It raises Interrupted soon after `stop()` is true.
    """

    def run(self, tasks: Sequence[Task], events: Events, stop: StopAsked) -> None: ...


class Interrupted(Exception):
    """The user stopped the run; what was finished is on disk."""


class SerialExecutor:
    """In this process, one task after another: for a debugger, and where there is no Ray."""

    def __init__(self, no_more: StopAsked = never) -> None:
        self.no_more = no_more

    def __enter__(self) -> SerialExecutor:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run(self, tasks: Sequence[Task], events: Events, stop: StopAsked) -> None:
        for task in tasks:
            if stop():
                raise Interrupted
            if self.no_more():
                return
            folder = Path(task.folder)
            folder.mkdir(parents=True, exist_ok=True)
            events.started(task)
            handler = logging.FileHandler(folder / "log.txt")
            logging.getLogger("harness").addHandler(handler)
            try:
                with only_one_at_a_time(folder):
                    remove_leftovers(folder)
                    record = run_task(task, partial(events.progress, task), stop)
            except KeyboardInterrupt:
                raise Interrupted from None
            finally:
                logging.getLogger("harness").removeHandler(handler)
                handler.close()
            events.ended(task, record)
