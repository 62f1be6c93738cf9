"""`harness compare`: what became better or worse between two results folders of one suite."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.format import console as make_console
from harness.cli.options import JsonOption

if TYPE_CHECKING:
    from harness.analysis.compared_rows import Margin


class FailOn(StrEnum):
    worse = "worse"
    better = "better"
    unknown = "unknown"


Place = (
    "A results folder, the URL of one, or REV:FOLDER for one that is committed to git, "
    "e.g. main:results/pooling_ablation."
)


def add_to(app: typer.Typer) -> None:
    app.command(name="compare")(compare)


def compare(
    before: Annotated[str, typer.Argument(metavar="A", help=Place)],
    after: Annotated[str, typer.Argument(metavar="B", help="What is compared with it, as A.")],
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="COLUMN", help="Compare this column alone. Repeatable."),
    ] = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(
            "--margin",
            metavar="COLUMN=AMOUNT",
            help="A difference that does not matter: nll_bits_test=0.01, train_step_ms=5%. Repeatable.",
        ),
    ] = None,
    fail_on: Annotated[
        list[FailOn] | None, typer.Option("--fail-on", help="Exit with 1 on this verdict. Repeatable.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown for a pull request.")] = False,
    as_json: JsonOption = False,
    everything: Annotated[bool, typer.Option("--all", help="Show what stayed the same as well.")] = False,
) -> None:
    """Compare two results folders of one suite, metric by metric: better, worse, same or unknown.

    Example: harness compare main:results/pooling_ablation results/pooling_ablation --fail-on worse

    Exit code: 0, 1 for a verdict of --fail-on, 2 for a usage error.
    """
    from harness.analysis.compare import compare as compare_results
    from harness.analysis.compare_layout import lay_out_comparison, markdown_comparison, plain, sentences
    from harness.analysis.results import load_folder
    from harness.analysis.terminal import TerminalTable
    from harness.store.revision import opened

    margins = dict(_margin(text) for text in margin or ())
    with opened(before) as a, opened(after) as b:
        results = load_folder(a), load_folder(b)
    found = compare_results(*results, metrics=metric or (), margins=margins)
    columns = results[0].columns
    if as_json:
        typer.echo(json.dumps({"before": before, "after": after, **plain(found)}, indent=1))
    elif markdown:
        text = markdown_comparison(found, columns, before=before, after=after, everything=everything)
        typer.echo(text, nl=False)
    else:
        console = make_console()
        console.print(f"A {before}\nB {after}", markup=False, highlight=False, soft_wrap=True)
        for line in sentences(found, columns):
            console.print(line, markup=False, highlight=False, style="bold")
        console.print(TerminalTable(lay_out_comparison(found, columns, everything=everything)))
    if fail_on and found.has([verdict.value for verdict in fail_on]):
        raise typer.Exit(1)


def _margin(text: str) -> tuple[str, Margin]:
    """``nll_bits_test=0.01`` or ``train_step_ms=5%``"""
    from harness.analysis.compared_rows import Margin
    from harness.errors import HarnessError

    name, separator, amount = text.partition("=")
    relative = amount.strip().endswith("%")
    try:
        value = float(amount.strip().removesuffix("%")) / (100 if relative else 1)
    except ValueError:
        value = -1.0
    if not separator or not name.strip() or not 0 <= value < float("inf"):
        raise HarnessError(
            f"--margin {text}: expected COLUMN=AMOUNT, e.g. nll_bits_test=0.01 or train_step_ms=5%"
        )
    return name.strip(), Margin(amount=value, relative=relative)
