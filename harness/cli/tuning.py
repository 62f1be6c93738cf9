"""The tuning stage on the command line: a bar while it searches, and what it has found."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.format import console as make_console
from harness.cli.format import duration

if TYPE_CHECKING:
    from harness.execution.run_suite import RunOptions
    from harness.suite.suite import Suite
    from harness.tuning.forecast import SearchCost
    from harness.tuning.stage import Tuning


def tune_first(suite: Suite, options: RunOptions, *, skip: bool) -> Suite:
    """Search what is not searched yet; the suite with what was found laid over its variants.

    Raises: typer.Exit where the search was interrupted.
    """
    from harness.cli.bar import bar
    from harness.execution.executor import Interrupted
    from harness.execution.run_state import who_runs
    from harness.execution.run_suite import INCOMPLETE, results_folder
    from harness.execution.signals import StopRequest
    from harness.tuning.stage import look_up, run_searches, tuned

    if suite.config.tune is None:
        return suite
    folder = results_folder(suite, options.results)
    tuning = look_up(suite, folder)

    def waiting() -> None:
        sys.stderr.write(who_runs(folder) + "\n")

    if skip:
        _say_skipped(tuning)
    else:
        _say_what_is_searched(tuning)
        with StopRequest() as stop, bar("tuning") as watch:
            try:
                tuning = run_searches(tuning, options, watch, stop, waiting)
            except (Interrupted, KeyboardInterrupt):
                sys.stderr.write("interrupted while searching; the same command continues\n")
                raise typer.Exit(stop.exit_code) from None
        if tuning.missing:
            names = ", ".join(search.variant.name for search in tuning.missing)
            sys.stderr.write(f"the time is over: {names} not searched; the same command continues\n")
            raise typer.Exit(INCOMPLETE)
    found = tuned(suite, tuning)
    if not skip:
        make_console(stderr=True).print(found_table(found))
    return found


def found_table(suite: Suite) -> Any:
    """One line a variant: the frozen values and how they came about."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="tuned, by validation NLL", title_justify="left", box=None, pad_edge=False)
    for name in ("variant", "values", "bits", "search trials", "stopped early", "remark"):
        table.add_column(name, justify="left" if name in {"variant", "values", "remark"} else "right")
    for variant in suite.variants:
        if (found := variant.tuned) is None:
            continue
        values = ", ".join(f"{path}={value}" for path, value in found["values"].items())
        bits = found["nll_bits_validation"]
        table.add_row(
            Text(variant.name),
            Text(values or "-"),
            "-" if bits is None else f"{bits:.3f}",
            str(found["search_trials"]),
            str(found["stopped_early"]),
            Text(found["remark"]),
        )
    return table


def searches_line(tuning: Tuning, cost: SearchCost) -> str:
    """``tuning: 3 variants x 16 search trials of 300 steps; 1 searched; at most about 4 min``"""
    first = tuning.searches[0]
    lengths = sorted({search.steps for search in tuning.searches})
    steps = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    done = len(tuning.searches) - len(tuning.missing)
    text = (
        f"tuning: {len(tuning.searches)} variants x {first.tune.trials} search trials of {steps} steps; "
        f"{done} searched"
    )
    if tuning.missing:
        text += f"; at most about {duration(cost.seconds)} more (an estimate)"
        text += "; what they find changes the trials above"
    return text


def _say_what_is_searched(tuning: Tuning) -> None:
    if not tuning.missing:
        return
    names = ", ".join(search.variant.name for search in tuning.missing)
    sys.stderr.write(f"tuning {names}: {tuning.missing[0].tune.trials} search trials each\n")


def _say_skipped(tuning: Tuning) -> None:
    if tuning.missing:
        names = ", ".join(search.variant.name for search in tuning.missing)
        sys.stderr.write(f"not tuned, by --skip-tuning: {names} run with their own settings\n")
