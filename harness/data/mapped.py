"""Tokens mapped from a file that does not come to fill this process's memory.

Pages of a mapped file count as a process's memory from the first touch until they are unmapped, and
an epoch touches all. The kernel takes them back when somebody else needs them; but before that they
look like a leak, and measurements of peak memory would grow with the data. So after every `BUDGET` of
reading the pages are let go: they stay in the page cache, where the next touch finds them.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np

BUDGET = 256 * 2**20
"""Bytes that may be mapped in by reading before all are let go."""

AROUND = 128 * 2**10
"""Bytes that Linux maps in beside what is read: windows of 64 KiB, one at each end."""

_LET_GO = getattr(mmap, "MADV_DONTNEED", None)  # not on Windows


def map_tokens(path: Path, dtype: np.dtype[Any], length: int) -> np.ndarray:
    """[N, L], rows of a raw file. Raises: OSError, ValueError for one that holds no whole rows."""
    return MappedTokens(path, dtype=dtype, mode="r").reshape(-1, length)


class MappedTokens(np.memmap):
    """A read-only mapped array; what is taken out of it is a plain array that shares its memory."""

    _taken: int

    def __array_finalize__(self, source: Any) -> None:
        super().__array_finalize__(source)
        self._taken = 0

    def __getitem__(self, index: Any) -> Any:
        found = np.ndarray.__getitem__(self, index)
        if not isinstance(found, np.ndarray):
            self._take(AROUND)
            return found
        self._take(found.nbytes + AROUND)
        return found.view(np.ndarray)

    def _take(self, size: int) -> None:
        self._taken += size
        if self._taken > BUDGET:
            self._taken = 0
            held = getattr(self, "_mmap", None)  # a copy of a mapped array has none
            if held is not None and _LET_GO is not None:
                held.madvise(_LET_GO)
