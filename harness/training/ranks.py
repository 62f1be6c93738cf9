"""One training over several processes: each works through its rows of every batch, gradients are summed.

Every process, or rank, has the whole model, optimiser and average. They begin equal, because all start from
the first one's state, and stay so, because each applies the same summed gradient. Only the first validates,
saves and reports; the others compute. The update is that of one process up to the order of the sum, as
with `micro_batches`; dropout draws other masks of the same law.

Shapes: B rows of a batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.training.seeds import derive_seed, seed_generators

BUCKET = 2**24
"""Numbers of gradients that travel together; what is copied to send them needs so much memory more."""


class ExchangeFailed(Exception):
    """Another rank is gone, or does not answer: why, is to be asked of its process."""


class Ranks:
    """This process's place among those that train one model: the only one."""

    rank = 0
    count = 1

    @property
    def is_first(self) -> bool:
        """Whether this process validates, saves and reports."""
        return self.rank == 0

    def rows(self, batch: Tensor) -> Tensor:
        """Those that this process works through, of [B, ...]; as many on each, or one more on the first."""
        return batch.tensor_split(self.count)[self.rank]

    def seed(self, seed: int, step: int) -> None:
        """Put the random generators where this process needs them for a step.

        The first one's go on from step to step, as where it is alone, and are saved. Those of the others
        follow from their rank and the step, so that a training continues with any number of ranks.
        """

    def add_up(self, parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Make each gradient the sum over all ranks; the sum of their losses.

        Raises: ExchangeFailed
        """
        return loss

    def from_first(self, value: Any) -> Any:
        """What the first process has, in all of them. Raises: ExchangeFailed"""
        return value

    def wait(self) -> None:
        """Until all ranks are here. Raises: ExchangeFailed"""

    def check_equal(self, model: nn.Module) -> None:
        """Raises: HarnessError where weights or buffers differ between the ranks; ExchangeFailed"""


ALONE = Ranks()


class Together(Ranks):
    """One of several ranks, which has joined the default group of torch.distributed.

    `failed` tells whether another rank is known to be gone: what was received is of no use then.
    """

    def __init__(self, device: torch.device, failed: Callable[[], bool] = lambda: False) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self.device, self.failed = device, failed

    def seed(self, seed: int, step: int) -> None:
        if not self.is_first:
            seed_generators(derive_seed("training", seed, self.rank, step))

    def add_up(self, parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
        # A model may use a parameter for some rows only: it has a gradient where any rank has one.
        used = [float(p.grad is not None) for p in parameters]
        summed = torch.tensor([0.0, *used], dtype=torch.float64, device=self.device)
        summed[0] = loss
        with self._exchanging():
            dist.all_reduce(summed)
        gradients = []
        for parameter, users in zip(parameters, summed[1:].tolist(), strict=True):
            if users and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad is not None:
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            self._sum_in_place(bucket)
        return summed[0].to(loss)

    def from_first(self, value: Any) -> Any:
        box = [value if self.is_first else None]
        with self._exchanging():
            # Objects travel as tensors on the group's own kind of device.
            dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def wait(self) -> None:
        with self._exchanging():
            dist.all_reduce(torch.zeros(1, device=self.device))

    def check_equal(self, model: nn.Module) -> None:
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        own = torch.tensor([_sum_of_bytes(value) for value in state.values()], device=self.device)
        least, most = own.clone(), own.clone()
        with self._exchanging():
            dist.all_reduce(least, dist.ReduceOp.MIN)
            dist.all_reduce(most, dist.ReduceOp.MAX)
        if differing := [
            name for name, same in zip(state, (least == most).tolist(), strict=True) if not same
        ]:
            raise HarnessError(
                f"the {self.count} processes that train this model no longer agree on {differing[0]!r}: the "
                "model writes it in its forward pass, or its gradients are not repeatable; train it with "
                "one process (leave out `resources`)"
            )

    def _sum_in_place(self, gradients: Sequence[Tensor]) -> None:
        """One message for all of these, which are of one type."""
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with self._exchanging():
            dist.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(
            list(gradients), [part.view(g.shape) for part, g in zip(parts, gradients, strict=True)]
        )

    @contextlib.contextmanager
    def _exchanging(self) -> Iterator[None]:
        try:
            yield
            if self.device.type == "cuda":  # so that a failure shows here, and not in the model's next kernel
                torch.cuda.synchronize(self.device)
        except RuntimeError as error:
            raise ExchangeFailed(str(error)) from error
        if self.failed():
            raise ExchangeFailed("another rank is gone")


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Of one type, complex ones as real numbers, and of no more than BUCKET numbers or one gradient."""
    real = [torch.view_as_real(each) if each.is_complex() else each for each in gradients]
    for _, alike in groupby(sorted(real, key=lambda each: str(each.dtype)), key=lambda each: each.dtype):
        bucket: list[Tensor] = []
        numbers = 0
        for each in alike:
            if bucket and numbers + each.numel() > BUCKET:
                yield bucket
                bucket, numbers = [], 0
            bucket.append(each)
            numbers += each.numel()
        yield bucket


def _sum_of_bytes(tensor: Tensor) -> int:
    return int(tensor.detach().reshape(-1).view(torch.uint8).sum(dtype=torch.int64))
