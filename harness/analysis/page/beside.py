"""Published numbers beside ours, each with whether the two can be compared or why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.analysis.layout import Header
from harness.analysis.page.table import Cell, Table, sortable
from harness.analysis.published import HUMAN, Protocol, comparable, published
from harness.analysis.quantities import quantity
from harness.contracts import Column

HEADERS = (
    Header("variant", "Published model"),
    Header("quantity", "Quantity"),
    Header("theirs", "Theirs"),
    Header("ours", "Ours"),
    Header("comparable", "Comparable"),
    Header("source", "Source"),
)


@dataclass(frozen=True, kw_only=True)
class Beside:
    table: Table
    comparable: int
    """Of its rows, those that can be held against ours."""


def beside(
    table: pd.DataFrame,
    columns: Mapping[str, Column],
    configs: Mapping[str, Mapping[str, Any]],
    base: str,
) -> Beside | None:
    """What is published in the quantities that the suite measured; ours is the variant of the same
    name, or the base, in the mean over seeds. None where no trial succeeded.

    On a data set of which nothing is published, the likelihoods on others are shown, with that reason.
    """
    ok = table[table["status"] == "ok"]
    if ok.empty:
        return None
    dataset = next(iter(ok["dataset"].dropna()), None) if "dataset" in ok else None
    rows = published(dataset) or published()
    quantities = [
        name
        for name in dict.fromkeys(name for row in rows for name in row.values())
        if name in ok and ok[name].notna().any() and name not in HUMAN
    ]
    if not published(dataset):
        quantities = [name for name in quantities if name == "nll_bits_test"]
    cells, count = [], 0
    for row in rows:
        variant = row.model if row.model in {*ok["variant"]} else base
        own = ok[ok["variant"] == variant]
        if own.empty:
            continue
        first = {str(name): value for name, value in own.iloc[0].items()}
        protocol = Protocol.of(first, configs.get(variant, {}))
        for name in quantities:
            theirs = row.value(name)
            if theirs is None:
                continue
            found = comparable(row, protocol, name)
            count += found.comparable
            verdict = ("yes" if found.comparable else "no") + (f": {found.reason}" if found.reason else "")
            ours = float(own[name].mean())
            cells.append(
                [
                    Cell(text=row.name),
                    Cell(text=quantity(name, columns).label),
                    Cell(text=f"{theirs:g}", sort=sortable(theirs)),
                    Cell(text=f"{ours:.4g} ({variant})", sort=sortable(ours)),
                    Cell(text=verdict, wide=True),
                    Cell(text=row.source, wide=True),
                ]
            )
    return Beside(table=Table(headers=HEADERS, rows=cells), comparable=count) if cells else None
