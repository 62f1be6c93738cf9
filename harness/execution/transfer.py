"""The folder of a task that runs without the driver's disk: what it needs goes, what it leaves comes back.

The two ends speak one message at a time, and the host's end has the word: it asks for a piece of a file
(`wants`), hands over pieces of files (`files`) or says which are no more (`gone`); the driver's end answers.
Pieces have a few MiB, since Ray's object stores are small, and no more than one is under way for a task.
Every file is written beside its place and renamed, a record after all else: whoever finds a record has the
whole.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.store.atomic import PART, remove_leftovers, replacing

if TYPE_CHECKING:
    from harness.execution.run_trial import Task

PIECE = 4 * 2**20

RECORD = "record.json"
LOG = "log.txt"

NEEDED = {
    "training": ("resume.safetensors", LOG),
    "exclusive": ("checkpoint.safetensors", RECORD, LOG),
}
"""What a task reads of its trial's folder, by lane; the log is written on."""

WHILE_IT_RUNS = ("resume.safetensors", "history.csv")
"""Sent whenever they were written anew: a node that dies costs what came after."""

Talk = Generator[dict[str, Any], bytes | None, None]
"""Yields messages, is sent the answers."""


@dataclass(frozen=True)
class Invitation:
    """What a host is told about the driver's folder of a task."""

    token: str
    """Name of a file that the driver has left in it: who sees it shares the disk."""
    needed: tuple[str, ...]

    def is_seen(self, folder: Path) -> bool:
        return (folder / self.token).exists()


class Home:
    """The driver's end, for one task."""

    def __init__(self, task: Task) -> None:
        """Raises: WriteError"""
        self.folder = Path(task.folder)
        self._receiving: Generator[None, tuple[bytes, bool], None] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        there = tuple(name for name in NEEDED[task.lane] if (self.folder / name).is_file())
        # A new name each time: some network file systems remember for a while what was not there. Named
        # as what is not whole yet, so that it is swept where a driver was killed.
        self.invitation = Invitation(f"{PART}here-{uuid.uuid4().hex}", there)
        self._token = self.folder / self.invitation.token
        self._token.touch()

    def answer(self, message: Mapping[str, Any]) -> bytes | None:
        """Raises: WriteError where a file that came cannot be written."""
        if "wants" in message:
            with self._inside(message["wants"]).open("rb") as file:
                file.seek(message["at"])
                return file.read(PIECE)
        for name, data, ends in message.get("files", ()):
            self._take(name, data, ends)
        for name in message.get("gone", ()):
            self._inside(name).unlink(missing_ok=True)
        return None

    def close(self) -> None:
        """The task has ended here: half a file is none."""
        if self._receiving is not None:
            self._receiving.close()
            self._receiving = None
        self._token.unlink(missing_ok=True)

    def _take(self, name: str, data: bytes, ends: bool) -> None:
        if self._receiving is None:
            self._receiving = _receive(self._inside(name))
            next(self._receiving)
        try:
            self._receiving.send((data, ends))
        except StopIteration:
            self._receiving = None

    def _inside(self, name: str) -> Path:
        """Raises: HarnessError for what is not below the task's folder."""
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or PurePosixPath(name).is_absolute():
            raise HarnessError(f"{self.folder}: a node has sent a file called {name!r}, which is refused")
        return self.folder.joinpath(*parts)


def _receive(path: Path) -> Generator[None, tuple[bytes, bool], None]:
    """A file that is in its place once its last piece is there, and nowhere if that never comes."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        ends = False
        while not ends:
            data, ends = yield
            file.write(data)


class Away:
    """The host's end: a folder of its own for one task."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[int, int, int]] = {}
        """Files as they are at the driver's end."""

    def fetch(self, names: Iterable[str]) -> Talk:
        for name in names:
            with replacing(self.folder / name) as temporary, temporary.open("wb") as file:
                while piece := (yield {"wants": name, "at": file.tell()}):
                    file.write(piece)
            self._known[name] = _stamp((self.folder / name).stat())

    def send_some(self) -> Talk:
        """Of a task that runs."""
        yield from self._send([name for name in WHILE_IT_RUNS if (self.folder / name).is_file()])

    def send_all(self) -> Talk:
        """Of a task that has ended."""
        remove_leftovers(self.folder)
        found = [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        there = {path.relative_to(self.folder).as_posix() for path in found}
        yield from self._send(sorted(there, key=lambda name: (name == RECORD, name)))
        if gone := sorted(self._known.keys() - there):
            yield {"gone": gone}

    def _send(self, names: Sequence[str]) -> Talk:
        """What has changed of these, several small ones in one message."""
        parts: list[tuple[str, bytes, bool]] = []
        room = PIECE
        for name in names:
            with (self.folder / name).open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                if self._known.get(name) == stamp:
                    continue
                left = stamp[-1]  # what is written on later goes with the next
                while True:
                    data = file.read(min(room, left))
                    left = left - len(data) if data else 0
                    room -= len(data)
                    parts.append((name, data, left == 0))
                    if room == 0:
                        yield {"files": parts}
                        parts, room = [], PIECE
                    if left == 0:
                        break
            self._known[name] = stamp
        if parts:
            yield {"files": parts}


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_size
