"""A labelled data set of tones, a model that plays noise, and a classifier that listens to bands.

A plugin file: the tests of `harness sample` and `harness evaluate` name it in their suites.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from harness.contracts import Provenance, Split
from harness.data.quantisation import decode, encode
from harness.evaluation.quality.embedding import Embedding
from harness.registry import register

RATE, LENGTH, CLASSES = 8000, 640, 4
PITCHES = (300.0, 700.0, 1500.0, 3000.0)


def tones(count, seed):
    """Clips of two lengths, class after class: waveforms, true lengths, labels."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    lengths = np.where(np.arange(count) % 8 < 4, LENGTH, LENGTH // 2)
    pitches = np.array(PITCHES)[labels] * draw.uniform(0.9, 1.1, count)
    waves = np.sin(2 * np.pi * pitches[:, None] * np.arange(LENGTH) / RATE + draw.uniform(0, 6, (count, 1)))
    waves += 0.05 * draw.standard_normal(waves.shape)
    return (waves * draw.uniform(0.3, 0.9, (count, 1))).astype(np.float32), lengths, labels


@register("datasets", "tones")
class Tones:
    """Four pitches."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        labelled: bool = True
        sample_rate: int | None = RATE
        length: int = LENGTH
        vocab_size: int = 256

    def __init__(self, config):
        self.vocab_size, self.sample_rate, self.length = 256, config.sample_rate, config.length
        self.splits = {}
        for number, name in enumerate(("train", "validation", "test")):
            waves, lengths, labels = tones(48 if name == "train" else 24, number)
            tokens, lengths = encode(waves[:, : self.length]), np.minimum(lengths, self.length)
            for row, length in zip(tokens, lengths, strict=True):
                row[length:] = 128
            self.splits[name] = Split(
                tokens=tokens, lengths=lengths.astype(np.int64), labels=labels if config.labelled else None
            )
        self.provenance = Provenance(
            source="drawn", version="1", licence="none", sha256="0" * 64, clips={"train": 48}
        )

    def decode(self, tokens):
        return decode(tokens)


@register("models", "noise")
class Noise(nn.Module):
    """Every token by itself."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 1

    def __init__(self, config, vocab_size=256):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(vocab_size))

    def forward(self, tokens):
        return self.logits.expand(*tokens.shape, -1)

    def initial_state(self, batch_size):
        return batch_size

    def step(self, token, state):
        return self.logits.expand(state, -1), state

    def state_size(self, batch_size, length):
        return 0


class Bands:
    """A classifier's stand-in: the energies of eight bands, and which pitch is the loudest."""

    name, sha256, held_out, front_end = "bands", "b" * 64, "test", "eight bands"

    def __init__(self, accuracy=1.0):
        self.accuracy, self.too_weak, self.heard = accuracy, accuracy < 0.9, 0

    def embed(self, waveforms, sample_rate):
        assert sample_rate == RATE
        self.heard += len(waveforms)
        spectra = np.abs(np.fft.rfft(waveforms, axis=1))
        bands = np.stack([band.mean(axis=1) for band in np.array_split(spectra, 8, axis=1)], axis=1)
        frequencies = np.fft.rfftfreq(waveforms.shape[1], 1 / RATE)
        near = [spectra[:, np.abs(frequencies / pitch - 1) < 0.12].max(axis=1) for pitch in PITCHES]
        likely = np.stack(near, axis=1) ** 2 + 1e-6
        return Embedding(features=np.log1p(bands), probabilities=likely / likely.sum(axis=1, keepdims=True))
