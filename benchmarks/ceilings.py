"""What the machine can do at most, measured beside the candidates: copying memory, multiplying matrices."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.contest import Entry

MIB = 2**20


def memory_copy(mebibytes: int, device: torch.device, columns: dict[str, Any]) -> Entry:
    """A copy into memory that is there already: every byte is read once and written once.

    Large enough that no cache holds it. What a CPU reads before it overwrites a line is not counted.
    """
    source = torch.ones(mebibytes * MIB // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return Entry(
        "memory copy",
        dict(columns),
        work=lambda: target.copy_(source),
        status="ceiling",
        note=f"{mebibytes} MiB",
        bytes_moved=2.0 * source.nbytes,
    )


def matrix_product(size: int, device: torch.device, columns: dict[str, Any]) -> Entry:
    """A square product in float32, the highest rate of multiplications and additions in practice."""
    left, right = (torch.randn(size, size, device=device) for _ in range(2))
    product = torch.empty_like(left)
    return Entry(
        "matrix product",
        dict(columns),
        work=lambda: torch.mm(left, right, out=product),
        status="ceiling",
        note=f"{size} x {size} x {size}, float32",
        flops=2.0 * size**3,
    )
