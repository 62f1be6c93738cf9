"""The order in which clips, or random crops of them, are trained on.

Shapes: B batch, L tokens of a batch's rows, N clips.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from harness.contracts import Split
from harness.training.seeds import derive_seed


class TrainingBatches:
    """Batches by number: any of them can be asked for at any time, so a run can resume anywhere.

    Each epoch visits every clip once in an order of its own, with crops of its own, drawn from the
    seed and the epoch's number alone: models that train with one seed see the same data. The last
    batch of an epoch is filled from the next. Only the rows of a batch are read from the split.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        crop: int | None,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.split = split
        self.batch_size = batch_size
        self.length = min(crop or split.tokens.shape[1], split.tokens.shape[1])
        self.seed = seed
        self.device = torch.device(device)
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Tokens Long[B, L] (zero where padded) and true lengths Long[B] of batch `number`."""
        tokens = np.zeros((self.batch_size, self.length), dtype=self.split.tokens.dtype)
        lengths = np.zeros(self.batch_size, dtype=np.int64)
        for row in range(self.batch_size):
            epoch, place = divmod(number * self.batch_size + row, len(self.split))
            order, starts = self._epoch(epoch)
            clip, start = order[place], starts[place]
            lengths[row] = min(self.length, self.split.lengths[clip] - start)
            tokens[row, : lengths[row]] = self.split.tokens[clip, start : start + lengths[row]]
        return self._to_device(tokens).long(), self._to_device(lengths)

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """A permutation of the clips, and where each one's crop begins."""
        draw = np.random.Generator(np.random.Philox(key=derive_seed("data", self.seed, epoch)))
        order = draw.permutation(len(self.split))
        places = np.maximum(self.split.lengths[order] - self.length, 0) + 1
        return order, (draw.random(len(order)) * places).astype(np.int64)

    def _to_device(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)
