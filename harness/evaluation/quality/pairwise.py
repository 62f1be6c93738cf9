"""Pairs of clips, a block of rows at a time, so that memory does not grow with their number squared."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CLIPS_AT_MOST = 10_000
"""Of either set, when all pairs are compared: the work grows with the square. Larger sets are thinned
by `thinned`; the literature on precision, recall, density and coverage uses as many."""
BLOCK = 2**22
"""Pairs in memory at a time: 32 MiB in double precision."""


def thinned(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The clips themselves, or `CLIPS_AT_MOST` of them drawn without replacement."""
    if len(features) <= CLIPS_AT_MOST:
        return features
    return features[np.sort(rng.permutation(len(features))[:CLIPS_AT_MOST])]


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices that cover the rows, each of at most `BLOCK` pairs (or of one row)."""
    size = max(1, BLOCK // columns)
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Float64[N, F], Float64[M, F] -> Float64[N, M], never negative."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.maximum(squares, 0.0, out=squares)
