"""How a split is cut for evaluation and for closed-form fitting.

Clips are cut into consecutive windows of the context that models train with, so that none is asked
for a longer context than it has seen; a window starts afresh, from the model's start token.
Shapes: B batch, L tokens of a batch's rows, C of a chunk's, N clips, W windows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.contracts import Split, can_resume

CPU_BATCH_TOKENS = 8192
"""Activations of more do not fit into a core's cache: measured, 65536 takes up to twice as long."""

GPU_BATCH_TOKENS = 131072


def default_batch_tokens(device: torch.device | str) -> int:
    """Tokens of a forward pass that suit a device."""
    return CPU_BATCH_TOKENS if torch.device(device).type == "cpu" else GPU_BATCH_TOKENS


def spread(clips: int, wanted: int | None) -> np.ndarray:
    """Indices of `wanted` evenly spaced clips of `clips`; all where None or not fewer."""
    if wanted is None or wanted >= clips:
        return np.arange(clips)
    return (2 * np.arange(wanted) + 1) * clips // (2 * wanted)


def cut(split: Split, *, window: int | None, max_clips: int | None) -> np.ndarray:
    """Int64[W, 3] of (clip, start, length), the longest first, so that batches hold little padding."""
    rows = [
        (clip, start, min(size, split.lengths[clip] - start))
        for clip in spread(len(split), max_clips)
        for size in [window or int(split.lengths[clip])]
        for start in range(0, split.lengths[clip], size)
    ]
    windows = np.array(rows, dtype=np.int64)
    return windows[np.argsort(-windows[:, 2], kind="stable")]


def window_batches(
    split: Split,
    *,
    window: int | None,
    max_clips: int | None,
    device: torch.device | str,
    batch_tokens: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every window once: tokens Long[B, L] (zero where padded) and true lengths Long[B].

    B * L <= batch_tokens (None: what suits the device), except that a batch has at least one window;
    L is the longest window's.
    """
    device = torch.device(device)
    batch_tokens = batch_tokens or default_batch_tokens(device)
    windows = cut(split, window=window, max_clips=max_clips)
    first = 0
    while first < len(windows):
        longest = int(windows[first, 2])
        batch = windows[first : first + max(1, batch_tokens // longest)]
        tokens = np.zeros((len(batch), longest), dtype=split.tokens.dtype)
        for row, (clip, start, length) in enumerate(batch):
            tokens[row, :length] = split.tokens[clip, start : start + length]
        # Sent in the type of storage, a byte a token for audio, and widened there.
        yield torch.from_numpy(tokens).to(device).long(), torch.from_numpy(batch[:, 2].copy()).to(device)
        first += len(batch)


def predictions(model: Any, tokens: Tensor, limit: int) -> Iterator[tuple[int, Tensor]]:
    """(position of the first token, logits Float[B, C, V]) of consecutive chunks of Long[B, L].

    More than `limit` tokens are read in chunks of at most so many, by a model that can `resume`: the
    state is carried, and memory does not grow with L. Any other model reads all at once.
    """
    if tokens.numel() <= limit or not can_resume(model):
        yield 0, model(tokens)
        return
    period = getattr(model, "period", 1)
    size = period * max(1, limit // len(tokens) // period)
    state = model.initial_state(len(tokens))
    for first in range(0, tokens.shape[1], size):
        logits, state = model.resume(tokens[:, first : first + size], state)
        yield first, logits
