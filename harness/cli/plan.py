"""`harness plan`: what a run would do, before it does it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.format import console as make_console
from harness.cli.format import duration, quantity
from harness.cli.options import (
    DeviceOption,
    JsonOption,
    ProfileOption,
    ResultsOption,
    SetOption,
    SlotsOption,
    SuiteArgument,
)

if TYPE_CHECKING:
    from harness.execution.plan import Plan, PlannedTrial
    from harness.suite.suite import Suite


def add_to(app: typer.Typer) -> None:
    app.command(name="plan")(plan)


def plan(
    suite: SuiteArgument,
    profile: ProfileOption = None,
    set_: SetOption = None,
    results: ResultsOption = None,
    slots: SlotsOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print every trial of a suite with its size, estimated time and state. Trains nothing.

    Example: harness plan suites/pooling_ablation.yaml --profile smoke
    """
    from harness.cli.tuning import found_table, searches_line
    from harness.execution.places import device_of
    from harness.execution.run_suite import RunOptions, plan_suite, results_folder
    from harness.execution.spending import over_budget
    from harness.store.place import fetched
    from harness.store.wanted import records
    from harness.suite.suite import load_suite
    from harness.tuning.forecast import search_cost
    from harness.tuning.stage import look_up, tuned

    loaded = load_suite(suite, profile=profile, overrides=set_ or ())
    folder = None if results is None else fetched(results, records, must_exist=False)
    tuning = look_up(loaded, results_folder(loaded, folder))
    loaded = tuned(loaded, tuning)
    options = RunOptions(results=folder, slots=slots, device=device)
    made = plan_suite(loaded, options)
    cost = search_cost(tuning, made)
    if as_json:
        searching = {"trials": cost.trials, "estimated_seconds": round(cost.seconds, 1)}
        plain = made.plain() | ({"searches": searching} if tuning.searches else {})
        typer.echo(json.dumps(plain, indent=1))
        return
    console = make_console()
    console.print(_table(made))
    if any(variant.match is not None for variant in loaded.variants):
        console.print(_matches(loaded))
    if tuning.searches:
        if any(variant.tuned is not None for variant in loaded.variants):
            console.print(found_table(loaded))
        console.print(searches_line(tuning, cost), highlight=False)
    console.print(summary_line(made))
    if loaded.config.budget is not None:
        gpu = device_of(options).startswith("cuda")
        for line in over_budget(loaded.config.budget, made, cost, gpu=gpu, options=options):
            console.print(f"over budget: {line}", style="red", highlight=False, markup=False)


def summary_line(plan: Plan) -> str:
    """``36 trials: 12 cached, 24 to run, about 6 min on 2 slots``"""
    todo = len(plan.to_run())
    text = f"{len(plan.trials)} trials: {todo} to run, {len(plan.trials) - todo} cached"
    if todo:
        slots = f"{plan.slots} slot{'s' if plan.slots != 1 else ''}"
        if plan.workers > 1:
            slots += f" of {plan.workers} processes"
        text += f"; about {duration(plan.seconds)} on {slots} (an estimate)"
    return text


MANY = 200
"""Trials, beyond which those of one variant that are in the same state share a line."""


def _table(plan: Plan) -> Any:
    from rich.table import Table
    from rich.text import Text

    suite = plan.suite
    table = Table(
        title=f"{suite.name} · profile {suite.profile}", title_justify="left", box=None, pad_edge=False
    )
    for name in ("variant", "model", "data"):
        table.add_column(name, no_wrap=name != "variant")
    for name in ("seed", "parameters", "FLOPs/token", "train tokens", "est. time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state")
    colours = {"cached": "green", "failed": "red", "damaged": "red"}
    aliases = {variant.name: variant.aliases for variant in suite.variants}
    for alike in _lines(plan):
        trial, cost = alike[0].trial, alike[0].cost
        also = "".join(f" (= {alias})" for alias in aliases[trial.variant])
        state = alike[0].state + (f": {alike[0].detail}" if alike[0].detail else "")
        seconds = sum(planned.estimated_seconds for planned in alike)
        table.add_row(
            Text(trial.variant + also),
            Text(trial.config["model"]["name"]),
            Text(trial.config["data"]["name"]),
            str(trial.seed) if len(alike) == 1 else f"{len(alike)} of them",
            "?" if cost.parameters is None else f"{cost.parameters:,}",
            "?" if cost.flops_per_token is None else quantity(cost.flops_per_token),
            quantity(cost.train_tokens) if cost.train_tokens else "all, once",
            duration(seconds) if seconds else "-",
            Text(state, style=colours.get(alike[0].state, "")),
        )
    return table


def _lines(plan: Plan) -> list[list[PlannedTrial]]:
    """The trials that share a line."""
    lines: dict[Any, list[PlannedTrial]] = {}
    for planned in plan.trials:
        alone = planned.trial.seed if len(plan.trials) <= MANY else None
        lines.setdefault((planned.trial.variant, planned.state, alone), []).append(planned)
    return list(lines.values())


def _matches(suite: Suite) -> Any:
    """What each variant was given to have the budget of another."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="equal budgets", title_justify="left", box=None, pad_edge=False)
    for name in ("variant", "solved", "for", "budget", "achieved", "difference"):
        table.add_column(name, justify="right" if name in {"budget", "achieved", "difference"} else "left")
    for variant in suite.variants:
        match = variant.match
        if match is None:
            continue
        number = (lambda n: f"{n:,.0f}") if match.by == "parameters" else quantity
        unit = " ms" if match.by == "step_time" else ""
        table.add_row(
            Text(variant.name),
            Text(f"left alone: {match.remark}" if match.value is None else f"{match.field} {match.value}"),
            Text(f"{match.by.replace('_', ' ')} of {match.to}"),
            number(match.budget) + unit,
            "-" if match.achieved is None else number(match.achieved) + unit,
            "-" if match.difference is None else f"{match.difference:+.1%}",
        )
    return table
