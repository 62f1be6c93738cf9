"""Mixers that break a law, or seem to."""

import re

import torch
import torch.nn.functional as F
from lawful import LawfulMixer, broken

from harness.conformance import check_mixer


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
