"""Running out of memory: how it is recognised, and how to clear up after it."""

from __future__ import annotations

import gc

import torch

WORDS = (
    "can't allocate memory",  # torch's allocator of main memory
    "not enough memory",  # the same on Windows
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What a RuntimeError says that is one of memory: torch has a type for the GPU's allocator alone."""


def ran_out_of_memory(failure: BaseException) -> bool:
    """Whether less memory would have avoided it."""
    if isinstance(failure, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(failure, RuntimeError) and any(words in str(failure) for words in WORDS)


def clear_memory(device: torch.device) -> None:
    """Give back what nobody refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
