"""Who works where: one run a store, one process a trial. Held by the kernel, so that the dead hold nothing.

A store's lock is a file that stays, locked while a run works; who that is stands beside it in `run.json`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK = ".lock"

WAIT_SECONDS = 0.5


@contextlib.contextmanager
def only_run(store: Path, on_wait: Callable[[], None], *, name: str = LOCK) -> Iterator[bool]:
    """Hold a store's lock. Where another run has it, say so once and wait; yields whether that was so."""
    from filelock import FileLock, Timeout

    lock = FileLock(store / name)
    waited = False
    while True:
        try:
            lock.acquire(timeout=WAIT_SECONDS if waited else 0.0)
            break
        except Timeout:
            if not waited:
                on_wait()
            waited = True
    try:
        yield waited
    finally:
        lock.release()


def is_running(store: Path, *, name: str = LOCK) -> bool:
    """Whether a run works in a store now. False where it cannot be told: a file system without locks."""
    from filelock import FileLock, Timeout

    if not (store / name).exists():
        return False
    try:
        with FileLock(store / name).acquire(timeout=0.0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False


@contextlib.contextmanager
def only_one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process works in a trial's folder, then have it alone.

    A trial that is run again because its node was thought dead must not write beside the first. The lock
    is on the folder itself and leaves no file; where a file system or system has no such lock, none is held.
    """
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
