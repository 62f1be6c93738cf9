"""Spoken digits from a synthesiser: any number of speakers, exact labels, no download.

A pseudo-speaker is a voice variant of espeak-ng (timbre) with an accent, a pitch and a speaking
rate. Each variant belongs to one split only, so that no split holds a timbre of another: the
nearest that a synthesiser comes to unheard speakers.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from harness.contracts import require
from harness.data import espeak
from harness.data.audio import AudioConfig, AudioDataset, count_note, tokenise
from harness.data.audio_file import resample
from harness.data.digits import DIGITS
from harness.data.token_cache import SPLITS, TokenWriter
from harness.errors import DataError

# espeak-ng's own names; "en" is British English, known elsewhere as en-gb.
ACCENTS = (
    "en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc",
)  # fmt: skip
PITCHES = range(30, 71, 5)
RATES = range(130, 191, 10)  # words a minute

HELD_OUT = 0.1
"""Share of the variants, and of the speakers, in each of validation and test."""


class Speaker(NamedTuple):
    variant: str
    accent: str
    pitch: int
    rate: int


class SyntheticDigits(AudioDataset):
    """Synthetic spoken digits (espeak-ng): embedded, any size, split by pseudo-speaker."""

    name = "synthetic_digits"
    source = "synthetic (espeak-ng), spoken digits zero to nine"
    licence = "generated here, unencumbered (the engine espeak-ng is GPL-3.0-or-later)"
    label_names = DIGITS

    @dataclass(frozen=True, kw_only=True)
    class Config(AudioConfig):
        speakers: int = 60
        """Pseudo-speakers in all; a tenth each (at least one) for validation and test."""
        takes: int = 1
        """How often a speaker says each digit, with small changes of pitch and rate."""
        seed: int = 0
        """Which speakers are drawn. Part of the data, not of a trial's randomness."""

        def __post_init__(self) -> None:
            super().__post_init__()
            require(
                3 <= self.speakers <= 20_000,
                "speakers",
                f"must lie between 3 and 20000, got {self.speakers}",
            )
            require(1 <= self.takes <= 1000, "takes", f"must lie between 1 and 1000, got {self.takes}")

    config: Config

    def version(self) -> str:
        return f"espeak-ng {espeak.engine_version()} (espeakng-loader {_loader_version()})"

    def identity(self) -> Mapping[str, Any]:
        return {"engine": self.version(), "batch": espeak.BATCH}

    def write_clips(self, writer: TokenWriter) -> Sequence[str]:
        config = self.config
        speakers = draw_speakers(espeak.variants(), config.speakers, config.seed)
        chance = random.Random(f"takes {config.seed}")
        script = [
            (split, digit, _utterance(speaker, digit, chance))
            for split in SPLITS
            for speaker in speakers[split]
            for digit in range(len(DIGITS))
            for _ in range(config.takes)
        ]
        cut = 0
        for (split, digit, _), (samples, rate) in zip(
            script, espeak.speak([utterance for *_, utterance in script]), strict=True
        ):
            waveform = resample(samples.astype(np.float32) / 2**15, rate, config.sample_rate)
            clip = tokenise(waveform, config)
            writer.add(split, clip.tokens, clip.length, digit)
            cut += clip.cut
        counts = ", ".join(f"{len(speakers[split])} {split}" for split in SPLITS)
        return ["synthetic speech", f"pseudo-speakers: {counts}", *count_note(cut, "clips cut to length")]


def draw_speakers(variants: Sequence[str], count: int, seed: int) -> dict[str, list[Speaker]]:
    """`count` different speakers, divided so that no variant is in two splits.

    Raises: DataError when espeak-ng has too few variants.
    """
    if len(variants) < 3:
        raise DataError(f"espeak-ng has {len(variants)} voice variants; reinstall espeakng-loader")
    chance = random.Random(f"speakers {seed}")
    shuffled = chance.sample(variants, len(variants))
    voices = _share(len(variants))
    people = _share(count)
    speakers = {}
    for split in SPLITS:
        shuffled, mine = shuffled[voices[split] :], shuffled[: voices[split]]
        speakers[split] = list(itertools.islice(_speakers(mine, chance), people[split]))
    return speakers


def _share(total: int) -> dict[str, int]:
    held_out = max(1, round(total * HELD_OUT))
    return {"train": total - 2 * held_out, "validation": held_out, "test": held_out}


def _speakers(variants: Sequence[str], chance: random.Random) -> Iterator[Speaker]:
    """Endless: each variant in turn, every time as somebody new."""
    seen = set()
    for variant in itertools.cycle(variants):
        speaker = Speaker(variant, chance.choice(ACCENTS), chance.choice(PITCHES), chance.choice(RATES))
        if speaker not in seen:
            seen.add(speaker)
            yield speaker


def _utterance(speaker: Speaker, digit: int, chance: random.Random) -> espeak.Utterance:
    return espeak.Utterance(
        voice=f"{speaker.accent}+{speaker.variant}",
        text=DIGITS[digit],
        pitch=speaker.pitch + chance.randint(-2, 2),
        rate=speaker.rate + chance.randint(-4, 4),
    )


def _loader_version() -> str:
    try:
        return importlib.metadata.version("espeakng-loader")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
