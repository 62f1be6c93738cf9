"""Running a measurement in a process of its own, within a limit of memory and of time.

Processes are forked from a server that has imported what they need and computed nothing: they start
at once, and none finds memory or threads that an earlier measurement left behind.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import psutil

from harness.heap import keep_freed_memory

MIB = 2**20

_context = multiprocessing.get_context("forkserver")


def preload(*modules: str) -> None:
    """What the server imports; before the first process."""
    _context.set_forkserver_preload(list(modules))


def run_apart(
    function: Callable[[Any], dict[str, Any]], argument: Any, *, memory_limit_mib: float, time_limit: float
) -> dict[str, Any]:
    """What a function of a module returns for the argument, or the status and note of why it did not.

    The process is ended as soon as it is seen to hold more resident memory than the limit.
    """
    receiving, sending = _context.Pipe(duplex=False)
    process = _context.Process(target=_work, args=(sending, function, argument), daemon=True)
    process.start()
    sending.close()  # so that the end of the process ends the pipe
    try:
        return _wait(process, receiving, memory_limit_mib * MIB, time.monotonic() + time_limit)
    finally:
        process.kill()
        process.join()
        receiving.close()


def _work(
    sending: Connection, function: Callable[[Any], dict[str, Any]], argument: Any
) -> None:  # in the process
    keep_freed_memory()  # as in the process of a trial
    sending.send(function(argument))


def _wait(process: Any, receiving: Connection, most: float, until: float) -> dict[str, Any]:
    watched = psutil.Process(process.pid)
    while True:
        try:
            if receiving.poll(0.02):
                return receiving.recv()
            resident = watched.memory_info().rss
        except (EOFError, psutil.NoSuchProcess):
            process.join()
            return {"status": "failed", "note": f"the process ended with code {process.exitcode}"}
        if resident > most:
            return {"status": "out of memory limit", "note": f"ended at {resident / MIB:.0f} MiB"}
        if time.monotonic() > until:
            return {"status": "out of time limit", "note": "ended when its time was up"}
