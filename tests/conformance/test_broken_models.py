"""Each law is broken in turn: it is the one that fails, and its message says what happened."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lawful import Lawful, LawfulCounter, LawfulMixer
from torch import nn

from harness.conformance import Verdict, check_mixer, check_model, examples_of
from harness.errors import ConfigError, PluginError


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


BROKEN = [
    (
        LeaksTheFuture,
        "causality",
        r"evaluation mode, output \d+, when inputs \d+ to 23 were changed,",
    ),
    (LeaksBehindAZero, "causality", "output t may depend on inputs"),
    (SeesItsOwnTarget, "causality", r"output \d+, when inputs \d+ to 23"),
    (LeaksInTrainingOnly, "causality", "in training mode"),
    (LeaksInTrainingOnly, "batch independence", "in training mode"),
    (StepsDifferently, "forward equals step", r"at position \d+ of 161, row \d .*the state must carry"),
    (
        StartsAfreshInEveryChunk,
        "chunks equal the whole",
        r"the whole and resume up to position 1, then resume, differ by .* at position \d+ of 161",
    ),
    (LooksAcrossTheBatch, "batch independence", "row 0, when only rows 1 and 2 were changed"),
    (
        LikesEvenLengths,
        "any length",
        r"it raised RuntimeError: .* \(test_broken_models.py, line \d+\)",
    ),
    (
        PadsWrongly,
        "any length",
        "outputs of length 1 and the start of those of length 161, batch 1,",
    ),
    (HasAFixedVocabulary, "shape", r"\[2, 17, 256\] from forward, expected \[2, 17, 64\]"),
    (Overflows, "shape", "2 of 34 positions are not finite, first row 0, position 11"),
    (ReturnsTokens, "shape", "torch.int64"),
    (HasGradientsThatAreNotFinite, "gradients", "head.bias has 64 of 64 values that are not finite"),
    (HasAnIdleParameter, "gradients", "no gradient reaches forgotten,"),
    (DetachesAParameter, "gradients", "no gradient reaches decay, head.weight, table.weight,"),
    (KeepsWeightsOutsideTheStateDict, "save and load", "persistent buffers"),
    (IgnoresTheSeed, "different seeds differ", "all 4 parameters are equal after two different seeds"),
    (DrawsFromNumpy, "same seed same result", "differ in decay; draw random numbers from torch's"),
    (IsRandomInEvaluation, "evaluation is deterministic", "switch dropout"),
    (LiesAboutItsState, "state size", r"state_size\(1, 1\) says 8 bytes, the state's tensors have 32"),
    (
        ForgetsThatItsStateGrows,
        "state size",
        r"state_size\(2, 2\) says 64 bytes, .* tensors have 80",
    ),
]

ALSO_BREAK = {  # consequences that cannot be told apart
    LeaksTheFuture: {"forward equals step", "any length"},
    LeaksBehindAZero: {"forward equals step", "any length"},
    SeesItsOwnTarget: {"forward equals step"},
    LeaksInTrainingOnly: {"causality", "batch independence"},
    PadsWrongly: set(),
    LikesEvenLengths: {"shape", "forward equals step"},
    Overflows: {"forward equals step", "any length", "gradients"},
    ReturnsTokens: {"gradients"},
    DetachesAParameter: {"forward equals step"},
    IsRandomInEvaluation: {"forward equals step", "any length", "batch independence"},
}


def broken(verdicts):
    return {verdict.law: verdict.message for verdict in verdicts if not verdict.passed}


def test_what_keeps_the_laws_passes_them_all():
    verdicts = [*check_model(Lawful), *check_model(LawfulCounter), *check_mixer(LawfulMixer)]
    assert not broken([*verdicts, *check_model(Resumes), *check_model(ResumesWholePeriodsOnly)])


@pytest.mark.parametrize(
    ("model", "law", "message"), BROKEN, ids=[f"{model.__name__}-{law}" for model, law, _ in BROKEN]
)
def test_a_broken_law_is_the_one_that_fails_and_the_message_says_why(model, law, message):
    found = broken(check_model(model))
    assert re.search(message, found[law])
    assert set(found) - {law} <= ALSO_BREAK.get(model, set())


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


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (CountsThePadding, "after one with other padding differ .*; leave out tokens at and beyond"),
        (CountsOnTop, "a second fit differ .*; start every fit from nothing"),
        (KeepsTheLastBatch, "the same clips in two batches differ"),
    ],
)
def test_a_fit_must_see_all_clips_and_nothing_else(model, message):
    found = broken(check_model(model))
    assert set(found) == {"fit sees the clips alone (fitted)"}
    assert re.search(message, found.popitem()[1])


class LooksAhead(LawfulMixer):
    def forward(self, x):
        return super().forward(x) + 1e-3 * F.pad(x[:, 1:], (0, 0, 0, 1))


class ResumesWithoutItsState(LawfulMixer):
    def resume(self, x, state):
        return self(x), x[:, -1]


class KeepsAView(LawfulMixer):
    def step(self, x, state):
        both = torch.stack([state, x])
        return super().step(x, state)[0], both[1]


class Transforms(LawfulMixer):
    """A causal convolution by FFT: rounding carries every input to every output."""

    def forward(self, x):
        kernel = F.pad(torch.full((2,), 0.5, dtype=x.dtype), (0, 2 * x.shape[1]))
        spectrum = torch.fft.rfft(x, len(kernel), dim=1) * torch.fft.rfft(kernel)[:, None]
        return self.gain * torch.fft.irfft(spectrum, len(kernel), dim=1)[:, : x.shape[1]]


def test_a_mixer_may_see_its_own_input_but_none_later():
    found = broken(check_mixer(LooksAhead))
    assert set(found) == {"causality", "forward equals step", "any length"}
    assert "inputs up to and including t" in found["causality"]


def test_a_mixer_that_forgets_between_chunks_is_told_apart():
    found = broken(check_mixer(ResumesWithoutItsState))
    assert set(found) == {"chunks equal the whole"}
    assert "resume up to position 1, then resume, differ" in found["chunks equal the whole"]


def test_the_rounding_of_an_fft_is_no_leak_and_is_remarked():
    (causality,) = [verdict for verdict in check_mixer(Transforms) if verdict.law == "causality"]
    assert causality.passed
    assert re.search("equal but for rounding: .* in float32, .*e-1[5-7] in float64", causality.message)


def test_a_state_that_keeps_more_memory_alive_than_it_has_is_remarked():
    (size,) = [verdict for verdict in check_mixer(KeepsAView) if verdict.law == "state size"]
    assert size.passed
    assert "64 bytes are views that keep 128 allocated" in size.message


class Raises(Lawful):
    def __init__(self, config, vocab_size):
        raise ValueError("no luck today")


class HasNoSteps(nn.Module):
    Config = Lawful.Config

    def __init__(self, config, vocab_size):
        super().__init__()

    def forward(self, tokens):
        return tokens


class IsNoModule:
    Config = Lawful.Config

    def __init__(self, config, vocab_size):
        pass


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Raises, r"it raised ValueError: no luck today \(test_broken_models.py, line \d+\)"),
        (HasNoSteps, "lacks initial_state, step, state_size; see SequenceModel in harness.contracts"),
        (IsNoModule, "is not a torch.nn.Module"),
    ],
)
def test_what_cannot_be_built_is_one_failed_verdict(model, message):
    (verdict,) = check_model(model)
    assert (verdict.law, verdict.passed) == ("construction", False)
    assert re.search(message, verdict.message)


def test_verdicts_name_the_configuration_that_they_are_about():
    class Exemplary(Lawful):
        examples = ({"width": 2}, {"width": 3})

    assert {v.subject.split(".")[-1] for v in check_model(Exemplary)} == {
        "Exemplary {'width': 2}",
        "Exemplary {'width': 3}",
    }
    assert len(check_model(Exemplary, {"width": 4})) == len(check_model(Exemplary)) / 2
    assert examples_of(Lawful) == ({},)
    assert str(Verdict("causality", False, "it leaks", "mine")) == "BROKEN  causality  [mine]: it leaks"


def test_a_wrong_name_or_configuration_is_the_askers_error():
    with pytest.raises(ConfigError, match="did you mean 'transformer'"):
        check_model("transfomer")
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        check_model(Lawful, {"widht": 3})
    with pytest.raises(PluginError, match="has no configuration class"):
        check_mixer(nn.Identity)


def test_checking_leaves_the_random_state_as_it_was():
    before = torch.get_rng_state()
    check_model(Lawful)
    assert torch.equal(torch.get_rng_state(), before)
