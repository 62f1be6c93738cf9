"""A small recurrent model, a uniform one and data sets, for tests of evaluation alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import registry
from harness.contracts import MetricContext, Split

torch.set_num_threads(1)

VOCABULARY = 256


@registry.register("models", "evaluation_toy")
class Toy(nn.Module):
    """A leaky sum of embeddings: its forward pass is a convolution, its step a recurrence."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 6
        dropout: float = 0.0

    def __init__(self, config: Config, vocab_size: int = VOCABULARY) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size + 1, config.width)
        self.decay = nn.Parameter(torch.full((config.width,), 0.7))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(F.pad(tokens[:, :-1], (1, 0), value=self.head.out_features))
        h, outputs = torch.zeros_like(x[:, 0]), []
        for x_t in x.unbind(1):
            h = self.decay * h + x_t
            outputs.append(h)
        return self.head(self.dropout(torch.stack(outputs, 1)))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.decay.new_zeros(batch_size, len(self.decay))

    def step(self, token: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor]:
        if token is None:
            token = torch.full((len(state),), self.head.out_features)
        state = self.decay * state + self.table(token)
        return self.head(self.dropout(state)), state

    def state_size(self, batch_size: int, length: int) -> int:
        return 4 * batch_size * len(self.decay)


@registry.register("models", "evaluation_counted")
class Counted(nn.Module):
    """Uniform, and estimated in closed form: it has nothing to estimate."""

    @dataclass(frozen=True, kw_only=True)
    class Config: ...

    def __init__(self, config: Config, vocab_size: int = VOCABULARY) -> None:
        super().__init__()
        self.vocab_size = vocab_size

    def fit(self, batches) -> None: ...

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.zeros(*tokens.shape, self.vocab_size)

    def initial_state(self, batch_size: int) -> int:
        return batch_size

    def step(self, token: Tensor | None, state: int) -> tuple[Tensor, int]:
        return torch.zeros(state, self.vocab_size), state

    def state_size(self, batch_size: int, length: int) -> int:
        return 0


def make_split(lengths, padded: int, seed: int = 0) -> Split:
    draw = np.random.default_rng(seed)
    tokens = draw.integers(VOCABULARY, size=(len(lengths), padded)).astype(np.uint8)
    return Split(tokens=tokens, lengths=np.asarray(lengths, dtype=np.int64))


@pytest.fixture
def split():
    return make_split


@pytest.fixture
def toy():
    def build(seed: int = 0, **config) -> Toy:
        torch.manual_seed(seed)
        return Toy(Toy.Config(**config))

    return build


@pytest.fixture
def counted() -> Counted:
    return Counted(Counted.Config())


@pytest.fixture
def context(tmp_path):
    """A metric's context around a model, on ragged clips of at most 40 tokens at 8 kHz."""

    def build(model: nn.Module, name: str, train: Mapping[str, Any] | None = None) -> MetricContext:
        lengths = np.random.default_rng(1).integers(1, 41, size=(3, 20))
        splits = {
            part: make_split(lengths[n], 40, n) for n, part in enumerate(("train", "validation", "test"))
        }
        dataset: Any = SimpleNamespace(splits=splits, length=40, vocab_size=VOCABULARY, sample_rate=8000)
        return MetricContext(
            model=model.eval(),
            dataset=dataset,
            device=torch.device("cpu"),
            config={"model": {"name": name}, "train": {"crop": 16, "batch_size": 4} | dict(train or {})},
            seed=0,
            folder=tmp_path,
        )

    return build
