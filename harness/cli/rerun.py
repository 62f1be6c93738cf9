"""`harness rerun`: one trial again, from its record, and whether the numbers are the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.format import console as make_console
from harness.cli.options import JsonOption, ResultsArgument

if TYPE_CHECKING:
    from harness.execution.rerun import Repeated, Rerun


def add_to(app: typer.Typer) -> None:
    app.command(name="rerun")(rerun)


def rerun(
    results: ResultsArgument,
    trial: Annotated[
        str, typer.Argument(help="Its key (four digits or more), or its name and seed: base-s0.")
    ],
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda. Default: what it was recorded on.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train and measure one trial again from its record; nothing in the results folder changes.

    Example: harness rerun results/pooling_ablation base-s0

    Exit code: 0 the same numbers to the last bit, 1 other numbers, 2 a usage error.
    """
    from harness.cli.bar import bar
    from harness.execution.rerun import rerun as run_again
    from harness.store.find import find_trial
    from harness.store.place import fetched
    from harness.store.store import Store
    from harness.store.wanted import records

    store = Store(fetched(results, records))
    chosen = find_trial(store, trial)
    with bar(f"{chosen.variant} · seed {chosen.seed}") as progress:
        outcome = run_again(store, chosen, progress, device=device)
    if as_json:
        typer.echo(json.dumps(outcome.plain(), indent=1))
    else:
        _print(outcome)
    if not outcome.same:
        raise typer.Exit(1)


def _print(outcome: Rerun) -> None:
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    table = Table(box=None, pad_edge=False)
    for name in ("column", "recorded", "now", ""):
        table.add_column(name, overflow="fold")
    for each in (outcome.status, *outcome.columns):
        mark = Text("same", "green") if each.same else Text("differs", "red")
        table.add_row(Text(each.column), _text(each.recorded), _text(each.now), mark)
    console.print(table)
    if outcome.error:
        console.print(Text(outcome.error, "red"))
    for each in outcome.circumstances:
        console.print(Text(f"not as it was: {_change(each)}", "yellow"))
    verdict = "the same numbers, to the last bit" if outcome.same else "other numbers"
    console.print(Text(verdict, "green" if outcome.same else "red"))


def _text(value: Any) -> Any:
    from rich.text import Text

    return Text("" if value is None else str(value))


def _change(each: Repeated) -> str:
    return f"{each.column} was {each.recorded}, is {each.now}"
