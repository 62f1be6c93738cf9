"""The far end of `isolation.Worker`: a process that has torch loaded and forks once per task.

A fork starts in milliseconds, has its own memory (so that its peak is its own) and may die in any
way without touching the next task. One JSON line a message. In, on stdin: ``{"task": …}`` and
``{"stop": seconds}``, which asks the running task to save what it has and to end within that time.
Out, on stdout: `started`, `progress`, and `ended` with the exit code and why this process ended it, if it
did (`time`, `memory` or `stop`). What a task prints goes into its `log.txt`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.heap import keep_freed_memory

if TYPE_CHECKING:
    from harness.execution.run_trial import Task
    from harness.training.stopping import ShouldStop

PROGRESS_SECONDS = 0.5

MEMORY_SECONDS = 0.2
"""How often a task's resident memory is looked at."""

STOPPED = 75
"""Exit code of a task that ended because it was asked to (sysexits' "try again")."""


class _Lines:
    """Messages from stdin; None where there is nothing yet, EOFError when whoever sends them is gone."""

    def __init__(self) -> None:
        self.buffer = b""

    def next(self, timeout: float | None) -> dict[str, Any] | None:
        while b"\n" not in self.buffer:
            readable, _, _ = select.select([0], [], [], timeout)
            if not readable:
                return None
            chunk = os.read(0, 1 << 16)
            if not chunk:
                raise EOFError
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the driver, which asks us
    out = os.dup(1)  # messages; stdout itself goes where stderr goes, so a stray print harms nothing
    os.dup2(2, 1)
    keep_freed_memory()
    _warm_up()
    _send(out, {"ready": os.getpid()})
    lines = _Lines()
    with contextlib.suppress(EOFError):
        while True:
            message = lines.next(None)
            if message is not None and "task" in message:  # a stop that came too late stops nothing
                _run_in_child(message["task"], out, lines)


def _warm_up() -> None:
    """Import once what every task needs. Nothing here may start a thread or touch a GPU."""
    import psutil  # noqa: F401
    import torch._dynamo  # noqa: F401 (two seconds, which torch's optimisers would spend in every trial)

    import harness.evaluation.flops
    import harness.execution.limits
    import harness.execution.run_trial
    import harness.execution.training_lane
    import harness.training.checkpoint
    import harness.training.history
    import harness.training.loop  # noqa: F401
    from harness import configuration, registry
    from harness.execution import provenance
    from harness.training.config import TrainConfig

    configuration.parse(TrainConfig, {})  # builds the checks of its types
    for kind in registry.KINDS:
        registry.names(kind)  # reads the entry points
    # Of the code that is loaded here, not of what stands in the files when a trial ends; and once, not
    # for each trial.
    provenance.package_versions()
    provenance.git_state()
    gc.freeze()  # a collection in a fork would touch, and so copy, every page that it shares with this


def _run_in_child(payload: dict[str, Any], out: int, lines: _Lines) -> None:
    from harness.execution.run_trial import Task

    task = Task.from_payload(payload)
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = _child(task, out)
        except BaseException:
            traceback.print_exc()  # into the trial's log
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os._exit(code)
    with contextlib.suppress(OSError):  # here and in the child: whoever comes first
        os.setpgid(child, child)
    _send(out, {"started": child})
    try:
        code, because = _watch(child, task, lines)
    except EOFError:
        # stdin closes when whoever started this worker is gone, even by SIGKILL.
        _kill(child)
        os._exit(1)
    _kill(child)  # what the task itself may have started
    _send(out, {"ended": code, "because": because})


def _watch(child: int, task: Task, lines: _Lines) -> tuple[int, str]:
    """Wait for the child, within its limits; returns its exit code and why it was ended, if it was."""
    from harness.execution.limits import memory_limit

    most = memory_limit(task.memory_gib, task.memory_share)
    end = time.monotonic() + (60.0 * task.minutes if task.minutes is not None else float("inf"))
    look_at_memory = 0.0
    because = ""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), because
        now = time.monotonic()
        if now > end:
            because = because or "time"
            _kill(child)
        if now > look_at_memory:
            look_at_memory = now + MEMORY_SECONDS
            if _resident(child, task.workers) > most:
                because = because or "memory"
                _kill(child)
        message = lines.next(0.02)
        if message is not None and "stop" in message:
            because, end = "stop", now + float(message["stop"])
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)


def _resident(child: int, workers: int) -> int:
    """Bytes of the task's process and of those that train with it; pages that they share count for each."""
    import psutil

    try:
        process = psutil.Process(child)
        # Looking for children reads the names of all processes there are: not where there is no need.
        together = [process, *(process.children() if workers > 1 else ())]
    except psutil.Error:
        return 0
    held = 0
    for each in together:
        with contextlib.suppress(psutil.Error):  # it has just ended
            held += each.memory_info().rss
    return held


def _kill(child: int) -> None:
    """The task's process and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


def _child(task: Task, out: int) -> int:
    die_with_parent()
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    os.close(0)
    should_stop = _on_request()
    from harness.execution.limits import hold_this_process_to, memory_limit
    from harness.execution.run_trial import run_task
    from harness.store.atomic import remove_leftovers
    from harness.store.lock import only_one_at_a_time
    from harness.training.stopping import Stopped

    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, force=True, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("harness").info(
        "%s lane of %s, seed %s", task.lane, task.trial.variant, task.trial.seed
    )
    if not task.device.startswith("cuda"):
        hold_this_process_to(memory_limit(task.memory_gib, task.memory_share))
    try:
        with only_one_at_a_time(folder):
            remove_leftovers(folder)
            record = run_task(task, _reporter(out), should_stop)
    except Stopped:
        return STOPPED
    sys.stdout.flush()
    return 0 if record.status == "ok" else 1


def _on_request() -> ShouldStop:
    """What a task asks whether it shall stop: SIGTERM says so."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, ask)
    return lambda: asked


def _reporter(out: int) -> Callable[[float, str], None]:
    """Sends progress on, not more often than anybody wants to see it."""
    last = 0.0

    def progress(fraction: float, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            _send(out, {"progress": fraction, "text": text})

    return progress


def die_with_parent() -> None:
    """On Linux a process that calls this does not outlive the one that started it."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _send(out: int, message: dict[str, Any]) -> None:
    os.write(out, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
