"""Running a task in a process of its own, from the outside: start, listen, record how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.errors import HarnessError
from harness.execution.executor import Interrupted
from harness.execution.limits import GIB, kernel_kills, memory_limit
from harness.execution.run_trial import Progress, Task
from harness.execution.worker import STOPPED
from harness.store.record import Record, Status, read_record, write_record


class WorkerLost(Exception):
    """The worker process is gone: a fault of the machine, not of the trial, which may run again."""


class Worker:
    """A warm process that runs tasks one after another, each in a fork of its own."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, task: Task, progress: Progress) -> Record:
        """The task's record; one that says how the process died, if it left none.

        Raises: Interrupted after `stop`, WorkerLost
        """
        for message in self.stream(task):
            progress(message["progress"], message["text"])
        return read_record(task.record_path)

    def stream(self, task: Task) -> Iterator[dict[str, Any]]:
        """As `run`: yields what the task reports; at the end there is a record."""
        before, kills = stamp(task), kernel_kills()
        ended: dict[str, Any] = {}
        for message in self._messages(task):
            if "progress" in message:
                yield message
            ended = message
        if stamp(task) != before:
            return
        if ended["because"] == "stop" or ended["ended"] == STOPPED:
            raise Interrupted
        status, error = _in_words(task, ended, kernel_kills() > kills)
        smaller = task.in_half_batches() if status == "out_of_memory" else None
        if smaller is None:
            record_failure(task, status, error)
        else:
            yield {"progress": 0.0, "text": "out of memory, once more in half batches"}
            yield from self.stream(smaller)

    def stop(self, seconds: float) -> None:
        """Ask the running task to save what it has and to end, within these seconds. From any thread."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it is gone already
                _write(self._process, {"stop": seconds})

    def _messages(self, task: Task) -> Iterator[dict[str, Any]]:
        """Start the task; its messages, the last one with the key `ended`."""
        child = None
        try:
            process = self._started()
            assert process.stdout is not None
            _write(process, {"task": task.payload()})
            for line in process.stdout:
                message: dict[str, Any] = json.loads(line)
                child = message.get("started", child)
                yield message
                if "ended" in message:
                    return
        except (BrokenPipeError, json.JSONDecodeError):  # killed before or in the middle of a line
            pass
        self.close()
        if child is not None:  # its own death signal does not reach what it has started
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
        raise WorkerLost("the worker process died before the trial ended")

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
                start_new_session=True,  # a terminal's signals are for the driver alone
            )
        return self._process

    def close(self) -> None:
        """End the worker and whatever it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what was not yet written has no reader
                        pipe.close()
            self._process = None


def _write(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def stamp(task: Task) -> tuple[int, int] | None:
    """Changes when a record is written (each write is a new file)."""
    try:
        found = task.record_path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def record_failure(task: Task, status: Status, error: str) -> Record:
    """Write that a task failed; what an earlier lane has measured stays."""
    record = Record.failure(task.trial, status, error, provenance={"attempt": task.attempt})
    if task.lane == "exclusive":
        with contextlib.suppress(HarnessError):
            record = replace(read_record(task.record_path), status=status, error=error)
    write_record(task.record_path, record)
    return record


def _in_words(task: Task, ended: dict[str, Any], memory_was_short: bool) -> tuple[Status, str]:
    """Status and error of a trial whose process left no record."""
    code = ended["ended"]
    if ended["because"] == "time":
        return "timeout", f"ran longer than its limit of {task.minutes:g} minutes; --trial-time sets another"
    if ended["because"] == "memory":
        limit = memory_limit(task.memory_gib, task.memory_share) / GIB
        return (
            "out_of_memory",
            f"held more than its limit of {limit:.1f} GiB of memory; --trial-memory sets another",
        )
    if code == -signal.SIGKILL and memory_was_short:
        return "out_of_memory", "the system ran out of memory and killed the trial's process"
    if code < 0:
        return "failed", f"the trial's process was killed by {signal.Signals(-code).name}; see its log.txt"
    return "failed", f"the trial's process ended with exit code {code} and left no record; see its log.txt"
