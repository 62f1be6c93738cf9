"""Published scores of a data set beside ours, each with the reason where the two cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = ("fid", "inception_score", "inception_score_sashimi", "modified_inception_score", "am_score")

NAMED = 4
"""Models that a reason names; of more, how many."""


def published_beside(
    columns: Mapping[str, Any], data: Mapping[str, Any], version: str
) -> list[dict[str, Any]]:
    """A row for each published model with scores of clips: its numbers, comparable or not, and why."""
    from harness.analysis.published import Protocol, comparable, published

    protocol = Protocol.of({**columns, "dataset_version": version}, {"data": data})
    rows = []
    for row in published(data["name"]):
        values = {name: row.value(name) for name in SHOWN if row.value(name) is not None}
        if not values:
            continue
        verdicts = {name: comparable(row, protocol, name) for name in values}
        rows.append(
            {
                "model": row.model,
                **values,
                "comparable": all(verdict.comparable for verdict in verdicts.values()),
                "reason": "; ".join(dict.fromkeys(v.reason for v in verdicts.values() if v.reason)),
                "source": row.source,
            }
        )
    return rows


def print_published(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of the numbers, and each reason once, with the models that it holds for."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, title="published", title_justify="left")
    for name in ("model", *SHOWN, "comparable"):
        table.add_column(
            name.replace("_", " "), justify="left" if name in ("model", "comparable") else "right"
        )
    reasons: dict[str, list[str]] = {}
    for row in rows:
        numbers = (f"{row[name]:.4g}" if name in row else "" for name in SHOWN)
        table.add_row(row["model"], *numbers, "yes" if row["comparable"] else "no")
        for reason in dict.fromkeys(filter(None, row["reason"].split("; "))):
            reasons.setdefault(reason, []).append(row["model"])
    console.print(table)
    for reason, models in reasons.items():
        rest = f" and {len(models) - NAMED} more" if len(models) > NAMED else ""
        who = "all" if len(models) == len(rows) else ", ".join(models[:NAMED]) + rest
        console.print(f"{who}: {reason}", markup=False, highlight=False, soft_wrap=True)
