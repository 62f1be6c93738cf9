"""YouTubeMix: four hours of piano music in 241 recordings of a minute, 8-bit mu-law.

As SaShiMi uses it: 212 recordings for training, 14 for validation and 15 for the test, each cut into
seven segments of 131072 samples (8.192 s); the rest of its minute is dropped. Poolformer takes whole
recordings instead: ``seconds: 60.032, rest: pad``.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.music import Music, MusicConfig


class YouTubeMix(Music):
    """Piano music in 241 recordings of 1 min at 16 kHz, segments of 131072 samples (SaShiMi's)."""

    name = "youtubemix"
    source = "YouTubeMix (DeepSound's), huggingface.co/datasets/krandiash/youtubemix"
    licence = "none; for academic and research use only, the hub asks to accept its terms"
    recordings = 241
    file_name = r"[A-Za-z_]*\d+\.wav"
    example = "out000.wav to out240.wav"
    layouts = ("youtube_mix", "youtubemix")
    repository = "krandiash/youtubemix"
    archives = ("youtubemix.zip", "youtube_mix.zip")

    @dataclass(frozen=True, kw_only=True)
    class Config(MusicConfig):
        seconds: float = 8.192
