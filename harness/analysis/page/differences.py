"""How a variant's configuration differs from the base's, setting by setting."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "—"


@dataclass(frozen=True)
class Difference:
    """A setting, e.g. ``model.mixer.name``, and its two values as text."""

    setting: str
    base: str
    variant: str


def differences(base: Mapping[str, Any], variant: Mapping[str, Any]) -> list[Difference]:
    """In the order of the settings' names. Where the model is another one, its own settings come
    with a dash for the base's."""
    ours, theirs = dict(_settings(base)), dict(_settings(variant))
    return [
        Difference(setting, ours.get(setting, ABSENT), theirs.get(setting, ABSENT))
        for setting in sorted({*ours, *theirs})
        if ours.get(setting, ABSENT) != theirs.get(setting, ABSENT)
    ]


def _settings(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _settings(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)
