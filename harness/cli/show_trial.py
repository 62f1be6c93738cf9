"""`harness show RESULTS TRIAL`: a trial's record, configuration and provenance included."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from harness.cli.format import console as make_console


def show_trial(folder: Path, name: str, *, as_json: bool) -> None:
    """Raises: HarnessError for a trial that is not there, or has not run."""
    from harness.errors import HarnessError
    from harness.store.find import find_trial
    from harness.store.flat import flat
    from harness.store.store import Store

    store = Store(folder)
    trial = find_trial(store, name)
    record = store.record(trial)
    if record is None:
        raise HarnessError(f"{trial.variant}, seed {trial.seed}, has not run: {folder} has no record of it")
    if as_json:
        typer.echo(json.dumps(asdict(record), indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    heading = f"{trial.variant} · seed {trial.seed} · {trial.short_key} · {record.status}"
    console.print(Text(heading, "bold"))
    if record.error:
        console.print(Text(record.error, "red"))
    parts = (
        ("measured", record.columns),
        ("provenance", record.provenance),
        ("configuration", record.config),
    )
    for title, values in parts:
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for path, value in flat(values):
            table.add_row(Text(path), Text(value))
        if table.row_count:
            console.print()
            console.print(table)
    console.print(f"\nfolder  {store.trial_folder(trial)}", highlight=False, markup=False, soft_wrap=True)
