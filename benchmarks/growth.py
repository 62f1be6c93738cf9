"""`python -m benchmarks.growth`: how time and memory of a training step grow with length, width, batch.

Every point is measured in a fresh process. A series ends where the next point is expected to exceed
the limit of memory or of time, and that point is a row that says so. Exponents are slopes of log
cost over log size through the largest sizes, where constant costs matter least.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from benchmarks import growth_point, options, output, subprocesses, training
from benchmarks.circumstances import circumstances
from benchmarks.growth_figure import draw
from benchmarks.growth_series import Limits, Series
from benchmarks.messages import say
from harness import configuration
from harness.training.precision import Precision
from models.scan import backend_for

AXES = ("length", "width", "batch")
COSTS = {"time": "median_ms", "memory": "peak_memory_mib"}
SHOWN = (
    *("name", "length", "width", "batch", "parameters", "median_ms", "iqr_ms", "repetitions"),
    *("tokens_per_second", "peak_memory_mib", "ratio_to_ours"),
)
HEADINGS = {"tokens_per_second": "tokens/s", "peak_memory_mib": "peak MiB"}
PRELOADED = (
    *("benchmarks.growth_point", "pydantic", "torch._dynamo", "torch._inductor.config"),
    *("models.poolformer", "baselines.transformer"),
)
"""What a point imports sooner or later, and would spend seconds on."""
STARTING = 60.0
"""Seconds that a process may take to start."""

app = options.new_app()


@app.command()
def growth(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="As in train_step; repeatable. Default: poolformer, transformer."),
    ] = None,
    axis: Annotated[str, typer.Option("--axis", help="length, width, batch")] = "length,width,batch",
    lengths: Annotated[str, typer.Option("--lengths", help="FIRST:LAST, doubling.")] = "1024:1048576",
    widths: Annotated[str, typer.Option("--widths", help="FIRST:LAST, doubling.")] = "32:256",
    batches: Annotated[str, typer.Option("--batches", help="FIRST:LAST, doubling.")] = "1:16",
    length: Annotated[int, typer.Option("--length", min=1, help="Where the other two are varied.")] = 2048,
    precision: Annotated[str, typer.Option("--precision", help="float32, tf32 or bfloat16.")] = "float32",
    memory_limit: Annotated[float, typer.Option("--memory-limit", help="MiB of a process.")] = 8192,
    time_limit: Annotated[float, typer.Option("--time-limit", help="Seconds of a point's steps.")] = 8.0,
    fit_last: Annotated[int, typer.Option("--fit-last", min=3, help="Points behind an exponent.")] = 5,
    threads: options.ThreadsOption = "1",
    device: options.DeviceOption = "cpu",
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Timed steps of a point.")] = 3,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="STEM", help="Write STEM.png and STEM.svg.")
    ] = None,
    csv: options.OutputOption = None,
) -> None:
    """Time and memory of training steps over length, width and batch, with fitted exponents.

    Example: python -m benchmarks.growth --axis length --model poolformer --figure growth
    """
    if precision not in get_args(Precision):
        raise typer.BadParameter(f"--precision takes {', '.join(get_args(Precision))}, got {precision!r}")
    if unknown := {*axis.split(",")} - {*AXES}:
        raise typer.BadParameter(f"--axis takes {', '.join(AXES)}, got {', '.join(sorted(unknown))}")
    target = options.device(device)
    backend_for(target)  # builds the kernels, which no point must wait for
    subprocesses.preload(*PRELOADED)
    specs = training.specs_of(model or ("poolformer", "transformer"))
    ranges = {"length": doubling(lengths), "width": doubling(widths), "batch": doubling(batches)}
    limits = Limits(memory_mib=memory_limit, seconds=time_limit, repetitions=repetitions)
    rows: list[dict[str, Any]] = []
    for count in options.integers(threads):
        common = {"threads": count, "device": target.type, "dtype": cast("Precision", precision)}
        series = [
            Series(name, spec, along, ours=index == 0)
            for along in axis.split(",")
            for index, (name, spec) in enumerate(specs.items())
        ]
        for along in axis.split(","):
            measure([each for each in series if each.axis == along], ranges[along], length, common, limits)
        rows += [row for each in series for row in each.rows]
        rows += exponents(series, common, fit_last)
    table = output.frame(rows, circumstances("growth", target))
    show(table)
    output.write(table, csv)
    if figure is not None:
        draw(table, figure)
        say(f"wrote {figure}.png and {figure}.svg")


def doubling(text: str) -> list[int]:
    """``1024:4096`` -> [1024, 2048, 4096]"""
    bounds = options.integers(text, ":")
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise typer.BadParameter(f"expected FIRST:LAST like 1024:4096, got {text!r}")
    found = [bounds[0]]
    while 2 * found[-1] <= bounds[1]:
        found.append(2 * found[-1])
    return found


def measure(
    series: Sequence[Series], sizes: Iterable[int], length: int, common: dict[str, Any], limits: Limits
) -> None:
    """All models at one size, then all at the next, so that a noisy hour hits all alike."""
    for size in sizes:
        for each in series:
            if not each.over:
                say(f"{each.name}, {each.axis} {size}, {common['threads']} thread(s)")
                row = point(each, size, length, common, limits)
                each.rows.append(row)
                each.over = row["status"] != "ok"
        ours = next((each.measured for each in series if each.ours), [])
        reference = next((row["median_ms"] for row in ours if row[series[0].axis] == size), None)
        for each in series:
            for row in each.measured:
                if reference is not None and row[each.axis] == size:
                    row["ratio_to_ours"] = row["median_ms"] / reference


def point(series: Series, size: int, length: int, common: dict[str, Any], limits: Limits) -> dict[str, Any]:
    spec = scaled(series.spec, size) if series.axis == "width" else series.spec
    shape = {"batch": 1, "length": length} | ({series.axis: size} if series.axis != "width" else {})
    row: dict[str, Any] = {
        "name": series.name,
        "what": f"over {series.axis}",
        "axis": series.axis,
        "ours": series.ours,
        "width": getattr(configuration.resolve("models", spec).config, "width", None),
        "note": "",
        "model": json.dumps(spec),
        **common,
        **shape,
    }
    if found := limits.exceeded(series, size):
        status, note = found
        return {**row, "status": status, "note": note}
    measured = subprocesses.run_apart(
        growth_point.measure,
        {**common, **shape, "model": spec, "repetitions": limits.affordable(series, size)},
        memory_limit_mib=limits.memory_mib,
        time_limit=STARTING + 4 * limits.seconds,
    )
    return {**row, **measured}


def scaled(spec: training.Spec, width: int) -> training.Spec:
    """The model at another width; a mixer's hidden size and blocks stay in proportion."""
    mixer, before = spec.get("mixer"), spec.get("width")
    found = {**spec, "width": width}
    if isinstance(mixer, dict) and before:
        sizes = {name: mixer[name] * width // before for name in ("hidden", "blocks") if name in mixer}
        found["mixer"] = {**mixer, **{name: max(1, size) for name, size in sizes.items()}}
    return found


def exponents(series: Sequence[Series], common: dict[str, Any], last: int) -> list[dict[str, Any]]:
    """A row for each model, axis and cost."""
    found = []
    for each in series:
        for cost, column in COSTS.items():
            fitted = each.fit(column, last)
            found.append(
                {
                    "name": each.name,
                    "what": f"exponent of {cost}",
                    "axis": each.axis,
                    **common,
                    "status": "ok" if fitted.points > 1 else "not timed",
                    "note": "",
                    "exponent": fitted.exponent,
                    "exponent_low": fitted.low,
                    "exponent_high": fitted.high,
                    "points": fitted.points,
                    "constant": fitted.constant,
                }
            )
    return found


def show(table: Any) -> None:
    points = table[table["exponent"].isna()] if "exponent" in table else table
    for of, part in output.groups(points, ("axis", "threads")):
        title = "training step over {axis}, {threads} thread(s)".format(**of)
        output.show(part[part["what"].str.startswith("over")], title, SHOWN, HEADINGS)
    output.show_plain(
        table[table["what"].str.startswith("exponent")],
        "exponents: cost = constant × size ^ exponent, 95 % interval",
        ("name", "axis", "what", "threads", "exponent", "exponent_low", "exponent_high", "points"),
    )


if __name__ == "__main__":
    options.main(app, "growth")
