"""What makes numbers of two results folders incomparable, or a difference between them no surprise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis.quantities import quantity
from harness.analysis.results import Results
from harness.contracts import Column
from harness.store.flat import leaves

MACHINE = ("device_name", "device", "threads")
DATA = ("dataset", "dataset_version")

CLOCKED_UNITS = frozenset({"ms", "s", "MiB"})


def of_the_machine(name: str, columns: Mapping[str, Column]) -> bool:
    """Whether a column tells of the machine as much as of the model: times, speeds, memory in use."""
    unit = quantity(name, columns).unit
    return unit in CLOCKED_UNITS or unit.endswith("/s") or name == "real_time_factor"


def measured_under(results: Results, name: str) -> dict[str, set[str]]:
    """variant -> what its trials measured a column on: machines for some columns, data for the others."""
    what = MACHINE if of_the_machine(name, results.columns) else DATA
    table = results.table
    here = [column for column in what if column in table]
    found: dict[str, set[str]] = {variant: set() for variant in results.variants}
    columns = (table[column].tolist() for column in ("variant", "status", name, *here))
    for variant, status, value, *places in zip(*columns, strict=True):
        if status == "ok" and value == value:
            words = [_words(column, place) for column, place in zip(here, places, strict=True)]
            found[variant].add(", ".join(words))
    return found


def why_not_comparable(
    before: Mapping[str, set[str]], after: Mapping[str, set[str]], variants: Sequence[str], *, machine: bool
) -> str:
    """The reason why a column says nothing of these variants, from what it was measured on; or nothing.

    machine: whether these are machines, see `of_the_machine`.
    """
    found = [set().union(*(side[variant] for variant in variants)) for side in (before, after)]
    if found[0] == found[1] and len(found[0]) <= 1:
        return ""
    ours, theirs = ("; ".join(sorted(each)) or "nobody knows what" for each in found)
    return f"{'measured on other hardware' if machine else 'other data'}: {ours} in A, {theirs} in B"


def configuration_differences(before: Results, after: Results, variants: Sequence[str]) -> list[str]:
    """``train.steps: 160 → 320 (14 variants)``, each difference once."""
    found: dict[str, list[str]] = {}
    for variant in variants:
        ours, theirs = (_settings(results.configurations[variant]) for results in (before, after))
        for path in [*ours, *(path for path in theirs if path not in ours)]:
            old, new = (each.get(path, "nothing") for each in (ours, theirs))
            if old != new:
                found.setdefault(f"{path}: {old} → {new}", []).append(variant)
    return [
        f"{words} ({variants[0] if len(variants) == 1 else f'{len(variants)} variants'})"
        for words, variants in found.items()
    ]


def _words(column: str, value: Any) -> str:
    if column == "threads":
        return (
            f"{value:g} thread{'s' if value != 1 else ''}" if isinstance(value, int | float) else f"{value}"
        )
    return str(value)[:12] if column == "dataset_version" else str(value)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration by dotted names; metrics by their own, whatever their order."""
    rest = {section: value for section, value in config.items() if section != "measure"}
    metrics = {metric["name"]: metric for metric in config.get("measure", ())}
    return dict(leaves({**rest, "measure": metrics} if metrics else rest))
