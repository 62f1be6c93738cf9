"""`python -m benchmarks.generation`: how fast Poolformer draws samples, one after another.

Ours, by its kernel and by its `step`, against the loop that runs every level at every sample. One
repetition draws as many samples as
there are between two steps of the bottom level, so that all repetitions are the same work.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from benchmarks import options, output
from benchmarks.agreement import deviation
from benchmarks.circumstances import circumstances
from benchmarks.contest import Budget, Entry, compete, in_one_line, median, results
from benchmarks.every_level import every_level
from benchmarks.messages import say
from harness import configuration
from harness.evaluation.flops import count_parameters
from harness.evaluation.sampling import Sampler
from harness.training.average import evaluating
from harness.training.precision import precision
from harness.training.seeds import generator, seed_everything
from models.generation.native import CannotTranslate, NativeDrawer

TOLERANCE = 1e-4
"""Largest error of a logit, relative to the largest."""
SHOWN = (
    *("name", "batch", "median_ms", "iqr_ms", "repetitions", "ratio_to_ours"),
    *("samples_per_second", "real_time_factor", "max_error"),
)
HEADINGS = {"samples_per_second": "samples/s", "real_time_factor": "real time ×"}

app = options.new_app()


@app.command()
def generation(
    batch: Annotated[str, typer.Option("--batch", help="Clips side by side, several by commas.")] = "1,16",
    width: Annotated[int, typer.Option("--width", min=2)] = 64,
    layers: Annotated[int, typer.Option("--layers", min=1, help="Of each side of each level.")] = 4,
    pooling: Annotated[str, typer.Option("--pooling", help="Factors by commas.")] = "2,4,4,5",
    hidden: Annotated[int, typer.Option("--hidden", min=2, help="Real numbers of each layer's state.")] = 128,
    sample_rate: Annotated[int, typer.Option("--sample-rate", min=1, help="Hz, of real time.")] = 16_000,
    check_samples: Annotated[
        int, typer.Option("--check-samples", min=1, help="Compared with a float64 forward pass.")
    ] = 330,
    threads: options.ThreadsOption = "2",
    device: options.DeviceOption = "cpu",
    repetitions: options.RepetitionsOption = 10,
    seconds: options.SecondsOption = 5.0,
    csv: options.OutputOption = None,
) -> None:
    """Time the drawing of samples: ours, and a loop in which every level runs at every sample.

    Example: python -m benchmarks.generation --batch 16 --threads 1,2 --output generation.csv
    """
    target, budget = options.device(device), Budget(repetitions=repetitions, seconds=seconds)
    factors = options.integers(pooling)
    spec = {
        "name": "poolformer",
        "width": width,
        "layers": layers,
        "pooling": list(factors),
        "mixer": {"name": "rg_lru", "hidden": hidden},
    }
    seed_everything("initialisation", 0)
    model = configuration.build("models", spec, vocab_size=256).to(target)
    columns = {
        "what": "generation",
        "length": math.prod(factors),
        "width": width,
        "dtype": "float32",
        "parameters": count_parameters(model),
        "model": json.dumps(spec),
    }
    rows: list[dict[str, Any]] = []
    with evaluating(model), precision("float32"):
        say("comparing with float64")
        with options.threads(1):
            known = [admitted(each, model, columns, check_samples) for each in candidates(model)]
        for count, size in itertools.product(options.integers(threads), options.integers(batch)):
            with options.threads(count):
                rows += contest(known, {"batch": size, "threads": count}, budget, sample_rate, target)
    table = output.frame(rows, circumstances("generation", target))
    for of, part in output.groups(table, ("length", "threads")):
        title = "{length} samples a repetition, {threads} thread(s), ".format(**of) + target.type
        output.show(part, title, SHOWN, HEADINGS)
    output.write(table, csv)


class Stepped:
    """A model without a faster way to draw of its own: through `step`."""

    def __init__(self, model: Any) -> None:
        self.initial_state, self.step = model.initial_state, model.step


@dataclass(frozen=True, kw_only=True)
class Candidate:
    name: str
    model: Any
    """That a `Sampler` draws from."""
    logits: Callable[[Tensor], Tensor] | None = None
    """Of given tokens, found as drawing finds them: Long[B, L] -> Float[B, L, V]. Without it, what is
    compared are likelihoods of drawn clips."""
    note: str = ""
    missing: str = ""


def candidates(model: Any) -> list[Candidate]:
    """The model's own kernel, its `step`, and the loop that knows nothing of pooling."""
    naive = every_level(model)
    return [
        kernel(model),
        Candidate(name="ours, step", model=Stepped(model), logits=partial(step_by_step, model)),
        Candidate(
            name="every level at every sample",
            model=Stepped(naive),
            logits=partial(step_by_step, naive),
            note="the same torch code as `ours, step`, without skipping",
        ),
    ]


def kernel(model: Any) -> Candidate:
    """The faster way that the model has on its device."""
    drawer = model.drawer(1)
    if drawer is None:
        return Candidate(name="ours, kernel", model=model, missing=why_no_kernel(model))

    def read(tokens: Tensor) -> Tensor:
        return model.drawer(tokens.shape[0]).read(tokens)

    return Candidate(
        name=f"ours, {drawer.backend}", model=model, logits=read if hasattr(drawer, "read") else None
    )


def why_no_kernel(model: Any) -> str:
    try:
        NativeDrawer(model, 1)
    except CannotTranslate as reason:
        return str(reason)
    return "the model offers none on this device"


def admitted(
    candidate: Candidate, model: nn.Module, columns: dict[str, Any], samples: int
) -> tuple[Candidate, Entry]:
    """A candidate and its row as far as it is known: with its error, and given up if that is large."""
    entry = Entry(candidate.name, dict(columns), note=candidate.note)
    if candidate.missing:
        entry.give_up("missing", candidate.missing)
        return candidate, entry
    try:
        error = entry.columns["max_error"] = error_of(candidate, model, samples)
    except Exception as failure:
        entry.give_up("failed", in_one_line(failure))
        return candidate, entry
    if not error <= TOLERANCE:
        entry.give_up("wrong", f"max_error is {error:.1e}")
    return candidate, entry


def contest(
    known: list[tuple[Candidate, Entry]],
    of: dict[str, Any],
    budget: Budget,
    sample_rate: int,
    device: torch.device,
) -> list[dict[str, Any]]:
    entries: list[Entry] = []
    for candidate, template in known:
        entry = replace(template, columns={**template.columns, **of})
        if entry.status == "ok":
            entry.ours = not any(each.ours for each in entries)  # the first that works
            entry.work = drawing(candidate, of["batch"], entry.columns["length"], device)
        entries.append(entry)
    compete(entries, budget, device, "batch {batch}, {threads} thread(s): timing".format(**of))
    rows = results(entries)
    for entry, row in zip(entries, rows, strict=True):
        if len(entry.seconds):
            row["samples_per_second"] = of["batch"] * row["length"] / median(entry)
            row["real_time_factor"] = row["samples_per_second"] / sample_rate
    return rows


def drawing(candidate: Candidate, batch: int, samples: int, device: torch.device) -> Callable[[], object]:
    """Goes on drawing where the call before stopped."""
    sampler = Sampler(candidate.model, batch, generator=generator("sampling", 0, device))
    return lambda: sampler.draw(samples)


@torch.inference_mode()
def error_of(candidate: Candidate, model: nn.Module, samples: int) -> float:
    """Against a double-precision forward pass over the whole clip: of the logits of given tokens, or
    of the likelihoods that were found while clips were drawn."""
    device = next(model.parameters()).device
    if candidate.logits is not None:
        tokens = torch.randint(256, (2, samples), generator=torch.Generator().manual_seed(0)).to(device)
        return deviation(candidate.logits(tokens), in_double(model)(tokens))
    sampler = Sampler(candidate.model, 2, generator=generator("sampling", 0, device))
    drawn = sampler.draw(samples)
    log_p = in_double(model)(drawn).log_softmax(-1)
    return deviation(sampler.log_likelihood, log_p.gather(-1, drawn[..., None]).sum((1, 2)))


def step_by_step(model: Any, tokens: Tensor) -> Tensor:
    """Logits Float[B, L, V]."""
    state, logits, previous = model.initial_state(tokens.shape[0]), [], None
    for token in tokens.unbind(1):
        each, state = model.step(previous, state)
        logits.append(each)
        previous = token
    return torch.stack(logits, dim=1)


def in_double(model: nn.Module) -> nn.Module:
    """A copy in double precision."""
    return copy.deepcopy(model).double()


if __name__ == "__main__":
    options.main(app, "generation")
