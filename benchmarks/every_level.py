"""Poolformer stepped as if nothing were known of its pooling: every level runs at every sample.

What a loop over a fixed program does, with a mask for the levels whose turn it is not. A level whose
window is not complete computes all its blocks, and all levels below it, and its result is thrown
away; otherwise the code, and so the result, is that of `step`.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from harness.contracts import State
from models.poolformer import Poolformer
from models.skip_block import SkipBlock


class EagerSkipBlock(SkipBlock):
    """Runs what is inside at each call, not only at every P-th."""

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if state["inputs"].shape[1] + 1 < self.down_pool.factor:
            self.inner.step(x, state["inner"])  # of the right shape; its values do not matter
        return super().step(x, state)


def every_level(model: Poolformer) -> nn.Module:
    """A copy of a model, whose levels are equally wide, with the same parameters and outputs."""
    if len({*model.config.level_widths}) > 1:
        raise ValueError(f"levels must be equally wide, got {model.config.level_widths}")
    naive = copy.deepcopy(model)
    for module in naive.modules():
        if isinstance(module, SkipBlock):
            module.__class__ = EagerSkipBlock
    return naive
