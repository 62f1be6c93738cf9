"""The temporary folder of a local Ray cluster, which nobody else cleans up when its driver is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

NAME = re.compile(r"hr-\d+-\w+")

LONGEST = 30
"""Characters of the folder above it: Ray puts sockets below, whose names may have 107 bytes at most."""


def parent() -> Path:
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual)) <= LONGEST else Path("/tmp")


@contextlib.contextmanager
def ray_folder() -> Iterator[str]:
    """A folder that is this process's for as long as it lives, and removed at the end.

    It is locked; the lock ends with the process, however that ends, and is how `sweep` tells.
    """
    while True:
        folder = tempfile.mkdtemp(prefix=f"hr-{os.getpid()}-", dir=parent())
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if Path(folder).exists():  # else swept before it was locked
            break
        os.close(handle)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def sweep() -> None:
    """Remove the folders of drivers that are dead, and end what is left of their Ray processes."""
    for folder in parent().glob("hr-*"):
        if not NAME.fullmatch(folder.name):
            continue
        try:
            handle = os.open(folder, os.O_RDONLY)
        except OSError:  # somebody else's, or gone
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _end_processes_of(folder)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue  # its driver is alive
        finally:
            os.close(handle)


def _end_processes_of(folder: Path) -> None:
    """Ray names its session's folder on the command line of everything that it starts."""
    import psutil

    left = []
    for process in psutil.process_iter(["cmdline"]):
        if any(f"{folder}/" in word or word.endswith(str(folder)) for word in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.Error):
                process.kill()
                left.append(process)
    psutil.wait_procs(left, timeout=3.0)
