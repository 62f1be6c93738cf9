"""What a configuration costs: parameters and FLOPs, counted; the time of a training step, measured.

A count is the same everywhere and is kept as long as the process lives. A time is not: what was
measured is kept in the cache folder and never measured again, so that the widths solved from it, and
with them the keys, stay what they were on this machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from harness import configuration, registry
from harness.cache import cache_root
from harness.errors import HarnessError
from harness.suite.trial import canonical

WITHOUT_EFFECT_ON_TIME = frozenset(
    {"steps", "learning_rate", "schedule", "warmup_steps", "validate_every", "validation_clips"}
)
"""Settings of training that a step takes as long with, whatever they are."""

log = logging.getLogger("harness")


def budget_of(by: str, config: Mapping[str, Any]) -> float:
    """Parameters, FLOPs per token of a forward pass, or milliseconds of a training step.

    Raises: ConfigError for a model that refuses its configuration.
    """
    data = configuration.resolve("datasets", config["data"]).config
    context = config["train"]["crop"] or data.length
    if by == "step_time":
        return _step_milliseconds(config, data.vocab_size, context)
    cls = registry.get("models", config["model"]["name"])
    return _counted(by, cls, canonical(config["model"]), data.vocab_size, context if by == "flops" else 0)


@cache
def _counted(by: str, cls: type, model: str, vocab_size: int, context: int) -> float:
    """`cls` tells two plugins' models of one name apart."""
    from harness.evaluation.flops import build_to_count, count_parameters, flops_per_token

    built = build_to_count(json.loads(model), vocab_size=vocab_size)
    return count_parameters(built) if by == "parameters" else flops_per_token(built, context)


def _step_milliseconds(config: Mapping[str, Any], vocab_size: int, context: int) -> float:
    """As measured the first time that this was asked; what it depends on is the file's name."""
    from filelock import FileLock

    from harness.evaluation.step_time import device_and_threads, step_seconds
    from harness.training.config import TrainConfig

    asked = {
        "device": device_and_threads(),
        "model": config["model"],
        "plugins": config.get("plugins", {}),
        "train": {k: v for k, v in config["train"].items() if k not in WITHOUT_EFFECT_ON_TIME},
        "vocab_size": vocab_size,
        "context": context,
    }
    folder = cache_root() / "step_times"
    file = folder / (hashlib.sha256(canonical(asked).encode()).hexdigest()[:24] + ".json")
    if file.is_file():
        return _read(file)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # two that measure at once would both be wrong
        log.warning("match: timing a training step of %s; leave this machine idle", config["model"])
        train = configuration.parse(TrainConfig, config["train"])
        found = 1e3 * step_seconds(config["model"], train, vocab_size=vocab_size, length=context)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        file.write_text(json.dumps({"milliseconds": found, "at": at, **asked}, indent=1), encoding="utf-8")
    return found


def _read(file: Path) -> float:
    try:
        return float(json.loads(file.read_text(encoding="utf-8"))["milliseconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarnessError(f"{file}: holds no time ({error}); remove it to measure again") from None
