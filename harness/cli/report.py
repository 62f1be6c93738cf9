"""`harness report`: rebuild tables and figures from the records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.format import console as make_console


def add_to(app: typer.Typer) -> None:
    app.command(name="report")(report)


def report(
    results: Annotated[Path, typer.Argument(help="A results folder, e.g. results/pooling_ablation.")],
) -> None:
    """Rebuild table, summary and figures of a results folder from its records.

    Example: harness report results/pooling_ablation
    """
    write_and_print(results)


def write_and_print(folder: Path) -> None:
    """Write the report of a results folder; print the summary table and where everything is."""
    from harness.analysis.report import write_report
    from harness.analysis.summary import terminal_table
    from harness.api import load_figure_data, measured_columns
    from harness.registry import load_plugin
    from harness.store.store import Store

    plan = Store(folder).read_plan()
    for file in plan["plugin_files"]:
        load_plugin(file)
    data, columns = load_figure_data(folder), measured_columns(folder)
    files = write_report(
        folder,
        data,
        title=plan["name"],
        question=plan["question"],
        columns=columns,
        figures=plan["figures"],
    )
    console = make_console()
    if plan["question"]:
        console.print(plan["question"], markup=False, highlight=False)
    console.print(terminal_table(files.summary, columns, base=plan["base"]))
    for note in files.notes:
        console.print(note, markup=False, highlight=False, style="yellow")
    console.print(f"table    {folder / 'table.csv'}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"summary  {folder / 'summary.md'}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"figures  {folder / 'figures'} ({len(files.figures)} figures)",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
