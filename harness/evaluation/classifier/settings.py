"""What a classifier is and how it is trained; together with the data, its identity in the cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness import configuration
from harness.contracts import Spec, require
from harness.errors import ConfigError, did_you_mean

VERSION = 1
"""Part of every key. Raise it when the same settings and data have to give another classifier."""


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings:
    """The defaults are those of `small`; `PRESETS` has the others."""

    network: Literal["small", "resnext"] = "small"
    width: int = 24
    """Channels of the small network's first layer."""
    seed: int = 0

    epochs: int | None = None
    """null: as many as show about 48 000 clips, at least 6 and at most 100."""
    batch_size: int = 64
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["one_cycle", "plateau"] = "one_cycle"
    """plateau: a tenth whenever the validation loss has not improved for `patience` epochs."""
    patience: int = 5

    speed: float = 0.15
    """Clips are played faster or slower, and so higher or lower, by at most this share."""
    shift_seconds: float = 0.1
    """They start earlier or later by at most this."""
    noise: float = 0.5
    """Share of clips that get white noise, up to as loud as the clip and down to 50 dB below it."""
    mel_shift: float = 1.5
    """Spectra are moved by at most so many mels, and stretched by at most 3 % of a mel for each:
    voices from longer and shorter throats."""

    def __post_init__(self) -> None:
        for name in ("width", "batch_size", "patience"):
            require(getattr(self, name) >= 1, name, "must be at least 1")
        require(self.epochs is None or self.epochs >= 1, "epochs", "must be at least 1, or null")
        require(self.learning_rate > 0, "learning_rate", "must be positive")
        require(0 <= self.noise <= 1, "noise", "must lie between 0 and 1")
        for name in ("weight_decay", "speed", "shift_seconds", "mel_shift"):
            require(getattr(self, name) >= 0, name, "must not be negative")

    def epochs_for(self, clips: int) -> int:
        """Of a training set of so many clips."""
        return self.epochs or min(100, max(6, round(48_000 / clips)))


PRESETS: Mapping[str, ClassifierSettings] = {
    "small": ClassifierSettings(),
    # As its authors trained it, on a GPU. Theirs also drew the classes in equal shares, stretched
    # spectra in time, and took noise from recordings of the data set.
    "resnext": ClassifierSettings(
        network="resnext",
        epochs=70,
        batch_size=96,
        learning_rate=1e-2,
        weight_decay=1e-2,
        optimizer="sgd",
        schedule="plateau",
        speed=0.2,
        shift_seconds=0.2,
        mel_shift=0.0,
    ),
}


def settings_of(spec: Spec) -> ClassifierSettings:
    """``"small"``, or ``{"name": "small", "seed": 1}``: what is said beside the name wins.

    Raises: ConfigError
    """
    options: Mapping[str, Any] = {"name": spec} if isinstance(spec, str) else spec
    name = options.get("name", "small")
    if name not in PRESETS:
        raise ConfigError("name", f"no classifier is called {name!r}; {did_you_mean(str(name), PRESETS)}")
    own = {key: value for key, value in options.items() if key != "name"}
    return configuration.parse(ClassifierSettings, {**dataclasses.asdict(PRESETS[name]), **own})
