"""A trial's configuration as the flat settings that trackers list."""

from __future__ import annotations

import json
from typing import Any

from harness.contracts import TrackedTrial
from harness.store.flat import leaves


def settings_of(trial: TrackedTrial) -> dict[str, str | int | float | bool]:
    """``{"variant": …, "seed": 0, "model.width": 64, "model.pooling": "[2, 4]", …}``"""
    about: dict[str, Any] = {"variant": trial.variant, "seed": trial.seed, "key": trial.key}
    return {
        name: value if isinstance(value, str | int | float) else json.dumps(value)
        for name, value in {**about, **dict(leaves(trial.config))}.items()
    }
