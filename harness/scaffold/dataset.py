"""template_name: tones of random pitch and loudness, in eight bits.

Everything below is yours to change. `harness check template_name.py` says whether it still is what
training and evaluation expect.

Shapes: N clips, L samples of a clip.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from harness.contracts import Provenance, Split, require
from harness.registry import register

SPLITS = ("train", "validation", "test")


@register("datasets", "template_name")
class TemplateName:
    """Tones of random pitch and loudness (the line that `harness list datasets` shows)."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        seconds: float = 0.1
        sample_rate: int = 8000
        clips: int = 100
        """Of the training split; validation and test have a tenth of it each."""
        seed: int = 0

        def __post_init__(self) -> None:
            require(self.seconds * self.sample_rate >= 2, "seconds", "must give at least 2 samples")
            require(self.clips >= 10, "clips", f"must be at least 10, got {self.clips}")

        @property
        def vocab_size(self) -> int:
            return 256

        @property
        def length(self) -> int:
            """Tokens of a padded clip."""
            return round(self.seconds * self.sample_rate)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.vocab_size, self.sample_rate, self.length = config.vocab_size, config.sample_rate, config.length
        counts = (config.clips, config.clips // 10, config.clips // 10)
        random = np.random.default_rng(config.seed)
        self.splits = {name: self._clips(count, random) for name, count in zip(SPLITS, counts, strict=True)}
        digest = hashlib.sha256(b"".join(self.splits[name].tokens.tobytes() for name in SPLITS))
        self.provenance = Provenance(
            source="computed by template_name.py",
            version="1",
            licence="none needed",
            sha256=digest.hexdigest(),
            clips=dict(zip(SPLITS, counts, strict=True)),
        )

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens [..., L] -> a waveform Float[..., L] in [-1, 1]."""
        return tokens.astype(np.float32) / 127.5 - 1

    def _clips(self, count: int, random: np.random.Generator) -> Split:
        seconds = np.arange(self.length) / self.sample_rate
        pitch = random.uniform(100, 800, (count, 1))
        loudness = random.uniform(0.2, 1, (count, 1))
        waveform = loudness * np.sin(2 * np.pi * pitch * seconds)
        tokens = np.round((waveform + 1) * 127.5).astype(np.uint8)
        return Split(tokens=tokens, lengths=np.full(count, self.length))
