"""What makes numbers of two results folders incomparable, or a difference between them no surprise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis.quantities import quantity
from harness.analysis.results import Results
from harness.contracts import Column

if TYPE_CHECKING:
    import pandas as pd

MACHINE = ("device_name", "device", "threads")
DATA = ("dataset", "dataset_version")

CLOCKED_UNITS = frozenset({"ms", "s", "MiB"})


def of_the_machine(name: str, columns: Mapping[str, Column]) -> bool:
    """Whether a column tells of the machine as much as of the model: times, speeds, memory in use."""
    unit = quantity(name, columns).unit
    return unit in CLOCKED_UNITS or unit.endswith("/s") or name == "real_time_factor"


def why_not_comparable(before: Results, after: Results, name: str, variants: Sequence[str]) -> str:
    """The reason why a column of these variants says nothing, or nothing at all."""
    what = MACHINE if of_the_machine(name, before.columns) else DATA
    found = [_values(results.table, what, name, variants) for results in (before, after)]
    if found[0] == found[1] and len(found[0]) <= 1:
        return ""
    before_words, after_words = ("; ".join(sorted(each)) or "nobody knows what" for each in found)
    kind = "measured on other hardware" if what is MACHINE else "other data"
    return f"{kind}: {before_words} in A, {after_words} in B"


def configuration_differences(before: Results, after: Results, variants: Sequence[str]) -> list[str]:
    """``train.steps: 160 → 320 (14 variants)``, each difference once."""
    found: dict[str, list[str]] = {}
    for variant in variants:
        ours, theirs = (dict(_flat(results.configurations[variant])) for results in (before, after))
        for path in [*ours, *(path for path in theirs if path not in ours)]:
            old, new = (each.get(path, "nothing") for each in (ours, theirs))
            if old != new:
                found.setdefault(f"{path}: {old} → {new}", []).append(variant)
    return [
        f"{words} ({variants[0] if len(variants) == 1 else f'{len(variants)} variants'})"
        for words, variants in found.items()
    ]


def _values(table: pd.DataFrame, what: Sequence[str], name: str, variants: Sequence[str]) -> set[str]:
    """What stands in these columns of the trials that measured `name`, each combination in words."""
    rows = table[(table["status"] == "ok") & table["variant"].isin(variants) & table[name].notna()]
    here = [column for column in what if column in rows]
    return {
        ", ".join(_words(column, row[column]) for column in here) for row in rows[here].to_dict("records")
    }


def _words(column: str, value: Any) -> str:
    if column == "threads":
        return (
            f"{value:g} thread{'s' if value != 1 else ''}" if isinstance(value, int | float) else f"{value}"
        )
    return str(value)[:12] if column == "dataset_version" else str(value)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif path == "measure" and isinstance(value, list):  # metrics by name, whatever their order
        for metric in value:
            yield from _flat(metric, f"measure.{metric['name']}")
    else:
        yield path, value
