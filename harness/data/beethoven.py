"""Beethoven: ten hours of piano sonatas in 4328 clips of eight seconds, 8-bit linear.

SampleRNN's set (Mehri et al., 2017) as SaShiMi uses it: 0.wav to 3807.wav for training, 3808.wav to
4067.wav for validation, 4068.wav to 4327.wav for the test, each of 128000 samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.music import Music, MusicConfig
from harness.data.quantisation import Quantiser


class Beethoven(Music):
    """Piano sonatas in 4328 clips of 8 s at 16 kHz, linearly quantised (SampleRNN's, SaShiMi's)."""

    name = "beethoven"
    source = "Beethoven piano sonatas (SampleRNN's), huggingface.co/datasets/krandiash/beethoven"
    licence = "none stated; the hub asks to accept its terms"
    recordings = 4328
    file_name = r"\d+\.wav"
    example = "0.wav to 4327.wav"
    layouts = ("beethoven",)
    repository = "krandiash/beethoven"
    archives = ("beethoven.zip",)

    @dataclass(frozen=True, kw_only=True)
    class Config(MusicConfig):
        seconds: float = 8.0
        quantiser: Quantiser = "linear"
