"""What a suite says about its tuning stage, and the settings that a search tries.

The random draws are ours and depend on the seed and the setting's name alone: every variant is tried with
the same values, and a setting more in the search leaves those of the others as they were.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.contracts import require
from harness.errors import ConfigError, did_you_mean

MOST_TRIALS = 10_000
"""Of one search."""

KINDS = {
    "uniform": "a number between two, each as likely",
    "log_uniform": "a number between two above 0, each factor as likely",
    "integers": "a whole number from the first to the last",
    "choice": "one of a list",
}

NOT_SEARCHED = {
    "name": "another model or data set is another variant; write it under `variants`",
    "preset": "a preset is many settings; name them",
    "steps": "every search trial has the same length; `max_steps` sets it",
    "crop": "validation would read other windows, and its NLL be another quantity",
    "validate_every": "it changes nothing in a model",
    "validation_clips": "validation would read other clips, and its NLL be another quantity",
}


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Before the final stage, the same search for every variant, judged by validation alone."""

    over: dict[str, dict[str, Any]] = field(default_factory=dict)
    """setting -> how it is drawn: ``train.learning_rate: {log_uniform: [1e-4, 1e-1]}``; see `KINDS`."""
    trials: int = 16
    """Search trials of each variant."""
    max_steps: int | None = None
    """Updates of a search trial; null, or where it has fewer: the variant's own `train.steps`."""
    scheduler: Literal["asha", "none"] = "asha"
    """asha: the worse search trials are stopped at `grace_steps`, and at `reduction` times as many, and
    so on (Li et al. 2020, asynchronous successive halving). none: all run to the end."""
    grace_steps: int | None = None
    """Before which none is stopped; null: the first point of the learning curve."""
    reduction: int = 3
    """One in so many goes on at each of asha's halts."""
    search: Literal["random", "optuna"] = "random"
    """optuna: its tree-structured Parzen estimator, where it is installed; the draws are then its own."""
    metric: Literal["nll_bits_validation"] = "nll_bits_validation"
    """What is minimised. The test split is never read."""
    seed: int = 0
    """Of the draws, and of the training of every search trial."""

    def __post_init__(self) -> None:
        require(
            bool(self.over), "over", "names no setting to search: `train.learning_rate: {log_uniform: …}`"
        )
        for path, drawn in self.over.items():
            check_path(path)
            _check_distribution(path, drawn)
        for name, least in (("trials", 1), ("reduction", 2), ("seed", 0)):
            require(getattr(self, name) >= least, name, f"must be at least {least}")
        require(self.trials <= MOST_TRIALS, "trials", f"must be at most {MOST_TRIALS:,}")
        for name in ("max_steps", "grace_steps"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, f"must be at least 1, or null, got {value}")


def check_path(path: str) -> None:
    """Raises: ConfigError for what is no setting of `model` or `train`, or one that may not differ."""
    parts = path.split(".")
    if len(parts) < 2 or parts[0] not in ("model", "train") or not all(parts):
        raise ConfigError(("over", path), "name a setting of `model` or `train`: `train.learning_rate`")
    if len(parts) == 2 and parts[1] in NOT_SEARCHED:
        raise ConfigError(("over", path), f"cannot be searched: {NOT_SEARCHED[parts[1]]}")


def draws(tune: TuneConfig, over: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The settings of every search trial, in order; `over` may be a part of what the suite names."""
    columns = {path: _column(tune, path, drawn) for path, drawn in over.items()}
    return [{path: columns[path][number] for path in over} for number in range(tune.trials)]


def _column(tune: TuneConfig, path: str, drawn: Mapping[str, Any]) -> list[Any]:
    """The values of one setting: stratified, one in each of `trials` equal parts of the range."""
    import numpy as np

    digest = hashlib.sha256(path.encode()).digest()
    random = np.random.default_rng([tune.seed, int.from_bytes(digest[:8], "big")])
    places = (random.permutation(tune.trials) + random.random(tune.trials)) / tune.trials
    return [_value(drawn, float(place)) for place in places]


def _value(drawn: Mapping[str, Any], place: float) -> Any:
    """What stands at a place in [0, 1) of a distribution."""
    ((kind, said),) = drawn.items()
    if kind == "choice":
        return said[int(place * len(said))]
    low, high = said
    if kind == "integers":
        return low + int(place * (high - low + 1))
    if kind == "log_uniform":
        value = math.exp(math.log(low) + place * (math.log(high) - math.log(low)))
    else:
        value = low + place * (high - low)
    return float(f"{value:.4g}")  # as a person would write it; what was tried is what is frozen


def _check_distribution(path: str, drawn: Mapping[str, Any]) -> None:
    where = ("over", path)
    if len(drawn) != 1:
        raise ConfigError(where, f"says how it is drawn with one of {', '.join(KINDS)}")
    ((kind, said),) = drawn.items()
    if kind not in KINDS:
        raise ConfigError((*where, kind), f"unknown way to draw {kind!r}; {did_you_mean(kind, KINDS)}")
    if kind == "choice":
        if not isinstance(said, Sequence) or isinstance(said, str) or not said:
            raise ConfigError((*where, kind), f"expected a list of values, got {said!r}")
        return
    kinds = int if kind == "integers" else int | float
    pair = isinstance(said, list | tuple) and len(said) == 2
    if not pair or not all(isinstance(end, kinds) and not isinstance(end, bool) for end in said):
        what = "whole numbers" if kind == "integers" else "numbers"
        raise ConfigError((*where, kind), f"expected two {what} [low, high], got {said!r}")
    if said[0] >= said[1]:
        raise ConfigError((*where, kind), f"the first must be below the second, got {said!r}")
    if kind == "log_uniform" and said[0] <= 0:
        raise ConfigError((*where, kind), f"must be above 0, got {said!r}")
