"""Under what circumstances the trials ran: each fact once, with how many trials share it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.store.flat import flat
from harness.store.record import Record

NOTHING = frozenset({"", "null", "{}"})
"""What a record says where there is nothing to say."""

TIMES = frozenset({"started_at", "finished_at"})


@dataclass(frozen=True)
class Fact:
    """``torch_version``, and its values with the number of trials, the most frequent first."""

    name: str
    values: list[tuple[str, int]]


def facts(records: Iterable[Record]) -> list[Fact]:
    """All facts of the records, by name; times become the earliest and the latest."""
    alike: Counter[tuple[str, str]] = Counter()
    values_of: dict[tuple[str, str], Any] = {}
    for record in records:
        for name, value in record.provenance.items():
            spelt = (name, repr(value))
            alike[spelt] += 1
            values_of[spelt] = value
    counts: dict[str, Counter[str]] = {}
    for spelt, count in alike.items():  # a list of packages, which all trials share, is taken apart once
        for name, text in flat({spelt[0]: values_of[spelt]}):
            if text not in NOTHING:
                counts.setdefault(name, Counter())[text] += count
    found = []
    for name in sorted(counts):
        values = sorted(counts[name].items(), key=lambda item: (-item[1], item[0]))
        if name.rpartition(".")[2] in TIMES:
            texts = sorted(counts[name])
            span = texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"
            values = [(span, counts[name].total())]
        found.append(Fact(name, values))
    return found
