"""`python -m benchmarks.poolformer`: a training step of our Poolformer beside its authors' own, with its
weights.

Theirs is run from a checkout of github.com/daniel-gallo/ssm that you name, by a Python of its own that has
JAX:

    git clone https://github.com/daniel-gallo/ssm /somewhere/ssm
    python -m venv /somewhere/jax
    /somewhere/jax/bin/pip install jax==0.6.2 flax==0.10.6 optax==0.2.5 einops jaxtyping typeguard==2.13.3

Forward pass, backward pass, clipping, AdamW and averaged weights, the same for both. Before anything is
timed, the loss of the first step, in single precision, is compared with ours in double precision. Their
kernel for TPUs does not run on a CPU; of their other scans, the sequential one is unrolled by less than in
their code, which asks for 128: for 18 layers XLA needs more than 20 GB to compile that. Eight times takes
as long as once here, and longer to compile.
"""

from __future__ import annotations

import copy
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

from benchmarks import options, output, training
from benchmarks.circumstances import circumstances
from benchmarks.contest import Budget, Entry, compete, in_one_line
from benchmarks.messages import say
from benchmarks.original_poolformer import NETWORK, OriginalPoolformer
from harness.evaluation.flops import count_parameters
from harness.training.loss import mean_bits
from harness.training.seeds import seed_everything
from models.original import config_from_original, load_original
from models.poolformer import Poolformer, PoolformerConfig

TOLERANCE = 1e-4
"""Of the loss: single precision against double."""
SCANS = {"sequential": "linear_native", "associative": "associative_native"}
SHOWN = (
    *("name", "parameters", "median_ms", "iqr_ms", "repetitions", "ratio_to_ours", "tokens_per_second"),
    *("first_step_s", "max_error"),
)
HEADINGS = {"tokens_per_second": "tokens/s", "first_step_s": "first s"}

app = options.new_app()


@app.command()
def poolformer(
    original: Annotated[Path, typer.Option("--original", help="A checkout of github.com/daniel-gallo/ssm.")],
    python: Annotated[Path, typer.Option("--original-python", help="A Python that has JAX and flax.")],
    batch: Annotated[int, typer.Option("--batch", min=1)] = 4,
    length: Annotated[int, typer.Option("--length", min=1)] = 4000,
    width: Annotated[int, typer.Option("--width", min=1)] = 64,
    hidden: Annotated[int, typer.Option("--hidden", min=1)] = 256,
    layers: Annotated[int, typer.Option("--layers", min=1, help="On each side of each level.")] = 2,
    pooling: Annotated[str, typer.Option("--pooling", help="Factors, or empty: one stack.")] = "2,4,4,5",
    scans: Annotated[str, typer.Option("--scans", help="Of theirs: sequential, associative.")] = "sequential",
    unroll: Annotated[int, typer.Option("--unroll", min=1, help="Of their sequential scan.")] = 1,
    threads: options.ThreadsOption = "2",
    repetitions: options.RepetitionsOption = 10,
    seconds: options.SecondsOption = 30.0,
    csv: options.OutputOption = None,
) -> None:
    """Time a training step of Poolformer on a CPU: ours, and the authors' in JAX from their repository.

    Example: python -m benchmarks.poolformer --original ~/ssm --original-python ~/jax/bin/python
    """
    device, budget = options.device("cpu"), Budget(repetitions=repetitions, seconds=seconds, settling=1)
    if not (original / NETWORK).is_file():
        raise typer.BadParameter(
            f"{original} has no {NETWORK}: name a checkout of github.com/daniel-gallo/ssm"
        )
    if unknown := set(scans.split(",")) - set(SCANS):
        raise typer.BadParameter(f"--scans takes {', '.join(SCANS)}; got {min(unknown)!r}")
    settings = settings_of(width, hidden, layers, options.integers(pooling) if pooling else ())
    config = config_from_original(settings)
    config.check_data(training.VOCABULARY, length)
    of = {"what": "training step", "batch": batch, "length": length, "width": width, "dtype": "float32"}
    of |= {"hidden": hidden, "layers": layers, "pooling": pooling}
    clips = training.random_clips(batch, length, device)
    rows: list[dict[str, Any]] = []
    for count in options.integers(threads):
        with options.threads(count), ExitStack() as running:
            entries, models = [], []
            for scan in scans.split(","):
                say(f"{count} thread(s): compiling the original with its {scan} scan")
                of_scan = {**settings, "rnn": {**settings["rnn"], "scan_implementation": SCANS[scan]}}
                note = f"unrolled by {unroll}" if scan == "sequential" else ""
                entry = Entry(f"original, {scan} scan", {**of, "threads": count}, note=note)
                entries.append(entry)
                try:
                    theirs = OriginalPoolformer(
                        *(python, original, of_scan, clips[0]),
                        threads=count,
                        unroll=unroll if scan == "sequential" else None,
                    )
                except Exception as error:
                    entry.give_up("failed", in_one_line(error))
                    continue
                running.callback(theirs.close)
                models.append((entry, theirs))
            entries.insert(0, admit(config, models, clips, {**of, "threads": count}))
            compete(entries, budget, device, f"{count} thread(s): timing")
            rows += training.results_with_tokens(entries)
    table = output.frame(rows, circumstances("poolformer", device))
    for values, part in output.groups(table, ("batch", "length", "pooling", "threads")):
        title = "batch {batch}, length {length}, pooling [{pooling}], {threads} thread(s), cpu"
        output.show(part, title.format(**values), SHOWN, HEADINGS)
    output.write(table, csv)


def settings_of(width: int, hidden: int, layers: int, pooling: tuple[int, ...]) -> dict[str, Any]:
    """The authors' hyper-parameters of the model; one stack has as many layers as a level has sides."""
    levels = [["rglru"] * layers] * (len(pooling) + 1)
    return {
        "base_dim": width,
        "pool_temporal": list(pooling),
        "pool_features": [1] * len(pooling),
        "model_structure": levels,
        "conv_pooling": True,
        "use_temporal_cnn": False,
        "dropout_rate": 0.0,
        "rnn": {"d_hidden": hidden, "n_diag_blocks": 32},
    }


def admit(
    config: PoolformerConfig,
    originals: list[tuple[Entry, OriginalPoolformer]],
    clips: tuple[torch.Tensor, torch.Tensor],
    columns: dict[str, Any],
) -> Entry:
    """Ours, ready; and theirs given their work, if their loss is that of ours with their weights."""
    seed_everything("initialisation", 0)
    ours: nn.Module = Poolformer(config, training.VOCABULARY)
    columns["parameters"] = count_parameters(ours)
    exact = copy.deepcopy(ours).double()
    for entry, theirs in originals:
        load_original(exact, theirs.weights)
        with torch.no_grad():
            loss = float(mean_bits(exact(clips[0]), *clips))
        entry.columns |= {
            "parameters": sum(array.size for array in theirs.weights.values()),
            "first_step_s": theirs.first_step_s,
            "package": "jax",
            "package_version": theirs.jax_version,
            "max_error": abs(theirs.loss_bits - loss) / loss,
        }
        if entry.columns["max_error"] <= TOLERANCE:
            entry.work = theirs.step
        else:
            entry.give_up("wrong", f"its loss is {theirs.loss_bits:.6f} bits, not {loss:.6f}")
    if originals:
        load_original(ours, originals[-1][1].weights)
    return Entry("ours", columns, training.step_of(ours, clips, "float32"), ours=True)


if __name__ == "__main__":
    options.main(app, "poolformer")
