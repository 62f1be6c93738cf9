"""`python -m benchmarks.train_step`: one step of training Poolformer, against what its pooling replaces.

Forward pass, backward pass, AdamW and averaged weights, as in every training of the harness.
Multiplications and additions are those of the forward pass, times three: a backward pass costs two.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, cast, get_args

import torch
import typer
from torch import nn

from benchmarks import options, output, training
from benchmarks.ceilings import matrix_product
from benchmarks.circumstances import circumstances
from benchmarks.contest import Budget, Entry, compete, in_one_line
from benchmarks.messages import say
from harness import configuration
from harness.errors import HarnessError
from harness.evaluation.flops import build_to_count, count_parameters, flops_per_token
from harness.evaluation.memory import MIB, PeakMemory
from harness.evaluation.timing import repeat
from harness.training.precision import Precision
from models.scan import backend_for

SHOWN = (
    *("name", "parameters", "median_ms", "iqr_ms", "repetitions", "ratio_to_ours", "tokens_per_second"),
    *("gflop_per_s", "peak_memory_mib", "first_step_s", "max_error"),
)
HEADINGS = {
    "tokens_per_second": "tokens/s",
    "gflop_per_s": "GFLOP/s",
    "peak_memory_mib": "peak MiB",
    "first_step_s": "first s",
}

app = options.new_app()


@app.command()
def train_step(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Repeatable; the first is what ratios are taken to. One of "
            f"{', '.join(training.MODELS)}; a registered model's name; or LABEL={{name: …, width: …}}. "
            "Default: those listed.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1)] = 4,
    length: Annotated[int, typer.Option("--length", min=1)] = 4000,
    precision: Annotated[str, typer.Option("--precision", help="float32, tf32 or bfloat16.")] = "float32",
    compiled: Annotated[bool, typer.Option("--compile", help="Run through torch.compile.")] = False,
    matrix: Annotated[int, typer.Option("--matrix", min=1, help="Size of the matrix product.")] = 1024,
    threads: options.ThreadsOption = "1,2",
    device: options.DeviceOption = "cpu",
    repetitions: options.RepetitionsOption = 10,
    seconds: options.SecondsOption = 2.0,
    csv: options.OutputOption = None,
) -> None:
    """Time training steps: Poolformer, without its pooling, a transformer of its size, yours.

    Example: python -m benchmarks.train_step --threads 2 --model poolformer --model mamba
    """
    if precision not in get_args(Precision):
        raise typer.BadParameter(f"--precision takes {', '.join(get_args(Precision))}, got {precision!r}")
    kind = cast("Precision", precision)
    target, budget = options.device(device), Budget(repetitions=repetitions, seconds=seconds, settling=1)
    specs = training.specs_of(model or training.MODELS)
    backend_for(target)  # builds the kernels, which no first step must wait for
    counts = options.integers(threads)
    of = {"what": "training step", "batch": batch, "length": length, "dtype": kind}
    with options.threads(max(counts)):
        known = [admitted(name, spec, of, kind, compiled, target) for name, spec in specs.items()]
    known[0].ours = True
    rows: list[dict[str, Any]] = []
    for count in counts:
        with options.threads(count):
            rows += contest(known, matrix_product(matrix, target, of), count, max(counts), budget, target)
    table = output.frame(rows, circumstances("train_step", target))
    for values, part in output.groups(table, ("batch", "length", "threads")):
        title = "batch {batch}, length {length}, {threads} thread(s), ".format(**values)
        output.show(part, title + f"{kind}, {target.type}", SHOWN, HEADINGS)
    output.write(table, csv)


def admitted(
    name: str,
    spec: training.Spec,
    columns: dict[str, Any],
    kind: Precision,
    compiled: bool,
    device: torch.device,
) -> Entry:
    """A model that has been built, measured in memory and compared with double precision."""
    say(f"{name}: first steps, memory, comparing with float64")
    entry = Entry(name, dict(columns))
    try:
        prepare(entry, spec, kind, compiled, device)
    except HarnessError:
        raise
    except Exception as error:
        entry.give_up("failed", in_one_line(error))
    return entry


def prepare(entry: Entry, spec: training.Spec, kind: Precision, compiled: bool, device: torch.device) -> None:
    of = entry.columns
    on_meta = build_to_count(spec, vocab_size=training.VOCABULARY)
    of |= {
        "model": json.dumps(spec),
        "width": getattr(configuration.resolve("models", spec).config, "width", None),
        "parameters": count_parameters(on_meta),
        "flops_per_token": flops_per_token(on_meta, of["length"]),
        "compiled": compiled,
    }
    check_reference(spec, of["parameters"])
    entry.flops = 3.0 * of["flops_per_token"] * of["batch"] * of["length"]
    clips = training.random_clips(of["batch"], of["length"], device)
    with PeakMemory(device) as memory:
        model = training.model_of(spec, device)
        run = cast("nn.Module", torch.compile(model)) if compiled else model
        step = training.step_of(run, clips, kind)
        of["first_step_s"] = _seconds(step, device)
        entry.expected_seconds = _seconds(step, device)
    of["scan_backend"] = getattr(model, "scan_backend", None)
    of["peak_memory_mib"], of["memory_method"] = memory.bytes / MIB, memory.method
    error = of["max_error"] = training.error_of(run, model, clips[0], kind)
    if error <= training.TOLERANCE[kind]:
        entry.work = step
    else:
        entry.give_up("wrong", f"max_error is {error:.1e}")


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    return float(repeat(step, device=device, seconds=0.0, at_least=1, warmup=0)[0])


def contest(
    known: list[Entry], ceiling: Entry, count: int, first_count: int, budget: Budget, device: torch.device
) -> list[dict[str, Any]]:
    """At this number of threads; what is known comes from the first steps, at `first_count`."""
    entries = [replace(entry, columns={**entry.columns, "threads": count}) for entry in (ceiling, *known)]
    for entry in entries:
        if entry.expected_seconds is not None:
            entry.expected_seconds *= first_count / count
    compete(entries, budget, device, f"{count} thread(s): timing")
    return training.results_with_tokens(entries)


def check_reference(spec: training.Spec, parameters: int) -> None:
    if spec == training.REFERENCE and parameters != training.REFERENCE_PARAMETERS:
        raise HarnessError(
            f"the reference model has {parameters:,} parameters, not {training.REFERENCE_PARAMETERS:,}: "
            "its timings could not be compared with earlier ones"
        )


if __name__ == "__main__":
    options.main(app, "train_step")
