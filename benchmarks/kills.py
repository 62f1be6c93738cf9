"""`python -m benchmarks.kills`: trainings killed at random moments, against the same ones undisturbed.

Each training writes its state after every update, so that a SIGKILL finds it as it trains, as it writes
and as it reads; the next process continues. In the end weights, learning curve (the seconds aside) and
counts must have the same bits as those of a training that nobody disturbed. Kills go on until enough of
them have hit; a training that ends in between is compared and begun again with the next seed.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn
from torch.nn.utils import get_total_norm

from benchmarks import options, output, training
from benchmarks.circumstances import circumstances
from benchmarks.messages import say
from harness import configuration
from harness.conformance.toy import ToyConfig, ToyData
from harness.errors import HarnessError
from harness.training.batches import TrainingBatches
from harness.training.config import TrainConfig
from harness.training.loop import train
from harness.training.resume import ResumeFile
from harness.training.seeds import seed_everything
from harness.training.step import batch_loss

MODELS: dict[str, training.Spec] = {
    "poolformer": {"name": "poolformer", "width": 16, "layers": 1, "pooling": [2, 2], "dropout": 0.2},
    "attention in poolformer": {
        "name": "poolformer",
        "width": 16,
        "layers": 1,
        "pooling": [2],
        "dropout": 0.2,
        "mixer": "attention",
    },
    "transformer": {"name": "transformer", "width": 16, "layers": 1, "heads": 2},
    "mamba": {"name": "mamba", "width": 16, "layers": 1},
    "sashimi": {"name": "sashimi", "width": 8, "layers": 1},
}
SETTINGS = TrainConfig(
    steps=40, batch_size=3, crop=20, warmup_steps=5, validate_every=7, validation_clips=2,
    schedule="cosine", ema_decay=0.9,
)  # fmt: skip
SKIPPED = 1.05
"""Times the gradient's norm at the first batch: updates beyond it are skipped, which some are."""

SHOWN = ("name", "kills", "trainings", "resumes", "identical", "skipped_updates")

app = options.new_app()
_context = multiprocessing.get_context("forkserver")


@app.command()
def kills(
    kills: Annotated[int, typer.Option("--kills", min=1, help="Of each model.")] = 10,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="As in train_step; repeatable. Default: five.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the moments.")] = 0,
    csv: options.OutputOption = None,
) -> None:
    """Kill trainings with SIGKILL at random moments, continue them, and compare bits.

    Example: python -m benchmarks.kills --kills 5 --model "{name: mamba, width: 8, layers: 1}"
    """
    _context.set_forkserver_preload(["harness.training.loop", "torch._dynamo"])
    specs = training.specs_of(model) if model else MODELS
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in specs.items():
            rows.append(_row(name, spec, kills, random.Random(seed), Path(folder) / f"{len(rows)}"))
    table = output.frame(rows, circumstances("kills", torch.device("cpu")))
    output.show_plain(table, f"{SETTINGS.steps} updates, a file after each", SHOWN)
    output.write(table, csv)
    if not table["identical"].all():
        raise HarnessError("a training that was killed and continued differs from the undisturbed one")


def _row(name: str, spec: training.Spec, kills: int, draw: random.Random, folder: Path) -> dict[str, Any]:
    killed, seed, resumes, skipped, identical = 0, 0, 0, 0, True
    while killed < kills:
        path = folder / f"seed-{seed}" / "resume.safetensors"
        killed += _kill_until_done(spec, seed, path, draw, kills - killed)
        continued = _outcome(spec, seed, path)
        undisturbed = _outcome(spec, seed, folder / "undisturbed.safetensors")
        (folder / "undisturbed.safetensors").unlink(missing_ok=True)
        resumes += continued.pop("resumes")
        undisturbed.pop("resumes")
        skipped += undisturbed["skipped_updates"]
        identical &= continued == undisturbed
        seed += 1
        bits = "the same" if identical else "OTHER"
        say(f"{name}: {killed} of {kills} kills, {seed} trainings, {bits} bits")
    return {
        "name": name,
        "what": "killed and continued",
        "status": "ok" if identical else "wrong",
        "model": json.dumps(spec),
        "kills": killed,
        "trainings": seed,
        "resumes": resumes,
        "skipped_updates": skipped,
        "identical": identical,
    }


def _kill_until_done(spec: training.Spec, seed: int, path: Path, draw: random.Random, most: int) -> int:
    """Start, let live for a random while after a random number of steps, kill: how many hit."""
    for killed in range(most):
        receiving, sending = _context.Pipe(duplex=False)
        process = _context.Process(target=_train, args=(spec, seed, path, sending), daemon=True)
        process.start()
        sending.close()
        for _ in range(draw.randrange(1, SETTINGS.steps // 4)):
            if isinstance(receiving.recv(), dict):  # it ended first
                process.join()
                return killed
        time.sleep(draw.random() * 0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    return most


def _outcome(spec: training.Spec, seed: int, path: Path) -> dict[str, Any]:
    """The last message of a training that is let to its end."""
    receiving, sending = _context.Pipe(duplex=False)
    process = _context.Process(target=_train, args=(spec, seed, path, sending), daemon=True)
    process.start()
    sending.close()
    while not isinstance(message := receiving.recv(), dict):
        pass
    process.join()
    return message


def _train(spec: training.Spec, seed: int, path: Path, sending: Connection) -> None:
    """In the process: says each step, and in the end all that must not depend on interruptions."""
    torch.set_num_threads(1)
    dataset = ToyData(ToyConfig())
    seed_everything("initialisation", seed)
    net = configuration.build("models", spec, vocab_size=dataset.vocab_size)
    result = train(
        net,
        dataset,
        replace(SETTINGS, skip_norm=SKIPPED * _first_norm(net, dataset, seed)),
        seed=seed,
        device="cpu",
        on_progress=lambda step, steps, bits: sending.send(step),
        resume=ResumeFile(path, identity={"seed": seed}, every=0.0, largest_share=float("inf")),
    )
    weights = hashlib.sha256()
    for value in net.state_dict().values():
        weights.update(value.contiguous().numpy().tobytes())
    curve = [{**asdict(row), "seconds": 0.0} for row in result.history]
    sending.send(
        {
            "weights": weights.hexdigest(),
            "curve": json.dumps(curve),
            "tokens": result.tokens,
            "steps": result.steps,
            "skipped_updates": result.skipped_updates,
            "reason": result.reason,
            "resumes": len(result.resumes),
        }
    )


def _first_norm(net: nn.Module, dataset: ToyData, seed: int) -> float:
    settings = {"batch_size": SETTINGS.batch_size, "crop": SETTINGS.crop, "seed": seed}
    tokens, lengths = TrainingBatches(dataset.splits["train"], **settings)[0]
    batch_loss(net.train(), tokens, lengths, SETTINGS).backward()
    norm = float(get_total_norm([p.grad for p in net.parameters() if p.grad is not None]))
    net.zero_grad(set_to_none=True)
    return norm


if __name__ == "__main__":
    options.main(app, "kills")
