"""`harness report`: rebuild tables and figures from the records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.format import console as make_console
from harness.cli.options import ResultsArgument


def add_to(app: typer.Typer) -> None:
    app.command(name="report")(report)


def report(
    results: ResultsArgument,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="NAMES",
            help="Columns of the summary, in this order: nll_bits_test,train_step_ms. "
            "Default: those of the suite.",
        ),
    ] = None,
) -> None:
    """Rebuild table, summary, figures and the page of a results folder from its records.

    Example: harness report results/pooling_ablation --columns nll_bits_test,state_bytes
    """
    from harness.store.place import fetched, published
    from harness.store.wanted import for_a_report

    folder = fetched(results, for_a_report)
    write_and_print(folder, None if columns is None else [name.strip() for name in columns.split(",")])
    published(results)


def write_and_print(folder: Path, shown: list[str] | None = None) -> None:
    """Write the report of a results folder; print the summary table and where everything is.

    shown: columns of the summary; None: those that the suite chose.
    """
    from harness.analysis.page.write import write_page
    from harness.analysis.report import write_report
    from harness.analysis.summary import measured, terminal_table
    from harness.api import figure_data
    from harness.errors import HarnessError, did_you_mean
    from harness.registry import load_plugin
    from harness.store.store import Store

    store = Store(folder)
    plan = store.read_plan()
    for file in plan["plugin_files"]:
        load_plugin(file)
    pairs = store.records(store.planned_trials())
    data = figure_data(store, pairs)
    columns = data.columns
    known = measured(data.table)
    for name in shown or ():
        if name not in known:
            raise HarnessError(f"--columns: no trial has measured {name!r}; {did_you_mean(name, known)}")
    if shown is None:
        shown = plan.get("columns", [])  # a plan of an earlier version chooses none
    files = write_report(
        folder,
        data,
        title=plan["name"],
        question=plan["question"],
        columns=columns,
        figures=plan["figures"],
        shown=shown,
    )
    page = write_page(
        folder,
        data,
        [(trial, record, store.trial_folder(trial)) for trial, record in pairs],
        files.summary,
        columns,
        plan=plan,
        figures=files.figures,
        notes=files.notes,
        shown=shown,
    )
    console = make_console()
    if plan["question"]:
        console.print(plan["question"], markup=False, highlight=False)
    console.print(terminal_table(files.summary, columns, base=plan["base"], shown=shown))
    for note in files.notes:
        console.print(note, markup=False, highlight=False, style="yellow")
    console.print(f"page     {page}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"table    {folder / 'table.csv'}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"summary  {folder / 'summary.md'}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"figures  {folder / 'figures'} ({len(files.figures)} figures)",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
