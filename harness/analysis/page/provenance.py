"""Under what circumstances the trials ran: each fact once, with how many trials share it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.store.record import Record

TIMES = frozenset({"started_at", "finished_at"})


@dataclass(frozen=True)
class Fact:
    """``torch_version``, and its values with the number of trials, the most frequent first."""

    name: str
    values: list[tuple[str, int]]


def facts(records: Iterable[Record]) -> list[Fact]:
    """All facts of the records, by name; times become the earliest and the latest."""
    counts: dict[str, Counter[str]] = {}
    for record in records:
        for name, text in _flat(record.provenance):
            counts.setdefault(name, Counter())[text] += 1
    found = []
    for name in sorted(counts):
        values = sorted(counts[name].items(), key=lambda item: (-item[1], item[0]))
        if name.rpartition(".")[2] in TIMES:
            texts = sorted(counts[name])
            span = texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"
            values = [(span, counts[name].total())]
        found.append(Fact(name, values))
    return found


def _flat(value: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif value not in ("", None):
        yield prefix, value if isinstance(value, str) else json.dumps(value)
