"""Files that are either whole or absent: written beside their place, synced, then renamed."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import HarnessError

PART = ".part-"
"""How the names of files begin that are not whole yet."""

HINTS = {
    errno.ENOSPC: "make room; the same command then continues",
    errno.EDQUOT: "make room; the same command then continues",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder that can be written to",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f); the same command then continues",
}


class WriteError(HarnessError, OSError):
    """A file that could not be written; nothing is in its place that was not there before."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it becomes `path`, on error it is gone.

    The folder is made where it is missing.
    Raises: WriteError when the operating system does not let a file be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{PART}{path.name}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except WriteError:
        raise
    except OSError as error:
        if error.errno not in HINTS:
            raise
        raise WriteError(f"{path}: cannot be written: {error.strerror}; {HINTS[error.errno]}") from error


def write_text(path: Path, text: str) -> None:
    """Replace the file at `path` with UTF-8 `text`, with `\\n` line ends."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed had begun to write; only where nobody else writes now."""
    for part in folder.glob(f"{PART}*"):
        with suppress(OSError):
            part.unlink()
