"""`python -m benchmarks.memory`: how long a context trains in how much memory.

What a forward pass keeps for its backward pass, counted by storage at two lengths, is a line in the
length: bytes a token and bytes in all. With the weights, their gradients, Adam's moments and the
averaged weights (five numbers a parameter) it gives the longest clip that fits at batch 1. A layer's
workspace, the logits' own gradient and the one part that is being recomputed (2080 tokens, say, with all
that they keep) are not in it, so leave a tenth of the memory free.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import nn

from benchmarks import options, output, training
from benchmarks.circumstances import circumstances
from benchmarks.messages import say
from harness.evaluation.flops import count_parameters
from harness.evaluation.memory import SavedForBackward

TEMPLATE: training.Spec = {
    "name": "poolformer",
    "width": 128,
    "layers": 4,
    "pooling": [2, 4, 4, 5],
    "dropout": 0.2,
}
"""The published model, 7.27 M parameters."""

MODELS: dict[str, training.Spec] = {
    "all kept": TEMPLATE,
    "recompute: 1": {**TEMPLATE, "recompute": 1},
    "recompute: 5": {**TEMPLATE, "recompute": 5},
    "recompute_chunk: 2080": {**TEMPLATE, "recompute_chunk": 2080},
}
NUMBERS_A_PARAMETER = 5
"""Weight, gradient, Adam's two moments, average."""

GIB = 2**30
SHOWN = ("name", "parameters", "bytes_per_token", "fixed_mib", "fits_24_gb", "fits_139_gib")
HEADINGS = {
    "bytes_per_token": "bytes/token",
    "fixed_mib": "fixed MiB",
    "fits_24_gb": "tokens in 24 GB",
    "fits_139_gib": "tokens in 139 GiB",
}

app = options.new_app()


@app.command()
def memory(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="As in train_step; repeatable. Default: the published model, kept and recomputed."
        ),
    ] = None,
    lengths: Annotated[str, typer.Option("--lengths", help="Two lengths, the longer second.")] = "8320,16640",
    device: options.DeviceOption = "cpu",
    csv: options.OutputOption = None,
) -> None:
    """Bytes kept for the backward pass, and the context that fits into 24 GB and 139 GiB.

    Example: python -m benchmarks.memory --model "{name: mamba, width: 128}" --lengths 1000,2000
    """
    target, between = options.device(device), options.integers(lengths)
    if len(between) != 2 or between[0] >= between[1]:
        raise typer.BadParameter(f"--lengths takes two, the longer second, got {lengths!r}")
    specs = training.specs_of(model) if model else MODELS
    rows = []
    for name, spec in specs.items():
        say(f"{name}: forward passes over {between[0]} and {between[1]} tokens")
        rows.append(row(name, spec, between, target))
    table = output.frame(rows, circumstances("memory", target))
    output.show_plain(table, "kept for the backward pass, batch 1, float32", SHOWN, HEADINGS)
    output.write(table, csv)


def row(name: str, spec: training.Spec, lengths: tuple[int, ...], device: torch.device) -> dict[str, Any]:
    model = training.model_of(spec, device)
    short, long = (kept(model, length) for length in lengths)
    per_token = (long - short) / (lengths[1] - lengths[0])
    parameters = count_parameters(model)
    fixed = max(short - per_token * lengths[0], 0.0) + 4 * NUMBERS_A_PARAMETER * parameters
    return {
        "name": name,
        "what": "kept for the backward pass",
        "status": "ok",
        "batch": 1,
        "length": lengths[1],
        "dtype": "float32",
        "model": json.dumps(spec),
        "parameters": parameters,
        "bytes_per_token": per_token,
        "fixed_mib": fixed / 2**20,
        "fits_24_gb": int((24e9 - fixed) / per_token),
        "fits_139_gib": int((139 * GIB - fixed) / per_token),
    }


def kept(model: nn.Module, length: int) -> int:
    """Bytes of all that a forward pass and its loss keep, the parameters left out."""
    tokens = torch.randint(training.VOCABULARY, (1, length), device=next(model.parameters()).device)
    saved = SavedForBackward(model)
    with saved:
        F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
    return saved.bytes


if __name__ == "__main__":
    options.main(app, "memory")
