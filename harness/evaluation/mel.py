"""Log-mel spectrograms, as librosa computes them and the published evaluation of SC09 uses them.

    P[k, n] = |STFT(x)[k, n]|²              Hann window of W samples, frames centred every H samples,
                                            zeros beyond both ends of the clip
    M[m, n] = Σ_k F[m, k] P[k, n]           triangles on Slaney's mel scale, each of area 1 (in Hz)
    S[m, n] = 10 log10 max(M[m, n], 1e-10) − 10 log10 max(max M, 1e-10),   at least −80

Decibels below the clip's loudest point: 0 at most, and the same for a clip made quieter. This is
`librosa.power_to_db(librosa.feature.melspectrogram(y, sr, …), ref=np.max)` of librosa 0.10 and later;
librosa before 0.9 mirrored the clip at its ends where zeros stand now, and the authors of the
published classifier did not pin it.

Shapes: N clips, T samples, m mels, n frames = 1 + T // H.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from harness.contracts import require
from harness.data.torchaudio_import import torchaudio

SMALLEST_POWER = 1e-10
CHUNK = 256
"""Clips transformed at once: an intermediate of 256 clips of a second takes some 100 MB."""


@dataclass(frozen=True, kw_only=True)
class MelSettings:
    """How a waveform becomes a log-mel spectrogram."""

    window: int
    """W: samples of the window and of the Fourier transform."""
    hop: int
    """H: samples from one frame to the next."""
    mels: int
    lowest_hz: float = 0.0
    highest_hz: float | None = None
    """null: half the sample rate."""
    decibels: float = 80.0
    """Whatever is further below the loudest point is raised to this."""

    def __post_init__(self) -> None:
        for name in ("window", "hop", "mels"):
            require(getattr(self, name) >= 1, name, "must be at least 1")
        require(self.lowest_hz >= 0, "lowest_hz", "must not be negative")
        require(
            self.highest_hz is None or self.highest_hz > self.lowest_hz,
            "highest_hz",
            f"must lie above lowest_hz ({self.lowest_hz:g})",
        )
        require(self.decibels > 0, "decibels", "must be positive")


PUBLISHED = MelSettings(window=2048, hop=512, mels=32)
"""Of the published SC09 classifier: a second at 16 kHz becomes 32 x 32."""


def general(sample_rate: int, *, mels: int = 40) -> MelSettings:
    """Speech at any rate: windows of at least 32 ms (a power of two), a frame every 16 ms.

    From 60 Hz on: below lies the offset that min-max quantisation gives a clip, and no voice. Fewer
    mels at a low rate, so that each spans a few frequencies of the transform.
    """
    window = 1 << (max(2, round(0.032 * sample_rate)) - 1).bit_length()
    hop = max(1, round(0.016 * sample_rate))
    return MelSettings(window=window, hop=hop, mels=min(mels, max(8, window // 6)), lowest_hz=60.0)


def log_mel(
    waveforms: np.ndarray, sample_rate: int, *, settings: MelSettings = PUBLISHED, chunk: int = CHUNK
) -> np.ndarray:
    """Float32[N, T] -> Float32[N, m, n], in [-settings.decibels, 0]."""
    batches = torch.from_numpy(np.ascontiguousarray(waveforms, dtype=np.float32)).split(chunk)
    with torch.inference_mode():
        return torch.cat([log_mel_of(batch, sample_rate, settings) for batch in batches]).numpy()


def log_mel_of(waveforms: Tensor, sample_rate: int, settings: MelSettings) -> Tensor:
    """Float32[N, T] -> Float32[N, m, n] on the same device."""
    spectra = torch.stft(
        waveforms,
        settings.window,
        settings.hop,
        window=torch.hann_window(settings.window, device=waveforms.device),
        pad_mode="constant",
        return_complex=True,
    )
    power = spectra.real.square() + spectra.imag.square()
    mel = _filters(settings, sample_rate).to(waveforms.device) @ power
    decibels = 10 * mel.clamp(min=SMALLEST_POWER).log10()
    return (decibels - decibels.amax(dim=(1, 2), keepdim=True)).clamp(min=-settings.decibels)


@cache
@torch.inference_mode(False)  # kept for whoever comes next, who may train
def _filters(settings: MelSettings, sample_rate: int) -> Tensor:
    """F: Float32[m, W // 2 + 1]."""
    filters = torchaudio().functional.melscale_fbanks(
        n_freqs=settings.window // 2 + 1,
        f_min=settings.lowest_hz,
        f_max=settings.highest_hz or sample_rate / 2,
        n_mels=settings.mels,
        sample_rate=sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return filters.T.contiguous()
