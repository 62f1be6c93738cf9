"""`python -m benchmarks.sashimi`: a training step of our SaShiMi beside the authors' own, with its weights.

Theirs is run from a checkout of github.com/state-spaces/s4 that you name; see `original_sashimi` for what it
needs. Forward pass, backward pass, AdamW and averaged weights, the same for both. Before anything is timed,
logits and the gradient of the embedding, which has been through every layer, are compared: both models in
double precision with each other, then each in single precision with that.

    git clone https://github.com/state-spaces/s4 /somewhere/s4
    pip install einops                       # on a GPU also pykeops, for their faster Cauchy products
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from baselines.sashimi import SaShiMi, SaShiMiConfig
from baselines.sashimi_original import load_original_sashimi
from benchmarks import options, output, training
from benchmarks.agreement import deviation
from benchmarks.circumstances import circumstances
from benchmarks.contest import Budget, Entry, compete, in_one_line
from benchmarks.messages import say
from benchmarks.original_sashimi import OriginalSaShiMi
from harness.configuration import parse
from harness.errors import HarnessError
from harness.evaluation.flops import count_parameters
from harness.training.seeds import seed_everything

TOLERANCE = 1e-3
"""Of the largest value. Float32 takes theirs to some 1e-4 at S4's initialisation, ours to 1e-6."""
TOLERANCE_IN_DOUBLE = 1e-8
SHOWN = (
    *("name", "parameters", "median_ms", "iqr_ms", "repetitions", "ratio_to_ours", "tokens_per_second"),
    *("max_error", "max_error_grad"),
)
HEADINGS = {"tokens_per_second": "tokens/s"}

app = options.new_app()


@app.command()
def sashimi(
    original: Annotated[Path, typer.Option("--original", help="A checkout of github.com/state-spaces/s4.")],
    batch: Annotated[int, typer.Option("--batch", min=1)] = 4,
    length: Annotated[int, typer.Option("--length", min=1)] = 4000,
    width: Annotated[int, typer.Option("--width", min=1)] = 64,
    layers: Annotated[int, typer.Option("--layers", min=1, help="Of each stage.")] = 2,
    pooling: Annotated[str, typer.Option("--pooling", help="Factor between levels, by commas.")] = "4,4",
    tied: Annotated[bool, typer.Option("--tied", help="One state space a layer.")] = False,
    unet: Annotated[bool, typer.Option("--unet", help="Layers on the way down, too.")] = False,
    threads: options.ThreadsOption = "1",
    device: options.DeviceOption = "cpu",
    repetitions: options.RepetitionsOption = 10,
    seconds: options.SecondsOption = 30.0,
    csv: options.OutputOption = None,
) -> None:
    """Time a training step of SaShiMi: ours, and the authors' from their repository.

    Example: python -m benchmarks.sashimi --original ~/s4 --threads 1,2 --output sashimi.csv
    """
    target, budget = options.device(device), Budget(repetitions=repetitions, seconds=seconds)
    factors = options.integers(pooling)
    config = parse(
        SaShiMiConfig,
        {
            "width": width,
            "layers": layers,
            "pooling": list(factors),
            "unet": unet,
            "s4": {"systems": 1 if tied else None},
        },
    )
    config.check_data(training.VOCABULARY, length)
    if length % math.prod(factors):
        raise typer.BadParameter(f"--length takes a multiple of all factors, for theirs; got {length}")
    counts = options.integers(threads)
    of = {"what": "training step", "batch": batch, "length": length, "width": width, "dtype": "float32"}
    of |= {"layers": layers, "pooling": pooling, "tied": tied, "unet": unet}
    with options.threads(max(counts)):
        known = admitted(pair(config, original, target), training.random_clips(batch, length, target), of)
    rows: list[dict[str, Any]] = []
    for count in counts:
        with options.threads(count):
            entries = [replace(e, columns=e.columns | {"threads": count}) for e in known]
            compete(entries, budget, target, f"{count} thread(s): timing")
        rows += training.results_with_tokens(entries)
    table = output.frame(rows, circumstances("sashimi", target))
    for values, part in output.groups(table, ("batch", "length", "width", "layers", "threads")):
        title = "batch {batch}, length {length}, width {width}, {layers} layers, {threads} thread(s), "
        output.show(part, title.format(**values) + target.type, SHOWN, HEADINGS)
    output.write(table, csv)


def pair(config: SaShiMiConfig, checkout: Path, device: torch.device) -> dict[str, nn.Module]:
    """Ours and theirs with the same weights: their initial ones."""
    seed_everything("initialisation", 0)
    theirs = OriginalSaShiMi(
        checkout,
        training.VOCABULARY,
        device,
        d_model=config.width,
        n_layers=config.layers,
        pool=list(config.pooling),
        unet=config.unet,
        n_ssm=config.s4.systems,
    )
    ours = SaShiMi(config, training.VOCABULARY)
    load_original_sashimi(ours, {name: x.numpy() for name, x in theirs.backbone.state_dict().items()})
    ours.embedding.load_state_dict(theirs.embedding.state_dict())
    ours.head.load_state_dict(theirs.head.state_dict())
    return {"ours": ours.to(device), "original": theirs.to(device)}


def admitted(
    models: dict[str, nn.Module], clips: tuple[Tensor, Tensor], columns: dict[str, Any]
) -> list[Entry]:
    """Each with the work of a training step if it computes what ours does in double precision.

    Raises: HarnessError if theirs does not do so in double precision itself.
    """
    say("comparing with float64")
    tokens = clips[0][:1]
    exact, theirs = (outcome(copy.deepcopy(model).double(), tokens) for model in models.values())
    apart = max(deviation(x, expected) for x, expected in zip(theirs, exact, strict=True))
    if not apart <= TOLERANCE_IN_DOUBLE:
        raise HarnessError(f"in float64, ours and the original differ by {apart:.1e}: not the same model")
    say(f"in float64, ours and the original differ by {apart:.1e}")
    entries = []
    for name, model in models.items():
        entry = Entry(name, {**columns, "parameters": count_parameters(model)}, ours=name == "ours")
        entries.append(entry)
        try:
            found = outcome(model, tokens)
        except HarnessError:
            raise
        except Exception as error:
            entry.give_up("failed", in_one_line(error))
            continue
        errors = [deviation(x, expected) for x, expected in zip(found, exact, strict=True)]
        entry.columns |= dict(zip(("max_error", "max_error_grad"), errors, strict=True))
        if max(errors) <= TOLERANCE:
            entry.work = training.step_of(model, clips, "float32")
        else:
            entry.give_up("wrong", f"differs by {max(errors):.1e}")
    return entries


def outcome(model: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of their cross-entropy by the embedding."""
    table: Any = model.embedding
    logits = model(tokens)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    (gradient,) = torch.autograd.grad(loss, table.weight)
    return logits.detach(), gradient


if __name__ == "__main__":
    options.main(app, "sashimi")
