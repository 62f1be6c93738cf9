"""Nested settings as lines for people: ``model.mixer.name`` and its value as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, text) of everything in nested mappings; what is no text is written as JSON."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)
