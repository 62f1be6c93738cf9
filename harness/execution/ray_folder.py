"""The temporary folder of a local Ray cluster or of an actor, and who lives in it: gone when its owner is.

A driver that ends removes its folder, and ends who lives there. For one that is killed a keeper waits, a
small process that notices the end of its driver by the end of a pipe, ends what is left of the cluster
(Ray's agents would linger for a minute or two) and removes the folder. Where the keeper was killed as well,
the next run sweeps.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

NAME = re.compile(r"hr-\d+-\w+")

PASSES = 10
PAUSE_SECONDS = 0.5

LONGEST = 30
"""Characters of the folder above it: Ray puts sockets below, whose names may have 107 bytes at most."""


def parent() -> Path:
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual)) <= LONGEST else Path("/tmp")


@contextlib.contextmanager
def ray_folder(above: Path | None = None) -> Iterator[str]:
    """A folder that is this process's for as long as it lives, and removed at the end; None: below `parent`.

    It is locked; the lock ends with the process, however that ends, and is how `sweep` tells.
    """
    while True:
        folder = tempfile.mkdtemp(prefix=f"hr-{os.getpid()}-", dir=above or parent())
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if Path(folder).exists():  # else swept before it was locked
            break
        os.close(handle)
    keeper = subprocess.Popen(
        [sys.executable, "-m", "harness.execution.ray_folder", folder],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield folder
    finally:
        keeper.kill()
        keeper.communicate()
        _ended(Path(folder))  # agents of a raylet that was killed: Ray itself does not know of them
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def sweep(above: Path | None = None) -> None:
    """Remove the folders of owners that are dead, and end what is left of their processes."""
    for folder in (above or parent()).glob("hr-*"):
        if not NAME.fullmatch(folder.name):
            continue
        try:
            handle = os.open(folder, os.O_RDONLY)
        except OSError:  # somebody else's, or gone
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            clear(folder)
        except BlockingIOError:
            continue  # its driver is alive
        finally:
            os.close(handle)


def clear(folder: Path) -> None:
    """End whoever lives in the folder, and whom they have started meanwhile; remove it.

    A raylet that is ended may have begun an agent a moment before, so it is looked again until nobody is
    found twice.
    """
    nobody = 0
    for _ in range(PASSES):
        nobody = 0 if _ended(folder) else nobody + 1
        if nobody == 2:
            break
        time.sleep(PAUSE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def _ended(folder: Path) -> int:
    """How many were found and killed."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and _lives_in(process, folder):
                process.kill()
                found.append(process)
    psutil.wait_procs(found, timeout=3.0)
    return len(found)


def _lives_in(process: psutil.Process, folder: Path) -> bool:
    """All processes of a Ray cluster have a file below its folder open; those that start are told of it."""
    words = " ".join(process.cmdline())
    starting = str(folder) in words and "/ray/" in words
    return starting or any(Path(file.path).is_relative_to(folder) for file in process.open_files())


def keep(folder: Path) -> None:
    """Wait for the end of the driver, which holds the other end of stdin; then clear."""
    sys.stdin.buffer.read()
    clear(folder)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
