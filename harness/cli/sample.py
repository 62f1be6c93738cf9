"""`harness sample`: draw clips from trained models, or more of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.bar import bar
from harness.cli.format import console as make_console
from harness.cli.format import duration, quantity
from harness.cli.options import DeviceOption, ResultsArgument, ThreadsOption
from harness.errors import HarnessError


def add_to(app: typer.Typer) -> None:
    app.command(name="sample")(sample)


def sample(
    results: ResultsArgument,
    trials: Annotated[
        list[str] | None,
        typer.Argument(help="Variants, or the first digits of keys. Default: every trained trial."),
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(
            "--clips", "-n", min=1, help="Clips in all, those there already included. Default: the suite's."
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Clips side by side. Default: the suite's.")
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Divides the logits. Other than 1: a folder of their own.")
    ] = 1.0,
    top_p: Annotated[
        float, typer.Option("--top-p", help="Draw from the likeliest tokens of this much probability.")
    ] = 1.0,
    label: Annotated[
        bool, typer.Option("--label/--no-label", help="Note what the classifier hears in each clip.")
    ] = True,
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
) -> None:
    """Draw clips from trained models into their trials' folders, without training again.

    Example: harness sample results/pooling_ablation base --clips 2000

    Clips that are there are kept; a command that was stopped continues where it was. Scores of the
    table change only with `harness evaluate RESULTS`.
    """
    from harness.cli.workplace import workplace
    from harness.store.wanted import everything

    _check(temperature, top_p)
    with workplace(results, everything) as folder:
        _draw(folder, trials or (), clips, batch, temperature, top_p, label, device, threads)


def _draw(
    results: Path,
    trials: Sequence[str],
    clips: int | None,
    batch: int | None,
    temperature: float,
    top_p: float,
    label: bool,
    device: str | None,
    threads: int,
) -> None:
    import torch

    from harness.evaluation.clips import clips_folder, draw_clips
    from harness.evaluation.quality.metric import label_clips
    from harness.evaluation.trained import Datasets, load_trained, metric_config, trained
    from harness.store.store import Store

    torch.set_num_threads(threads)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    console = make_console(stderr=True)
    found, notes = trained(Store(results), trials)
    datasets = Datasets()
    for note in notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for number, done in enumerate(found, start=1):
        dataset = datasets(done.trial)
        suite = metric_config(done.trial, "quality")
        folder = clips_folder(done.folder, temperature=temperature, top_p=top_p)
        with bar(f"[{number}/{len(found)}] {done.name}") as progress:
            began = time.monotonic()
            drawn = draw_clips(
                load_trained(done, dataset, place),
                dataset,
                folder,
                count=clips or suite.clips,
                seed=done.trial.seed,
                device=place,
                batch=batch or suite.batch,
                temperature=temperature,
                top_p=top_p,
                progress=progress,
            )
            seconds = time.monotonic() - began
            if label and any(clip.label is None for clip in drawn.clips):
                label_clips(
                    drawn,
                    dataset,
                    done.trial.config["data"],
                    suite,
                    device=torch.device(place),
                    progress=progress,
                )
        new = drawn.added
        speed = f", {quantity(new * dataset.length / seconds)} samples/s" if new else ""
        typer.echo(f"{done.name}: {len(drawn)} clips, {new} new in {duration(seconds)}{speed}  {folder}")


def _check(temperature: float, top_p: float) -> None:
    if temperature <= 0:
        raise HarnessError(f"--temperature must be above 0, got {temperature:g}")
    if not 0 < top_p <= 1:
        raise HarnessError(f"--top-p must lie above 0 and at most at 1, got {top_p:g}")
