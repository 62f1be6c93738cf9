"""Options that several verbs share, so that they read the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

SuiteArgument = Annotated[
    str, typer.Argument(help="A suite file, or the name of a suite that comes with harness.")
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="Overlay of the suite: smoke, laptop, gpu, paper, … Default: gpu with a GPU, else laptop.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="PATH=VALUE",
        help="Override a setting, e.g. data.name=fsdd, train.steps=50, seeds=1. Repeatable.",
    ),
]
ResultsOption = Annotated[
    str | None,
    typer.Option(
        "--results",
        "-r",
        metavar="PLACE",
        help="Folder of the results, or a URL: s3://bucket/path. Default: results/<suite>.",
    ),
]
ResultsArgument = Annotated[
    str,
    typer.Argument(
        help="A results folder, e.g. results/pooling_ablation, or the URL of one: s3://bucket/path."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
SerialOption = Annotated[
    bool, typer.Option("--serial", help="Run in this process, one trial after another, without Ray.")
]
SlotsOption = Annotated[
    int | None, typer.Option("--slots", min=1, help="Trials side by side. Default: one a CPU, or a GPU.")
]
TrialMemoryOption = Annotated[
    float | None,
    typer.Option(
        "--trial-memory",
        metavar="GIB",
        min=0.5,
        help="Memory that a trial may hold. Default: for each slot an equal share of 9/10 of the machine.",
    ),
]
TrialTimeOption = Annotated[
    float | None,
    typer.Option(
        "--trial-time", metavar="MINUTES", min=0.01, help="Time that a trial may take. Default: no limit."
    ),
]
CheckpointOption = Annotated[
    float,
    typer.Option(
        "--checkpoint-every", metavar="SECONDS", min=0.0, help="How often a training saves where it is."
    ),
]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="torch threads of a trial.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu or cuda. Default: cuda where there is a GPU.")
]
SkipTuningOption = Annotated[
    bool,
    typer.Option(
        "--skip-tuning", help="Search nothing: what was found before is used, the rest runs as it is written."
    ),
]
MaxHoursOption = Annotated[
    float | None,
    typer.Option(
        "--max-hours",
        metavar="HOURS",
        min=0.0,
        help="Begin no trial after so long; those that run end. The same command continues.",
    ),
]
