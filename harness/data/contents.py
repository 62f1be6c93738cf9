"""The digest of a set of files: which they are, and every byte of them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from harness.cache import cache_root
from harness.data import token_cache
from harness.data.progress import progress
from harness.errors import DataError

log = logging.getLogger(__name__)


def content_sha256(folder: Path, files: Sequence[str]) -> str:
    """sha256 over the lines "<sha256 of the file>  <relative path>", in the order of `files`.

    Raises: DataError naming a file that cannot be read.
    """
    content = hashlib.sha256()
    done = 0
    try:
        total = sum((folder / file).stat().st_size for file in files)
        with progress(f"reading {folder.name}", total, "bytes") as advance:
            for file in files:
                with (folder / file).open("rb") as opened:
                    line = f"{hashlib.file_digest(opened, 'sha256').hexdigest()}  {file}\n"
                    done += opened.tell()
                content.update(line.encode())
                advance(done)
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from None
    return content.hexdigest()


def remembered_sha256(folder: Path, files: Sequence[str]) -> str:
    """`content_sha256`, read again only when sizes or times of the files have changed.

    A disk that fails changes bytes and no time: verifying needs the other one.
    Raises: DataError naming a file that cannot be read.
    """
    try:
        states = [(file, *_state(folder / file)) for file in files]
        now = hashlib.sha256(json.dumps(states).encode()).hexdigest()
        place = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
        memory = cache_root() / "folders" / place
        remembered = memory.read_text(encoding="ascii").split() if memory.is_file() else []
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from None
    if len(remembered) == 2 and remembered[0] == now and len(remembered[1]) == 64:
        return remembered[1]
    content = content_sha256(folder, files)
    if len(remembered) == 2 and remembered[1] != content:
        log.warning(
            "the files in %s have changed since they were last used (sha256 of all %s, before %s): results "
            "with the ones and the others cannot be compared",
            *(folder, content[:16], remembered[1][:16]),
        )
    with token_cache.locked(memory):
        memory.write_text(f"{now} {content}", encoding="ascii")
    return content


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
