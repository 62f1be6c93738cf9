"""The random generators that a training may draw from: Python's, numpy's, torch's on CPU and GPU.

Generators that a model keeps for itself are not among them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_states(device: torch.device) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Where they stand: JSON-ready numbers, and tensors."""
    version, words, normal = random.getstate()
    kind, key, position, has_normal, numpy_normal = np.random.get_state(legacy=True)
    assert kind == "MT19937"  # numpy's global generator is no other
    numbers = {
        "python": [version, normal],
        "numpy": [int(position), int(has_normal), float(numpy_normal)],
    }
    tensors = {
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.from_numpy(np.asarray(key).astype(np.int64)),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    return numbers, tensors


def set_random_states(
    numbers: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device
) -> None:
    """Put them back to what `random_states` found."""
    version, normal = numbers["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), normal))
    np.random.set_state(("MT19937", tensors["numpy"].numpy().astype(np.uint32), *numbers["numpy"]))
    torch.set_rng_state(tensors["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors["cuda"], device)
