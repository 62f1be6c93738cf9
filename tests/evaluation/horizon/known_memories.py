"""Models whose memory is known, and small ones of the registry, for the tests of the memory horizon."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import settings
from torch import nn

from harness import configuration
from models.mixers.recurrence import RecurrentMixer

VOCABULARY = 16
few = settings(max_examples=8, deadline=None)


class Delay(RecurrentMixer):
    """Gives back what came `lag` steps ago: a memory of known length. Its state is the last inputs."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        lag: int = 1

    def __init__(self, config, *, width, stride=1):
        super().__init__()
        self.lag, self.width = config.lag, width

    def resume(self, x, state):
        past = self.initial_state(len(x)) if state is None else state
        window = torch.cat((past, x), dim=1)
        return window[:, : x.shape[1]], window[:, x.shape[1] :]

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, self.lag, self.width)


class Repeater(nn.Module):
    """Says the token of `lag` steps ago, by two mixers, of which the second remembers nothing."""

    def __init__(self, lag: int):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, VOCABULARY)
        nn.init.eye_(self.embedding.weight)
        # of the shifted tokens, the lag - 1 th before is the token of `lag` ago
        self.delay = Delay(Delay.Config(lag=lag - 1), width=VOCABULARY)
        self.nothing = Delay(Delay.Config(lag=0), width=VOCABULARY)

    def forward(self, tokens):
        return 9 * self.nothing(self.delay(self.embedding(F.pad(tokens[:, :-1], (1, 0)))))


def periodic(lag: int, length: int = 256, clips: int = 4):
    tokens = torch.randint(VOCABULARY, (clips, lag), generator=torch.Generator().manual_seed(0))
    return tokens.repeat(1, -(-length // lag))[:, :length], torch.full((clips,), length)


def build(name, seed=0, **config):
    torch.manual_seed(seed)
    model = configuration.build("models", {"name": name, **config}, vocab_size=VOCABULARY)
    for parameter in model.parameters():  # some begin at zero, where nothing flows
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model.eval()


def example(name):
    cls = configuration.resolve("models", name).cls
    return build(name, **next(iter(getattr(cls, "examples", ({},)))))


def clips(length=48, count=3):
    tokens = torch.randint(VOCABULARY, (count, length), generator=torch.Generator().manual_seed(1))
    return tokens, torch.tensor([length, length - 5, length][:count])
