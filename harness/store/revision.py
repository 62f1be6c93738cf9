"""Results committed to git, read from a revision without touching the work tree: ``REV:FOLDER``."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError
from harness.store.place import fetched
from harness.store.remote import is_url
from harness.store.wanted import records


@contextmanager
def opened(place: str) -> Iterator[Path]:
    """A results folder, the copy of one at a URL, or one of a git revision, for as long as the block runs.

    `place`: a folder; a URL, of which the records are there; or ``REV:FOLDER`` with the folder as seen
    from the top of the repository, or from here where it begins with ``./``.
    Raises: HarnessError for what is neither.
    """
    if is_url(place):
        yield fetched(place, records)
        return
    if Path(place).exists() or ":" not in place:
        yield Path(place)
        return
    revision, _, folder = place.partition(":")
    top = Path(_git("rev-parse", "--show-toplevel", place=place).decode().strip())
    inside = Path(folder)
    if folder.startswith(("./", "../")):
        inside = Path(os.path.relpath(folder, top.resolve()))
    commit = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", place=place, cwd=top)
    archive = _git(
        "archive", "--format=tar", commit.decode().strip(), "--", str(inside), place=place, cwd=top
    )
    with tempfile.TemporaryDirectory(prefix="harness-compare-") as name:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(name, filter="data")
        yield Path(name) / inside


def _git(*arguments: str, place: str, cwd: Path | None = None) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, check=False)
    except OSError as error:
        raise HarnessError(f"{place}: is no folder here, and git cannot be run: {error}") from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split()) or "no such revision"
        raise HarnessError(f"{place}: is no folder here, and not one of a git revision: {said}")
    return done.stdout
