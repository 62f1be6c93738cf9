"""Seeds for each purpose of a trial, derived from the trial's one seed.

Purposes do not disturb each other: the data order of a seed is the same whatever the model draws
for its initialisation or dropout, so that variants of one seed are compared on the same data.
"""

from __future__ import annotations

import hashlib
import random
from typing import Literal

import numpy as np
import torch

Purpose = Literal["data", "initialisation", "training", "sampling"]


def derive_seed(purpose: str, *parts: int) -> int:
    """63 bits of the sha256 of a purpose and numbers such as the trial's seed and an epoch."""
    text = ":".join((purpose, *map(str, parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_everything(purpose: Purpose, seed: int) -> None:
    """Seed Python, numpy and torch (every device) for a purpose, and ask for deterministic kernels.

    Where torch has no deterministic kernel (a few on CUDA) it warns and runs on. cuBLAS needs
    CUBLAS_WORKSPACE_CONFIG=:4096:8 in the environment before it starts.
    """
    seed_generators(derive_seed(purpose, seed))
    torch.use_deterministic_algorithms(True, warn_only=True)
    # A debugging aid of the above that writes nan into fresh memory: it would slow every timing.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # would pick kernels by a race


def seed_generators(derived: int) -> None:
    """Python's, numpy's and torch's own, on every device, from a number that `derive_seed` gave."""
    random.seed(derived)
    np.random.seed(derived % 2**32)  # for plugins that draw from numpy's global state
    torch.manual_seed(derived)


def generator(purpose: Purpose, seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator of its own for a purpose."""
    return torch.Generator(device).manual_seed(derive_seed(purpose, seed))
