"""A small model, mixer and counter that keep every law, for tests to break one at a time."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Plain:
    width: int = 8


class Lawful(nn.Module):
    """A leaky sum of token embeddings."""

    Config = Plain

    def __init__(self, config, vocab_size):
        super().__init__()
        self.table = nn.Embedding(vocab_size + 1, config.width)
        self.decay = nn.Parameter(torch.rand(config.width))
        self.head = nn.Linear(config.width, vocab_size)

    def read(self, hidden):
        return self.head(hidden)

    def forward(self, tokens):
        logits, state, token = [], self.initial_state(len(tokens)), None
        for t in range(tokens.shape[1]):
            one, state = Lawful.step(self, token, state)
            logits.append(one)
            token = tokens[:, t]
        return torch.stack(logits, 1)

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, len(self.decay), dtype=self.decay.dtype)

    def step(self, token, state):
        if token is None:
            token = torch.full((len(state),), self.table.num_embeddings - 1)
        state = state * self.decay.sigmoid() + self.table(token)
        return self.read(state), state

    def state_size(self, batch_size, length):
        return batch_size * len(self.decay) * self.decay.element_size()


class LawfulMixer(nn.Module):
    """Each output is half its input and half the one before."""

    Config = Plain

    def __init__(self, config, width, stride):
        super().__init__()
        self.gain = nn.Parameter(torch.randn(width))

    def forward(self, x):
        before = torch.nn.functional.pad(x[:, :-1], (0, 0, 1, 0))
        return self.gain * (x + before) / 2

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, len(self.gain))

    def step(self, x, state):
        return self.gain * (x + state) / 2, x

    def state_size(self, batch_size, length):
        return batch_size * len(self.gain) * 4


class LawfulCounter(nn.Module):
    """Add-one histogram."""

    Config = Plain

    def __init__(self, config, vocab_size):
        super().__init__()
        self.register_buffer("counts", torch.ones(vocab_size))

    def fit(self, batches):
        self.counts.fill_(1)
        for tokens, lengths in batches:
            self.count(tokens, lengths)

    def count(self, tokens, lengths):
        for row, length in zip(tokens, lengths, strict=True):
            self.counts += torch.bincount(row[:length], minlength=len(self.counts))

    def forward(self, tokens):
        return (self.counts / self.counts.sum()).log().expand(*tokens.shape, -1)

    def initial_state(self, batch_size):
        return batch_size

    def step(self, token, state):
        return (self.counts / self.counts.sum()).log().expand(state, -1), state

    def state_size(self, batch_size, length):
        return 0


def broken(verdicts):
    """law -> message of those that failed."""
    return {verdict.law: verdict.message for verdict in verdicts if not verdict.passed}
