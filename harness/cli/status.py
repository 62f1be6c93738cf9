"""`harness status`: which trials of a results folder are done, missing or failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.format import console as make_console
from harness.cli.options import JsonOption


def add_to(app: typer.Typer) -> None:
    app.command(name="status")(status)


def status(
    results: Annotated[Path, typer.Argument(help="A results folder, e.g. results/pooling_ablation.")],
    as_json: JsonOption = False,
) -> None:
    """Print every expected trial of a results folder with its state.

    Example: harness status results/pooling_ablation
    """
    from harness.store.record import LANES
    from harness.store.store import Store

    store = Store(results)
    rows = []
    for trial, record in store.records(store.planned_trials()):
        lanes = ", ".join(lane for lane in LANES if record is not None and not record.lacks(lane))
        rows.append(
            {
                "variant": trial.variant,
                "seed": trial.seed,
                "key": trial.short_key,
                "status": record.status if record else "missing",
                "lanes": lanes,
                "finished_at": record.provenance.get("finished_at", "") if record else "",
                "error": record.error if record else "",
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=str(results), title_justify="left", box=None, pad_edge=False)
    for name in ("variant", "seed", "key", "status", "measured", "finished at", "error"):
        table.add_column(name, overflow="fold")
    for row in rows:
        style = {"ok": "green", "missing": "yellow"}.get(str(row["status"]), "red")
        cells = [Text(str(value)) for value in row.values()]
        cells[3].stylize(style)
        table.add_row(*cells)
    make_console().print(table)
