"""A model or a mixer seen through one door, so that each law is written once.

Shapes: B batch, L length, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import SequenceModel, State, TemporalMixer


class Subject(Protocol):
    """What a law knows of the thing that it judges."""

    contract: ClassVar[type]
    ahead: ClassVar[int]
    """Input t may change outputs from t + ahead on."""

    def build(self, seed: int) -> nn.Module: ...

    def blank(self, seed: int) -> nn.Module:
        """As built, before anything was fitted: what a checkpoint is loaded into."""
        ...

    def inputs(self, batch_size: int, length: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The same ones every time."""
        ...

    def disturb(self, inputs: Tensor) -> Tensor:
        """Other inputs of the same shape: every element differs."""
        ...

    def outputs(self, inputs: Tensor) -> tuple[int, ...]:
        """The shape that forward must return."""
        ...

    def rollout(
        self, module: nn.Module, inputs: Tensor, state: State | None = None, first: int = 0
    ) -> tuple[Tensor, State]:
        """All outputs from `first` on, computed step by step, and the state after as many steps.

        `state` is the state before the first of them (None: the initial one).
        """
        ...

    def loss(self, outputs: Tensor, inputs: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class ModelSubject:
    cls: Any
    config: Any
    vocab_size: int
    fitted: bool = False

    contract: ClassVar[type] = SequenceModel
    ahead: ClassVar[int] = 1

    def build(self, seed: int) -> nn.Module:
        module = self.blank(seed)
        if self.fitted:
            module.fit([self.clips()])
        return module

    def blank(self, seed: int) -> Any:
        torch.manual_seed(seed)
        return self.cls(self.config, vocab_size=self.vocab_size)

    def clips(self) -> tuple[Tensor, Tensor]:
        """Something to fit: tokens Long[B, L], padded, and their true lengths Long[B]."""
        return self.inputs(5, 41), torch.tensor([41, 1, 17, 40, 8])

    def inputs(self, batch_size: int, length: int, dtype: torch.dtype = torch.float32) -> Tensor:
        random = torch.Generator().manual_seed(length)
        return torch.randint(self.vocab_size, (batch_size, length), generator=random)

    def disturb(self, inputs: Tensor) -> Tensor:
        random = torch.Generator().manual_seed(1)
        shift = torch.randint(1, self.vocab_size, inputs.shape, generator=random)
        return (inputs + shift) % self.vocab_size

    def outputs(self, inputs: Tensor) -> tuple[int, ...]:
        return (*inputs.shape, self.vocab_size)

    def rollout(
        self, module: Any, inputs: Tensor, state: State | None = None, first: int = 0
    ) -> tuple[Tensor, State]:
        state, outputs = module.initial_state(len(inputs)) if state is None else state, []
        for t in range(first, inputs.shape[1]):
            logits, state = module.step(inputs[:, t - 1] if t else None, state)
            outputs.append(logits)
        return torch.stack(outputs, dim=1), state

    def loss(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, 1), inputs.flatten())


@dataclass(frozen=True)
class MixerSubject:
    cls: Any
    config: Any
    width: int
    stride: int

    contract: ClassVar[type] = TemporalMixer
    ahead: ClassVar[int] = 0

    def build(self, seed: int) -> nn.Module:
        return self.blank(seed)

    def blank(self, seed: int) -> Any:
        torch.manual_seed(seed)
        return self.cls(self.config, width=self.width, stride=self.stride)

    def inputs(self, batch_size: int, length: int, dtype: torch.dtype = torch.float32) -> Tensor:
        random = torch.Generator().manual_seed(length)
        return torch.randn(batch_size, length, self.width, generator=random).to(dtype)

    def disturb(self, inputs: Tensor) -> Tensor:
        random = torch.Generator().manual_seed(1)
        return inputs + 1 + torch.rand(inputs.shape, generator=random).to(inputs.dtype)

    def outputs(self, inputs: Tensor) -> tuple[int, ...]:
        return tuple(inputs.shape)

    def rollout(
        self, module: Any, inputs: Tensor, state: State | None = None, first: int = 0
    ) -> tuple[Tensor, State]:
        state, outputs = module.initial_state(len(inputs)) if state is None else state, []
        for t in range(first, inputs.shape[1]):
            output, state = module.step(inputs[:, t], state)
            outputs.append(output)
        return torch.stack(outputs, dim=1), state

    def loss(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        return (outputs * self.disturb(inputs)).sum()
