"""Running a task in a process of its own, from the outside: start, listen, record how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from harness.execution.run_trial import Progress, Task
from harness.store.record import Record, read_record, write_record


class Worker:
    """A warm process that runs tasks one after another, each in a fork of its own."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, task: Task, progress: Progress) -> Record:
        """The task's record; one that says how the process died, if it left none."""
        before = _stamp(task)
        died = self._run(task, progress)
        if _stamp(task) != before:
            return read_record(task.record_path)
        record = Record.failure(task.trial, "failed", died)
        write_record(task.record_path, record)
        return record

    def _run(self, task: Task, progress: Progress) -> str:
        """Returns how the process ended, in words."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(task.payload()).encode() + b"\n")
        process.stdin.flush()
        for line in process.stdout:
            message: dict[str, Any] = json.loads(line)
            if "progress" in message:
                progress(message["progress"], message["text"])
            if "ended" in message:
                return _in_words(message["ended"])
        self.close()
        return "the worker process died before the trial ended"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": str(self.threads),
                "MKL_NUM_THREADS": str(self.threads),
                "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only with a fixed workspace
            }
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.execution.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
        return self._process

    def close(self) -> None:
        """End the worker and whatever it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None


def _stamp(task: Task) -> tuple[int, int] | None:
    """Changes when a record is written (each write is a new file)."""
    try:
        found = task.record_path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _in_words(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; the system may have been out of memory" if name == "SIGKILL" else ""
        return f"the trial's process was killed by {name}{hint}"
    return f"the trial's process ended with exit code {code} and left no record; see its log.txt"
