"""`harness evaluate`: score clips by the quality metrics: of a results folder, or anybody's sound files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from harness.cli.bar import bar
from harness.cli.format import console as make_console
from harness.cli.options import DeviceOption, JsonOption, ThreadsOption
from harness.errors import HarnessError

FOLDER = "folder"
"""The command that is meant where the first word is no command's name."""


class FolderFirst(TyperGroup):
    """``harness evaluate DIR`` without a command's name in between."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [FOLDER, *args]
        return super().parse_args(ctx, args)


group = typer.Typer(
    name="evaluate",
    cls=FolderFirst,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Score clips: FID, inception scores and more; see docs/quality.md.\n\n"
    "Example: harness evaluate my_wavs --against sc09 scores any folder of sound files (`harness evaluate "
    "folder --help` has the options).\n\n"
    "harness evaluate results/pooling_ablation scores a results folder's clips again.",
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group)


ClassifierOption = Annotated[
    str | None,
    typer.Option(
        "--classifier",
        "-c",
        help="small or resnext, trained on the data set's labels on first use, or a file of published "
        "weights. Default: the suite's, or small.",
    ),
]


@group.command(name=FOLDER)
def folder(
    directory: Annotated[
        str,
        typer.Argument(metavar="DIR", help="A results folder or the URL of one, or a folder of sound files."),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            "-a",
            help="Sound files only, required: the data set, e.g. sc09, '{name: fsdd, seconds: 0.5}', a suite "
            "file or a results folder (its base's data).",
        ),
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", "-p", help="Of a suite named so.")] = None,
    classifier: ClassifierOption = None,
    rejection: Annotated[
        str | None,
        typer.Option(
            help="none, or published: drop the 40 % of lowest and the 5 % of highest likelihood. Default: "
            "the suite's, or none."
        ),
    ] = None,
    lengths: Annotated[
        str | None,
        typer.Option(help="Results only: data or full, where a clip ends. Default: the suite's, or data."),
    ] = None,
    likelihoods: Annotated[
        Path | None,
        typer.Option(help="Sound files only: CSV with the columns file and log_likelihood, for published."),
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(
            "--clips",
            "-n",
            min=2,
            help="How many clips. Default: of a results folder, as many as every trial has.",
        ),
    ] = None,
    resamples: Annotated[int | None, typer.Option(min=0, help="Behind the intervals. Default: 200.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the numbers as a CSV file, too.")
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report", help="Results only, without --json: rebuild tables and figures."
        ),
    ] = True,
    as_json: JsonOption = False,
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
) -> None:
    """Score a folder: of sound files against a data set, or every trial of a results folder from its clips.

    Example: harness evaluate my_wavs --against fsdd --output scores.csv

    Files of another rate are resampled, channels averaged, clips cut or padded to the data set's length:
    whatever was done is said. A results folder's records get the new numbers.
    """
    import torch

    from harness.evaluation.quality.rescoring import Changes
    from harness.store.remote import is_url

    torch.set_num_threads(threads)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    changes = Changes(
        clips=clips, extractor=classifier, rejection=rejection, lengths=lengths, resamples=resamples
    )
    if is_url(directory) or (Path(directory) / "plan.json").is_file():
        _refuse_for_results(against=against, likelihoods=likelihoods)
        from harness.cli.evaluate_results import evaluate_results
        from harness.cli.workplace import workplace
        from harness.store.wanted import everything

        with workplace(directory, everything) as results:
            evaluate_results(results, changes, place, output=output, report=report, as_json=as_json)
        return
    if lengths is not None:
        raise HarnessError("--lengths is for a results folder: sound files end where they end")
    if against is None:
        raise HarnessError(
            f"{directory}: is no results folder, so name a data set to compare its sound files with: "
            "--against fsdd"
        )
    from harness.cli.evaluate_files import evaluate_files

    evaluate_files(
        Path(directory),
        against,
        profile,
        changes,
        place,
        likelihoods=likelihoods,
        output=output,
        as_json=as_json,
    )


def _refuse_for_results(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise HarnessError(f"--{name} is for a folder of sound files; a results folder knows its own")


@group.command(name="train-classifier")
def train_classifier(
    data: Annotated[
        str, typer.Option("--data", "-d", help="The data set: its name, a mapping, a suite file or results.")
    ],
    profile: Annotated[str | None, typer.Option("--profile", "-p", help="Of a suite named so.")] = None,
    classifier: ClassifierOption = None,
    again: Annotated[bool, typer.Option("--again", help="Train even if it is in the cache.")] = False,
    as_json: JsonOption = False,
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
) -> None:
    """Train the classifier of a data set's clips, which is otherwise done when it is first needed.

    Example: harness evaluate train-classifier --data fsdd
    """
    import json

    import torch

    from harness import configuration
    from harness.evaluation.against import data_of
    from harness.evaluation.classifier.cached import open_or_train
    from harness.evaluation.classifier.settings import settings_of

    torch.set_num_threads(threads)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dataset = configuration.build("datasets", data_of(data, profile))
    with bar("classifier") as progress:
        entry = open_or_train(dataset, settings_of(classifier or "small"), place, progress, again=again)
    if as_json:
        typer.echo(json.dumps({"folder": str(entry.folder), **entry.about}, indent=1))
        return
    _print_classifier(entry.folder, entry.about)


def _print_classifier(folder: Path, about: dict[str, Any]) -> None:
    """How often it is right, and what it takes for what."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    confusion = about["confusion"]["test"]
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, title="test clips, heard as")
    for name in ("class", *range(len(confusion))):
        table.add_column(str(name), justify="right")
    for label, counts in enumerate(confusion):
        table.add_row(str(label), *(str(count) if count else "·" for count in counts))
    console = make_console()
    console.print(table)
    accuracy = about["accuracy"]
    console.print(
        f"{about['classifier']} of {about['data']['name']}: {accuracy['test']:.1%} right on the test split, "
        f"{accuracy['validation']:.1%} on validation; trained in {about['seconds']:.0f} s",
        highlight=False,
    )
    console.print(str(folder), markup=False, highlight=False, soft_wrap=True)
