"""`harness run`: train and measure what is missing, then write the report."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.format import console as make_console
from harness.cli.options import (
    CheckpointOption,
    DeviceOption,
    MaxHoursOption,
    ProfileOption,
    ResultsOption,
    SerialOption,
    SetOption,
    SkipTuningOption,
    SlotsOption,
    SuiteArgument,
    ThreadsOption,
    TrialMemoryOption,
    TrialTimeOption,
)

if TYPE_CHECKING:
    from rich.console import Console

    from harness.execution.run_suite import RunOptions, RunOutcome
    from harness.suite.suite import Suite


def add_to(app: typer.Typer) -> None:
    app.command(name="run")(run)


def run(
    suite: SuiteArgument,
    profile: ProfileOption = None,
    set_: SetOption = None,
    results: ResultsOption = None,
    serial: SerialOption = False,
    address: Annotated[
        str, typer.Option("--address", help="Ray cluster: local, auto, or HOST:PORT of a running one.")
    ] = "local",
    slots: SlotsOption = None,
    threads: ThreadsOption = 1,
    device: DeviceOption = None,
    trial_memory: TrialMemoryOption = None,
    trial_time: TrialTimeOption = None,
    checkpoint_every: CheckpointOption = 60.0,
    skip_tuning: SkipTuningOption = False,
    max_hours: MaxHoursOption = None,
) -> None:
    """Run a suite. Trials that are done already are not run again; a second run continues the first.

    Example: harness run suites/pooling_ablation.yaml --set data.name=fsdd --results results/fsdd

    Ctrl-C, SIGTERM and SIGUSR1 end it within ten seconds, with everything saved: running trials continue
    where they were when the same command is given again.

    Exit code: 0 all trials ok, 1 some failed, 2 a usage error, 3 the time of --max-hours is over,
    4 not everything could be sent to the URL of --results, 130 interrupted, 143 by SIGTERM.
    """
    from harness.execution.run_suite import RunOptions
    from harness.store.place import UNSENT, working
    from harness.suite.suite import load_suite

    loaded = load_suite(suite, profile=profile, overrides=set_ or ())
    options = RunOptions(
        serial=serial,
        address=address,
        slots=slots,
        threads=threads,
        device=device,
        trial_memory=trial_memory,
        trial_minutes=trial_time,
        checkpoint_seconds=checkpoint_every,
        until=None if max_hours is None else time.monotonic() + 3600 * max_hours,
    )
    console = make_console(stderr=True)
    with working(
        results, lambda words: console.print(words, highlight=False, markup=False, soft_wrap=True)
    ) as place:
        outcome = _run(loaded, replace(options, results=place.folder), console, skip_tuning)
        place.hurry = outcome.interrupted
    code = UNSENT if place.unsent and not outcome.interrupted else outcome.exit_code
    if code:
        raise typer.Exit(code)


def _run(suite: Suite, options: RunOptions, console: Console, skip_tuning: bool) -> RunOutcome:
    from harness.cli.plan import summary_line
    from harness.cli.progress import Display
    from harness.cli.report import write_and_print
    from harness.cli.tuning import tune_first
    from harness.execution.run_suite import plan_suite, run_plan
    from harness.execution.spending import keep_to_budget

    keep_to_budget(suite, options)
    suite = tune_first(suite, options, skip=skip_tuning)
    planned = plan_suite(suite, options)
    console.print(f"{suite.name} · profile {suite.profile} · {summary_line(planned)}", highlight=False)
    with Display(planned, console) as display:
        outcome = run_plan(planned, options, display)
    if not outcome.interrupted:
        write_and_print(outcome.folder)
    _say_how_it_ended(outcome)
    return outcome


def _say_how_it_ended(outcome: RunOutcome) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in outcome.statuses.items())
    if outcome.interrupted:
        sys.stderr.write(f"interrupted: {counts}; the same command continues\n")
    elif outcome.held_back:
        sys.stderr.write(
            f"the time is over, {outcome.held_back} trials to go: {counts}; the same command continues\n"
        )
    elif outcome.exit_code:
        sys.stderr.write(
            f"not all trials are ok: {counts}; errors stand in table.csv and the trials' log.txt\n"
        )
