"""`harness status`: which trials of a results folder are done, running, missing or failed."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.format import console as make_console
from harness.cli.format import duration
from harness.cli.options import JsonOption, ResultsArgument

if TYPE_CHECKING:
    from harness.store.record import Record
    from harness.suite.trial import Trial

WATCH_SECONDS = 2.0

STYLES = {"ok": "green", "running": "cyan", "missing": "yellow", "stopped": "yellow"}


def add_to(app: typer.Typer) -> None:
    app.command(name="status")(status)


def status(
    results: ResultsArgument,
    as_json: JsonOption = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again and again while a run works.")
    ] = False,
) -> None:
    """Print every expected trial of a results folder with its state: ok, running (how far, how long yet),
    stopped (continues where it was), missing, or how it failed.

    Example: harness status results/pooling_ablation --watch
    """
    from harness.store.place import fetched, works_in
    from harness.store.wanted import records

    folder = fetched(results, records)
    if as_json:
        typer.echo(json.dumps(rows_of(folder), indent=1))
        return
    console = make_console()
    if not watch:
        console.print(_shown(results, folder))
        return
    from rich.live import Live

    with Live(_shown(results, folder), console=console, auto_refresh=False) as live:
        while works_in(folder):
            time.sleep(WATCH_SECONDS)
            live.update(_shown(results, fetched(results, records)), refresh=True)


def rows_of(results: Path) -> list[dict[str, Any]]:
    """One row a trial, in the plan's order."""
    from harness.errors import HarnessError
    from harness.execution.run_state import read_run_state
    from harness.store.place import works_in
    from harness.store.store import Store

    store = Store(results)
    trials = store.planned_trials()
    running = read_run_state(results).get("trials", {}) if works_in(results) else {}
    rows = []
    for trial in trials:
        try:
            record, damage = store.record(trial), ""
        except HarnessError as error:  # one damaged record must not hide the others
            record, damage = None, str(error)
        kept = (store.trial_folder(trial) / "resume.safetensors").is_file()
        rows.append(_row(trial, record, running.get(trial.key), damage, kept))
    return rows


def _row(
    trial: Trial, record: Record | None, running: dict[str, Any] | None, damage: str, kept: bool
) -> dict[str, Any]:
    from harness.store.record import LANES

    row: dict[str, Any] = {
        "variant": trial.variant,
        "seed": trial.seed,
        "key": trial.short_key,
        "status": record.status if record else "stopped" if kept else "missing",
        "lanes": ", ".join(lane for lane in LANES if record is not None and not record.lacks(lane)),
        "finished_at": _finished_at(record),
        "error": record.error if record else "",
        "lane": "",
        "fraction": None,
        "progress": "",
        "seconds_left": None,
        "attempt": record.provenance.get("attempt", 1) if record else 1,
    }
    if damage:
        row |= {"status": "damaged", "error": damage}
    if running is not None:
        elapsed, fraction = time.time() - running["since"], running["fraction"]
        row |= {"status": "running", "error": "", "fraction": fraction, "progress": running["text"]}
        row |= {"lane": running["lane"], "attempt": running["attempt"]}
        if fraction > 0:
            row["seconds_left"] = elapsed * (1.0 - fraction) / fraction
    return row


def _finished_at(record: Record | None) -> str:
    """When the last of its lanes ended."""
    if record is None:
        return ""
    last = record.provenance.get("exclusive", {}).get("finished_at", "")
    return max(last, record.provenance.get("finished_at", ""))


def _shown(title: str, results: Path) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("variant", "seed", "key", "status", "measured", "age", "progress or error"):
        table.add_column(name, overflow="fold")
    rows = rows_of(results)
    for row in rows:
        again = f", attempt {row['attempt']}" if row["attempt"] > 1 else ""
        state = Text(row["status"] + again, style=STYLES.get(row["status"], "red"))
        cells = (row["variant"], str(row["seed"]), row["key"])
        table.add_row(*map(Text, cells), state, row["lanes"], _age(row["finished_at"]), Text(_words(row)))
    return Group(table, Text(_summary(results, rows)))


def _words(row: dict[str, Any]) -> str:
    if row["status"] != "running":
        return row["error"]
    left = "" if row["seconds_left"] is None else f", about {duration(row['seconds_left'])} left"
    return f"{row['lane']} {row['fraction']:.0%}{left}: {row['progress']}"


def _summary(results: Path, rows: list[dict[str, Any]]) -> str:
    from harness.execution.run_state import read_run_state
    from harness.store.place import works_in

    counts: dict[str, int] = {}
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    text = ", ".join(f"{count} {state}" for state, count in counts.items())
    state = read_run_state(results)
    if not works_in(results) or not state:
        return f"{text}; no run works here"
    return (
        f"{text}; process {state['pid']} on {state['host']} works since {state['since']}: "
        f"{state['fraction']:.0%}, about {duration(state['seconds_left'])} left"
    )


def _age(finished_at: str) -> str:
    if not finished_at:
        return ""
    age = (datetime.now(UTC) - datetime.fromisoformat(finished_at)).total_seconds()
    return f"{duration(max(age, 0.0))} ago"
