"""Models that break one law each."""

import numpy as np
import torch
import torch.nn.functional as F
from lawful import Lawful, LawfulCounter
from torch import nn


class LeaksTheFuture(Lawful):
    """A norm over time."""

    def forward(self, tokens):
        logits = super().forward(tokens)
        return logits - 0.01 * logits.mean(1, keepdim=True)


class LeaksBehindAZero(Lawful):
    """The same, behind a gate that opens only in training."""

    def __init__(self, config, vocab_size):
        super().__init__(config, vocab_size)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, tokens):
        logits = super().forward(tokens)
        return logits + self.gate * logits.mean(1, keepdim=True)


class SeesItsOwnTarget(Lawful):
    """No shift."""

    def forward(self, tokens):
        return super().forward(torch.cat([tokens, tokens[:, -1:]], 1))[:, 1:]


class LeaksInTrainingOnly(Lawful):
    """Batch normalisation: lawful in evaluation mode."""

    def __init__(self, config, vocab_size):
        super().__init__(config, vocab_size)
        self.norm = nn.BatchNorm1d(vocab_size)

    def forward(self, tokens):
        return self.norm(super().forward(tokens).transpose(1, 2)).transpose(1, 2)

    def step(self, token, state):
        logits, state = super().step(token, state)
        return self.norm(logits), state


class StepsDifferently(Lawful):
    def step(self, token, state):
        logits, new = super().step(token, state)
        return logits, new if token is None else 0.9 * new


class Resumes(Lawful):
    """Reads chunks, step by step; the state is joined by the last token."""

    def resume(self, tokens, state):
        token, hidden = state if isinstance(state, tuple) else (None, state)
        logits = []
        for t in range(tokens.shape[1]):
            one, hidden = Lawful.step(self, token, hidden)
            logits.append(one)
            token = tokens[:, t]
        return torch.stack(logits, 1), (token, hidden)

    def step(self, token, state):
        return super().step(token, state[1] if isinstance(state, tuple) else state)


class StartsAfreshInEveryChunk(Resumes):
    def resume(self, tokens, state):
        return super().resume(tokens, self.initial_state(len(tokens)))


class ResumesWholePeriodsOnly(Resumes):
    period = 4

    def resume(self, tokens, state):
        logits, state = super().resume(tokens, state)
        return logits, state if tokens.shape[1] % self.period == 0 else None


class LooksAcrossTheBatch(Lawful):
    def read(self, hidden):
        return self.head(hidden - hidden.mean(0, keepdim=True))


class LikesEvenLengths(Lawful):
    def forward(self, tokens):
        return super().forward(tokens).unflatten(1, (-1, 2)).flatten(1, 2)


class PadsWrongly(Lawful):
    """Short sequences are padded, and the padding changes them."""

    def forward(self, tokens):
        return super().forward(tokens) * (0.5 if tokens.shape[1] < 6 else 1)


class HasAFixedVocabulary(Lawful):
    def __init__(self, config, vocab_size):
        super().__init__(config, vocab_size)
        self.head = nn.Linear(config.width, 256)


class Overflows(Lawful):
    def forward(self, tokens):
        logits = super().forward(tokens)
        return logits.masked_fill(torch.arange(tokens.shape[1])[:, None] == 11, -torch.inf)


class ReturnsTokens(Lawful):
    def read(self, hidden):
        return self.head(hidden).long()


class HasGradientsThatAreNotFinite(Lawful):
    def read(self, hidden):
        return self.head(hidden) + (0 * self.head.bias).abs().sqrt()


class HasAnIdleParameter(Lawful):
    def __init__(self, config, vocab_size):
        super().__init__(config, vocab_size)
        self.forgotten = nn.Parameter(torch.randn(3))


class DetachesAParameter(Lawful):
    def forward(self, tokens):
        return F.linear(super().forward(tokens) * 0 + 1, torch.eye(self.head.out_features), self.head.bias)


class KeepsWeightsOutsideTheStateDict(Lawful):
    def __init__(self, config, vocab_size):
        super().__init__(config, vocab_size)
        self.shift = torch.randn(config.width)

    def read(self, hidden):
        return self.head(hidden + self.shift)


class IgnoresTheSeed(Lawful):
    def __init__(self, config, vocab_size):
        super().__init__(config, vocab_size)
        mine = torch.Generator().manual_seed(7)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=mine)


class DrawsFromNumpy(Lawful):
    def __init__(self, config, vocab_size):
        super().__init__(config, vocab_size)
        self.decay.data = torch.from_numpy(np.random.default_rng().random(config.width, np.float32))


class IsRandomInEvaluation(Lawful):
    def forward(self, tokens):
        return F.dropout(super().forward(tokens), 0.1, training=True)


class LiesAboutItsState(Lawful):
    def state_size(self, batch_size, length):
        return batch_size * 8


class ForgetsThatItsStateGrows(Lawful):
    """Every step keeps its token, and nobody counts them."""

    def initial_state(self, batch_size):
        return super().initial_state(batch_size), []

    def forward(self, tokens):
        logits, hidden, token = [], Lawful.initial_state(self, len(tokens)), None
        for t in range(tokens.shape[1]):
            one, hidden = Lawful.step(self, token, hidden)
            logits.append(one)
            token = tokens[:, t]
        return torch.stack(logits, 1)

    def step(self, token, state):
        hidden, history = state
        logits, hidden = super().step(token, hidden)
        return logits, (hidden, history if token is None else [*history, {"token": token}])


class CountsThePadding(LawfulCounter):
    def count(self, tokens, lengths):
        super().count(tokens, torch.full_like(lengths, tokens.shape[1]))


class CountsOnTop(LawfulCounter):
    def fit(self, batches):
        for tokens, lengths in batches:
            self.count(tokens, lengths)


class KeepsTheLastBatch(LawfulCounter):
    def count(self, tokens, lengths):
        self.counts.fill_(1)
        super().count(tokens, lengths)
