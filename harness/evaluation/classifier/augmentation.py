"""Changes to a training clip that leave its label as it is.

Played faster or slower by a factor s, moved by o samples, in linear interpolation (zero outside):

    y[t] = x[s (t − o)]

then white noise, down to 50 dB below the clip and up to as loud as it; and a spectrum moved and stretched
along its mels. Loudness is not changed: spectrograms here are relative to the clip's peak.

Shapes: B batch, L samples, m mels, n frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.evaluation.classifier.settings import ClassifierSettings

QUIETEST_NOISE = 50.0
"""Decibels below the clip."""
STRETCH = 0.03
"""Of the mel axis, for each mel of `mel_shift`."""


class Augmentation:
    """Draws its numbers from a generator of its own."""

    def __init__(self, settings: ClassifierSettings, sample_rate: int, generator: torch.Generator) -> None:
        self.settings, self.sample_rate, self.generator = settings, sample_rate, generator

    def of_waveforms(self, waveforms: Tensor) -> Tensor:
        """Float32[B, L] -> Float32[B, L]."""
        settings, (batch, length) = self.settings, waveforms.shape
        speed = 1 + self._uniform(batch, -settings.speed, settings.speed)
        offset = self._uniform(batch, -settings.shift_seconds, settings.shift_seconds) * self.sample_rate
        played = _interpolated(waveforms, speed * (self._range(length) - offset))
        loudness = played.square().mean(dim=1, keepdim=True).sqrt()
        below = self._uniform(batch, 0.0, QUIETEST_NOISE)
        noisy = self._uniform(batch, 0.0, 1.0) < settings.noise
        noise = torch.randn(played.shape, generator=self.generator, device=played.device)
        return played + noisy * noise * loudness * 10 ** (-below / 20)

    def of_spectra(self, mel: Tensor) -> Tensor:
        """Float32[B, m, n] -> Float32[B, m, n]."""
        batch, mels, frames = mel.shape
        moved = self.settings.mel_shift
        if not moved:
            return mel
        stretch = 1 + self._uniform(batch, -STRETCH * moved, STRETCH * moved)
        places = stretch * self._range(mels) + self._uniform(batch, -moved, moved)
        rows = places.clamp(0, mels - 1)[:, None].expand(-1, frames, -1).reshape(-1, mels)
        found = _interpolated(mel.transpose(1, 2).reshape(-1, mels), rows)
        return found.view(batch, frames, mels).transpose(1, 2)

    def _uniform(self, batch: int, low: float, high: float) -> Tensor:
        """Float32[B, 1]"""
        drawn = torch.rand(batch, 1, generator=self.generator, device=self.generator.device)
        return low + (high - low) * drawn

    def _range(self, size: int) -> Tensor:
        return torch.arange(size, dtype=torch.float32, device=self.generator.device)


def _interpolated(rows: Tensor, places: Tensor) -> Tensor:
    """Float32[B, L] read between its samples at Float32[B, K], zero outside -> Float32[B, K]."""
    last = rows.shape[1] - 1
    below = places.floor().clamp(0, max(0, last - 1))
    share = places - below
    index = below.long()
    value = torch.lerp(rows.gather(1, index), rows.gather(1, (index + 1).clamp(max=last)), share)
    return value.masked_fill((places < 0) | (places > last), 0.0)
