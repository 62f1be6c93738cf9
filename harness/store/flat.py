"""Nested settings as lines for people: ``model.mixer.name`` and its value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything in nested mappings."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def flat(value: Any) -> Iterator[tuple[str, str]]:
    """The same as text; what is no text is written as JSON."""
    for path, leaf in leaves(value):
        yield path, leaf if isinstance(leaf, str) else json.dumps(leaf)
