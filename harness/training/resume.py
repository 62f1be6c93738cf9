"""The file from which a killed training continues: `resume.safetensors` in the trial's folder.

Written whole or not at all, once an interval and when a training is asked to stop. A file that is
damaged, or of another trial or version, is left out of account and said so: training starts anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.training.snapshot import Snapshot
from harness.training.tensor_file import read_tensors, write_tensors

log = logging.getLogger("harness")

FORMAT = 1
"""Raised when what a file holds changes its meaning."""

EVERY_SECONDS = 60.0
LARGEST_SHARE = 0.01
"""Of the time that writing may take: where a file takes 2 s, one is written every 200 s."""


class ResumeFile:
    """Written by one process after another, until the trial has a result.

    Args:
        identity: what must be the same for a training to be continued; JSON-ready.
        written_by: under what circumstances this process trains, kept for the record; JSON-ready.
        every: seconds between two files.
        largest_share: of the time, that writing may take.
    """

    def __init__(
        self,
        path: Path,
        *,
        identity: Mapping[str, Any],
        written_by: Mapping[str, Any] | None = None,
        every: float = EVERY_SECONDS,
        largest_share: float = LARGEST_SHARE,
    ) -> None:
        self.path = path
        self.identity = {"format": FORMAT, **identity}
        self.written_by = dict(written_by or {})
        self.every = every
        self.largest_share = largest_share
        self.resumes: Sequence[Mapping[str, Any]] = ()
        """Each time that the training was continued: at which step, and by whom that was written."""
        self.written = 0
        self.seconds = 0.0
        """What the last write took."""
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether the next file should be written now."""
        waited = time.monotonic() - self._last
        return waited >= self.every and waited * self.largest_share >= self.seconds

    def write(self, snapshot: Snapshot) -> None:
        """Replaces the file. One that cannot be written is said so, and training goes on without."""
        started = time.monotonic()
        about = {
            "resume": {
                "identity": self.identity,
                "written_by": self.written_by,
                "resumes": list(self.resumes),
                "numbers": dict(snapshot.numbers),
            }
        }
        try:
            write_tensors(self.path, snapshot.tensors, about)
            self.written += 1
        except OSError as error:
            log.warning("training goes on, but a kill now would cost more steps: %s", error)
        self._last = time.monotonic()
        self.seconds = self._last - started

    def read(self) -> Snapshot | None:
        """What a process before this one left, if anything that can be used."""
        if not self.path.is_file():
            return None
        try:
            return self._read()
        except HarnessError as error:
            self.ignore(error)
            return None

    def ignore(self, reason: Exception) -> None:
        """Say why the file is of no use; the next write replaces it."""
        self.resumes = ()
        log.warning("training starts anew: %s cannot be continued from: %s", self.path.name, reason)

    def remove(self) -> None:
        """The trial has its result."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> Snapshot:
        described, tensors = read_tensors(self.path)
        if "resume" not in described:
            raise HarnessError("it holds no state of a training")
        about = described["resume"]
        if other := _differing(self.identity, about["identity"]):
            raise HarnessError(f"it was written by another training ({other})")
        step = about["numbers"]["position"]["step"]
        self.resumes = (*about["resumes"], {"at_step": step, "written_by": about["written_by"]})
        return Snapshot(numbers=about["numbers"], tensors=tensors)


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """In words, nothing where they agree."""
    return ", ".join(
        f"{name}: {theirs.get(name)} there, {ours.get(name)} here"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    )
