"""From the gates: how long the channels of a level's state remember, on real clips.

A linear recurrence h_t = a_t h_{t-1} + b_t forgets what it read n steps ago by the product of the
decays since, exp(sum log|a|). Over a clip that is, for a channel,

    memory = -1 / mean_t log|a_t|  steps,  times the samples of a step,

after which 1/e is left; with a constant decay -1/log|a|. The mean is over the clip's true steps; the
distribution is over clips, channels and the mixers of a level. It bounds what a level can remember by
itself: not what it makes of it, nor what other paths carry.

Shapes: B batch, L steps of a layer, N channels of its state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from harness.contracts import PlacedMixer, State
from harness.evaluation.horizon.levels import CannotIsolate, Original, Steps, first_of, replaced


def memories(
    model: nn.Module, tokens: Tensor, lengths: Tensor, mixers: Sequence[PlacedMixer]
) -> dict[int, np.ndarray]:
    """level -> effective memories in samples, of every clip and channel; of levels that have decays.

    Raises: CannotIsolate for a layer that the model lists and does not call.
    """
    found: dict[int, list[np.ndarray]] = {}
    called: set[int] = set()

    def run(placed: PlacedMixer, original: Original, x: Steps) -> tuple[Steps, State]:
        called.add(id(placed.layer))
        log_decays = getattr(placed.layer, "log_decays", None)
        values = log_decays(x) if callable(log_decays) else None
        if values is not None:
            steps = torch.div(lengths, placed.stride, rounding_mode="floor")
            samples = placed.stride * effective_memory(values, first_of(x).shape[1], steps)
            found.setdefault(placed.level, []).append(samples.flatten().double().cpu().numpy())
        return original(x, None)

    with replaced(mixers, run):
        model(tokens)
    for placed in mixers:
        # of a longer stride, a short window may have no step
        if id(placed.layer) not in called and 2 * placed.stride <= tokens.shape[1]:
            raise CannotIsolate(
                f"{type(model).__name__} does not call its {type(placed.layer).__name__} of level "
                f"{placed.level} by `forward(x)` or `resume(x, state)`; what its `mixers()` lists must be "
                "what it calls (see `contracts.PlacedMixer`)"
            )
    return {level: np.concatenate(values) for level, values in found.items()}


def effective_memory(log_decay: Tensor, steps: int, valid_steps: Tensor) -> Tensor:
    """-1 / mean log|a| over each clip's true steps: Float[B, L, N] or Float[N] -> Float[., N], in steps.

    valid_steps: Long[B]; a clip too short for one step has no row.
    """
    if log_decay.ndim == 1:
        return -1 / log_decay[None]
    time = torch.arange(steps, device=log_decay.device)
    true = (time < valid_steps[:, None]).unsqueeze(-1)
    total = log_decay.masked_fill(~true, 0.0).sum(dim=1)
    rows = valid_steps > 0
    return -valid_steps[rows, None] / total[rows]
