"""What a classifier hears: waveforms at its rate and of its length, as log-mel spectrograms.

Shapes: N clips, T samples as given, L samples of the classifier, m mels, n frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.audio_file import resample
from harness.evaluation.mel import PUBLISHED, MelSettings, general, log_mel_of


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """The way from a waveform to a network's input, which is part of a classifier."""

    sample_rate: int
    length: int
    """L: longer clips are cut, shorter ones get zeros behind them, as in the published evaluation."""
    mel: MelSettings
    offset: float = 0.0
    scale: float = 1.0
    """The network sees (decibels + offset) / scale."""

    def load(self, waveforms: np.ndarray, sample_rate: int) -> Tensor:
        """Float32[N, T] at any rate -> Float32[N, L]."""
        resampled = resample(np.ascontiguousarray(waveforms, dtype=np.float32), sample_rate, self.sample_rate)
        cut = torch.from_numpy(resampled[:, : self.length])
        return F.pad(cut, (0, self.length - cut.shape[1]))

    def __call__(self, waveforms: Tensor) -> Tensor:
        """Float32[N, L] -> Float32[N, m, n]."""
        return (log_mel_of(waveforms, self.sample_rate, self.mel) + self.offset) / self.scale


def published_front_end() -> FrontEnd:
    """A second at 16 kHz, decibels as they are: 32 x 32 numbers from -80 to 0."""
    return FrontEnd(sample_rate=16000, length=16000, mel=PUBLISHED)


def small_front_end(sample_rate: int, length: int) -> FrontEnd:
    """Clips of the data set at its own rate; decibels centred on the middle of their range."""
    mel = general(sample_rate)
    return FrontEnd(
        sample_rate=sample_rate, length=length, mel=mel, offset=mel.decibels / 2, scale=mel.decibels / 4
    )
