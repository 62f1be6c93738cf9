"""What becomes of memory that a process has freed: kept for the next step, or given back before a
measurement.

glibc asks the system for every large block anew and gives it back when it is freed. A training step
allocates and frees the same tensors again and again: their pages, each cleared by the kernel when it is
first touched, took an eighth of the step of a small Poolformer. Other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_… of malloc.h
_NEVER = -1  # turned into the largest size there is


def keep_freed_memory() -> bool:
    """Large blocks come from the heap from now on, and its end is not given back. Whether that can be had."""
    mallopt = _of_glibc("mallopt")
    return mallopt is not None and all(
        mallopt(option, _NEVER) == 1 for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)
    )


def give_back_freed_memory() -> None:
    """Kept pages would hide as much of what the coming work needs."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> ctypes._NamedFuncPointer | None:
    """A function of this process's C library, None where that is another one."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
