"""What the audio data sets share: their configuration, and the way from waveforms to tokens.

Which samples min-max looks at follows the originals. Recipe "s4" rescales the samples of the
(cut) clip alone and pads with token 128 afterwards; recipe "poolformer" pads the waveform with
zeros first and rescales the whole. Padding is masked by `lengths` either way: no model is trained
or scored on it.

Shapes: N clips, L tokens of a padded clip.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from harness.contracts import Provenance, Split, require
from harness.data import token_cache
from harness.data.quantisation import Quantiser, Recipe, decode, encode

PADDING = 128
LONGEST = 2**27
"""Samples of a clip: a slip of the keyboard should not ask for terabytes."""


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """How a clip becomes tokens; the same fields in every audio data set."""

    sample_rate: int = 8000
    """Samples a second; files of another rate are resampled."""
    seconds: float = 1.0
    """Length of a padded clip; longer ones are cut."""
    quantiser: Quantiser = "mu_law"
    min_max: bool = True
    """Stretch each clip to span all levels, as SaShiMi, Mamba and Poolformer do."""
    recipe: Recipe = "s4"
    """Whose details of quantisation: state-spaces/s4 or daniel-gallo/ssm, see `quantisation`."""

    def __post_init__(self) -> None:
        require(
            1000 <= self.sample_rate <= 384_000,
            "sample_rate",
            f"must lie between 1000 and 384000 Hz, got {self.sample_rate}",
        )
        require(
            math.isfinite(self.seconds) and 2 <= self.length <= LONGEST,
            "seconds",
            f"must give 2 to {LONGEST} samples, got {self.seconds}",
        )

    @property
    def length(self) -> int:
        """Tokens of a padded clip."""
        return round(self.sample_rate * self.seconds)

    @property
    def vocab_size(self) -> int:
        return 256


class Clip(NamedTuple):
    """A tokenised clip of `length` true tokens; the rest is padding."""

    tokens: np.ndarray  # uint8 [L]
    length: int
    cut: bool


def tokenise(waveform: np.ndarray, config: AudioConfig) -> Clip:
    """Float32[any length >= 1] -> a clip, cut or padded to `config.length`."""
    cut = len(waveform) > config.length
    waveform = waveform[: config.length]
    padding = config.length - len(waveform)
    options: dict[str, Any] = {
        "quantiser": config.quantiser,
        "min_max": config.min_max,
        "recipe": config.recipe,
    }
    if config.recipe == "poolformer":
        tokens = encode(np.pad(waveform, (0, padding)), **options)
    else:
        tokens = np.pad(encode(waveform, **options), (0, padding), constant_values=PADDING)
    return Clip(tokens, len(waveform), cut)


class AudioDataset:
    """Base of the audio data sets: opens the token cache, and fills it when it has to.

    A subclass says in `identity` what its tokens depend on besides the shared fields, in
    `write_clips` how to make them, and names its source, version and licence.
    """

    name: ClassVar[str]
    source: str
    licence: ClassVar[str]
    label_names: Sequence[str] = ()
    """What the labels 0, 1, … stand for; empty where there are none."""
    files_sha256: str | None = None
    """Of the list of files and the split of each, for sets that are made of files."""

    def __init__(self, config: AudioConfig) -> None:
        """Raises: DataError."""
        self.config = config
        self.vocab_size = config.vocab_size
        self.sample_rate: int | None = config.sample_rate
        self.length = config.length
        self.cached = cached = token_cache.open_or_build(
            self.name, {"config": self.tokens_config(), **self.identity()}, self.length, self.write_clips
        )
        self.splits: Mapping[str, Split] = cached.splits
        self.provenance = Provenance(
            source=self.source,
            version=self.version(),
            licence=self.licence,
            sha256=cached.sha256,
            clips={name: len(split) for name, split in cached.splits.items()},
            notes=cached.notes,
        )

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Integer[..., L] -> waveform Float32[..., L] in [-1, 1]."""
        return decode(tokens, quantiser=self.config.quantiser, recipe=self.config.recipe)

    @staticmethod
    def located(config: Any) -> str:
        """Where the data are on this machine, or what it takes to get them; reads no sound."""
        return "made here when asked for"

    def verify(self) -> list[str]:
        """Read everything again. Returns what was found right. Raises: DataError."""
        self.verify_files()
        token_cache.verify(self.cached)
        return [*self._files_in_words(), f"tokens as they were made: sha256 {self.cached.sha256}"]

    def verify_files(self) -> None:
        """Whether the files are still those that the tokens were made of. Raises: DataError."""

    def _files_in_words(self) -> list[str]:
        return []

    def tokens_config(self) -> dict[str, Any]:
        """The part of the configuration that can change a token or a split."""
        return dataclasses.asdict(self.config)

    def identity(self) -> Mapping[str, Any]:
        """What the tokens depend on besides the configuration: digests, versions."""
        raise NotImplementedError

    def version(self) -> str:
        raise NotImplementedError

    def write_clips(self, writer: token_cache.TokenWriter) -> Sequence[str]:
        """Add every clip to the cache. Returns notes for the provenance. Raises DataError."""
        raise NotImplementedError


def deviations(config: AudioConfig, published: AudioConfig) -> list[str]:
    """A note of what differs from the published way from sound to tokens, if anything does."""
    differing = [
        f"{name} {getattr(config, name)} instead of {getattr(published, name)}"
        for name in ("sample_rate", "seconds", "quantiser", "min_max")
        if getattr(config, name) != getattr(published, name)
    ]
    return [f"not as published: {', '.join(differing)}"] if differing else []


def count_note(count: int, what: str) -> list[str]:
    """A note that is there only when there is something to say."""
    return [f"{count} {what}"] if count else []
