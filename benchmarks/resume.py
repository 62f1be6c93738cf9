"""`python -m benchmarks.resume`: what it costs that a killed training can be continued.

Of each model: the bytes of the file, the time that writing it takes (checksum, bytes on the disk, sync)
and that reading and restoring it take, and a training step for comparison. Training waits for a write,
so its share of the time at the default interval is the cost; a write that would take more than
LARGEST_SHARE is made less often.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks import options, output, training
from benchmarks.circumstances import circumstances
from benchmarks.messages import say
from harness.evaluation.flops import count_parameters
from harness.evaluation.timing import repeat
from harness.training.config import TrainConfig
from harness.training.resume import EVERY_SECONDS, LARGEST_SHARE, ResumeFile
from harness.training.snapshot import restore, take
from harness.training.step import training_step
from harness.training.update import Update

MODELS: dict[str, training.Spec] = {
    "small": {**training.REFERENCE, "mixer": "rg_lru"},
    "reference": training.REFERENCE,
    "paper": {"name": "poolformer", "width": 128, "layers": 4, "pooling": [2, 4, 4, 5], "dropout": 0.2},
}
SHOWN = ("name", "what", "parameters", "file_mib", "median_ms", "iqr_ms", "repetitions", "share_of_time")
HEADINGS = {"file_mib": "MiB", "share_of_time": "of the time"}

app = options.new_app()


@app.command()
def resume(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="As in train_step; repeatable. Default: three sizes of Poolformer."),
    ] = None,
    length: Annotated[int, typer.Option("--length", min=1, help="Tokens of a clip of the step.")] = 2000,
    folder: Annotated[Path | None, typer.Option("--folder", help="Where to write: the disk to test.")] = None,
    seconds: options.SecondsOption = 5.0,
    repetitions: options.RepetitionsOption = 5,
    threads: options.ThreadsOption = "1",
    device: options.DeviceOption = "cpu",
    csv: options.OutputOption = None,
) -> None:
    """Bytes and milliseconds of writing and of continuing from a resume file, by model.

    Example: python -m benchmarks.resume --folder results --model "{name: mamba, width: 128}"
    """
    target = options.device(device)
    rows = []
    for name, spec in (training.specs_of(model) if model else MODELS).items():
        for count in options.integers(threads):
            say(f"{name}, {count} thread{'s' if count > 1 else ''}")
            with options.threads(count), tempfile.TemporaryDirectory(dir=folder) as place:
                measured = _rows(name, spec, length, target, Path(place), (seconds, repetitions))
                rows += [{**row, "threads": count} for row in measured]
    table = output.frame(rows, circumstances("resume", target))
    output.show_plain(table, f"a file every {EVERY_SECONDS:.0f} s", SHOWN, HEADINGS)
    output.write(table, csv)


def _rows(
    name: str,
    spec: training.Spec,
    length: int,
    device: torch.device,
    folder: Path,
    budget: tuple[float, int],
) -> list[dict[str, Any]]:
    net = training.model_of(spec, device).train()
    update = Update(net, TrainConfig(batch_size=1, warmup_steps=0))
    clips = training.random_clips(1, length, device)
    file = ResumeFile(folder / "resume.safetensors", identity={})
    position = {"step": 1, "history": []}
    works: dict[str, Callable[[], object]] = {
        "step": lambda: training_step(update, *clips),
        "write": lambda: file.write(take(update, device, position)),
        "continue": lambda: restore(file.read() or _lost(file), update, device),
    }
    rows = []
    for what, work in works.items():  # the step first: it makes the optimiser's moments
        times = 1e3 * repeat(work, device=device, seconds=budget[0], at_least=budget[1], warmup=1)
        lower, middle, upper = np.quantile(times, (0.25, 0.5, 0.75)).tolist()
        spacing = max(EVERY_SECONDS, 1e-3 * middle / LARGEST_SHARE)
        rows.append(
            {
                "name": name,
                "what": what,
                "status": "ok",
                "batch": 1,
                "length": length,
                "dtype": "float32",
                "median_ms": middle,
                "iqr_ms": upper - lower,
                "min_ms": float(times.min()),
                "repetitions": len(times),
                "parameters": count_parameters(net),
                "file_mib": file.path.stat().st_size / 2**20 if what != "step" else None,
                "share_of_time": 1e-3 * middle / spacing if what == "write" else None,
                "model": json.dumps(spec),
            }
        )
    return rows


def _lost(file: ResumeFile) -> Any:
    raise RuntimeError(f"{file.path} is not what was just written there")


if __name__ == "__main__":
    options.main(app, "resume")
