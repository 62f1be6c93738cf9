"""What the copy of a store remembers: each file as it was when both sides last had the same."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.store.atomic import write_text
from harness.store.remote import Entry

FORMAT = 1


@dataclass(frozen=True)
class Known:
    """A file then: `tag` of the store's, `size` in bytes and time of the one here."""

    tag: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, entry: Entry, here: os.stat_result) -> Known:
        return cls(entry.tag, here.st_size, here.st_mtime_ns)

    def is_still(self, here: os.stat_result) -> bool:
        return (here.st_size, here.st_mtime_ns) == (self.size, self.mtime_ns)


class MirrorState:
    """`files` by their paths, and an id that tells this copy from others of the same store."""

    def __init__(self, path: Path, id_: str, files: dict[str, Known]) -> None:
        self.path = path
        self.id = id_
        self.files = files
        self._saved: dict[str, Known] | None = None

    @classmethod
    def read(cls, path: Path) -> MirrorState:
        """A new one where there is none. Raises: HarnessError for a file that is damaged."""
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            if said["format"] != FORMAT:
                raise ValueError(f"format {said['format']!r}, this harness reads {FORMAT}")
            state = cls(path, said["id"], {name: Known(*known) for name, known in said["files"].items()})
        except FileNotFoundError:
            return cls(path, uuid.uuid4().hex, {})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HarnessError(
                f"{path}: cannot be read ({error}); remove it: the two sides are then compared anew"
            ) from None
        state._saved = dict(state.files)
        return state

    def save(self) -> None:
        """Where something has changed."""
        if self.files == self._saved:
            return
        files = {name: list(asdict(known).values()) for name, known in sorted(self.files.items())}
        write_text(self.path, json.dumps({"format": FORMAT, "id": self.id, "files": files}) + "\n")
        self._saved = dict(self.files)
