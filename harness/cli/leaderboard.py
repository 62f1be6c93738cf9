"""`harness leaderboard`: the variants of a results folder in order of one column."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from harness.cli.format import console as make_console
from harness.cli.options import ResultsArgument


class Format(StrEnum):
    terminal = "terminal"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"
    json = "json"


def add_to(app: typer.Typer) -> None:
    app.command(name="leaderboard")(leaderboard)


def leaderboard(
    results: ResultsArgument,
    by: Annotated[str, typer.Option("--by", metavar="COLUMN", help="The column to order by.")],
    format_: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.terminal,
) -> None:
    """Print the variants in order of one column, best first, and which the seeds do not tell from the best.

    Example: harness leaderboard results/pooling_ablation --by train_step_ms --format latex
    """
    from harness.analysis.leaderboard import lay_out_leaderboard
    from harness.analysis.leaderboard import leaderboard as make
    from harness.analysis.markup import latex_table, markdown_table
    from harness.analysis.results import load_folder
    from harness.analysis.terminal import TerminalTable
    from harness.store.place import fetched
    from harness.store.wanted import records

    loaded = load_folder(fetched(results, records))
    board = make(loaded.table, loaded.columns, loaded.variants, by)
    layout = lay_out_leaderboard(board, loaded.columns, by)
    match format_:
        case Format.terminal:
            make_console().print(TerminalTable(layout))
        case Format.markdown:
            typer.echo(markdown_table(layout))
        case Format.latex:
            typer.echo(latex_table(layout, title=f"{loaded.name} by {by}"), nl=False)
        case Format.csv:
            typer.echo(board.to_csv(index=False, lineterminator="\n"), nl=False)
        case Format.json:
            typer.echo(board.to_json(orient="records", indent=1))
