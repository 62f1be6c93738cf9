"""Number formats of training: what `TrainConfig.precision` means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["float32", "tf32", "bfloat16"]


@contextmanager
def precision(name: Precision) -> Iterator[None]:
    """The format of float32 products and convolutions, forward and backward; as before afterwards.

    float32 is IEEE single precision throughout, although torch by itself lets cuDNN use TF32.
    tf32 rounds the factors to 10 bits of mantissa on a GPU that can, and is float32 elsewhere.
    """
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest" if name == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = name != "float32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


def autocast(name: Precision, device: torch.device) -> torch.autocast:
    """bfloat16 for the forward pass where asked for; parameters and optimiser stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=name == "bfloat16")
