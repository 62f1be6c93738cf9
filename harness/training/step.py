"""One training step: the loss of a batch, whole or part by part, and the update it asks for.

Shapes: B batch, L tokens of a batch's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from harness.training.clock import Clock
from harness.training.config import TrainConfig
from harness.training.loss import mean_bits
from harness.training.precision import autocast, precision
from harness.training.update import Applied, Update


def training_step(update: Update, tokens: Tensor, lengths: Tensor, *, micro_batches: int = 1) -> Applied:
    """Forward, backward and update on one batch: Long[B, L], true lengths Long[B].

    In `micro_batches` parts no more than one of them is in memory at a time. The update is that of the
    whole batch up to rounding, ragged or not, for models whose rows do not know of each other; dropout
    draws other masks of the same law. So it is where several ranks share the batch.
    """
    with precision(update.config.precision):
        return update.apply_sum(_losses(update, tokens, lengths, micro_batches))


def compile_ahead(update: Update, tokens: Tensor, lengths: Tensor, *, micro_batches: int = 1) -> float | None:
    """Compile for batches of this shape; the seconds it took, or None where the config does not ask.

    Neither weights nor buffers nor random states are other afterwards.
    """
    if not update.config.compile:
        return None
    clock = Clock(tokens.device)
    devices = [tokens.device] if tokens.is_cuda else []
    buffers = [(buffer, buffer.clone()) for buffer in update.model.buffers()]
    with clock, torch.random.fork_rng(devices), precision(update.config.precision):
        for loss in _losses(update, tokens, lengths, micro_batches):
            loss.backward()
    update.optimizer.zero_grad(set_to_none=True)
    for buffer, before in buffers:
        buffer.copy_(before)
    return clock.seconds


def batch_loss(
    forward: Callable[[Tensor], Tensor],
    tokens: Tensor,
    lengths: Tensor,
    config: TrainConfig,
    *,
    among: Tensor | None = None,
) -> Tensor:
    """Mean bits of the batch, to be called inside `precision`; of a part of it, its share `among` so many."""
    with autocast(config.precision, tokens.device):
        return mean_bits(forward(tokens), tokens, lengths, among=among)


def _losses(update: Update, tokens: Tensor, lengths: Tensor, parts: int) -> Iterator[Tensor]:
    """Losses that add up to the batch's, those of all ranks together; each computed when it is asked for.

    Weighted by true tokens, not by rows: a mean of the parts' means would be another loss.
    """
    among = lengths.sum()
    tokens, lengths = update.ranks.rows(tokens), update.ranks.rows(lengths)
    parts = min(parts, len(tokens))  # a rank may have fewer rows than the first
    for rows, true in zip(tokens.tensor_split(parts), lengths.tensor_split(parts), strict=True):
        yield batch_loss(update.forward, rows, true, update.config, among=among)
