"""The far end of `isolation.Worker`: a process that has torch loaded and forks once per task.

A fork starts in milliseconds, has its own memory (so that its peak is its own) and may die in any
way without touching the next task. One JSON line a message: a task comes in on stdin; `started`,
`progress` and `ended` go out on stdout. What a task prints goes into its `log.txt`.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

PROGRESS_SECONDS = 0.5


def main() -> None:
    out = os.dup(1)  # messages; stdout itself goes where stderr goes, so a stray print harms nothing
    os.dup2(2, 1)
    _warm_up()
    _send(out, {"ready": os.getpid()})
    buffer = b""
    while True:
        chunk = os.read(0, 1 << 16)
        if not chunk:
            return
        buffer += chunk
        while b"\n" in buffer:
            line, buffer = buffer.split(b"\n", 1)
            _run_in_child(json.loads(line), out)


def _warm_up() -> None:
    """Import once what every task needs. Nothing here may start a thread or touch a GPU."""
    import torch._dynamo  # noqa: F401 (two seconds, which torch's optimisers would spend in every trial)

    import harness.evaluation.flops
    import harness.execution.run_trial
    import harness.training.loop  # noqa: F401


def _run_in_child(payload: dict[str, Any], out: int) -> None:
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = _child(payload, out)
        except BaseException:
            traceback.print_exc()  # into the trial's log
        finally:
            sys.stderr.flush()
            os._exit(code)
    _send(out, {"started": child})
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            _send(out, {"ended": os.waitstatus_to_exitcode(status)})
            return
        # stdin closes when whoever started this worker is gone, even by SIGKILL.
        readable, _, _ = select.select([0], [], [], 0.02)
        if readable:
            os.kill(child, signal.SIGKILL)
            os._exit(1)


def _child(payload: dict[str, Any], out: int) -> int:
    _die_with_parent()
    os.setpgid(0, 0)
    os.close(0)
    from harness.execution.run_trial import Task, run_task

    task = Task.from_payload(payload)
    Path(task.folder).mkdir(parents=True, exist_ok=True)
    log = os.open(Path(task.folder) / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, force=True, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("harness").info(
        "%s lane of %s, seed %s", task.lane, task.trial.variant, task.trial.seed
    )
    last = 0.0

    def progress(fraction: float, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            _send(out, {"progress": fraction, "text": text})

    record = run_task(task, progress)
    sys.stdout.flush()
    return 0 if record.status == "ok" else 1


def _die_with_parent() -> None:
    """On Linux a task must not outlive its worker."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _send(out: int, message: dict[str, Any]) -> None:
    os.write(out, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
