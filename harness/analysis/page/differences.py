"""How a variant's configuration differs from the base's, setting by setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.store.flat import flat

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
    ours, theirs = dict(flat(base)), dict(flat(variant))
    return [
        Difference(setting, ours.get(setting, ABSENT), theirs.get(setting, ABSENT))
        for setting in sorted({*ours, *theirs})
        if ours.get(setting, ABSENT) != theirs.get(setting, ABSENT)
    ]
