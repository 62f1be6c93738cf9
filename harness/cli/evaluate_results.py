"""`harness evaluate RESULTS`: every trial's clips scored again, its record brought up to date."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.bar import bar
from harness.cli.format import console as make_console
from harness.cli.format import duration

if TYPE_CHECKING:
    import torch

    from harness.evaluation.quality.rescoring import Changes, Scorable

SHOWN = (
    "fid",
    "inception_score",
    "modified_inception_score",
    "am_score",
    "precision",
    "recall",
    "mel_distance",
)
"""Columns of a trial's line; all of them are in the table."""


def evaluate_results(
    folder: Path,
    changes: Changes,
    device: torch.device,
    *,
    output: Path | None,
    report: bool,
    as_json: bool,
) -> None:
    """Raises: HarnessError where no trial has clips."""
    from harness.cli.report import write_and_print
    from harness.evaluation.quality.rescoring import rescore, scorable
    from harness.evaluation.trained import Datasets, trained
    from harness.store.store import Store

    console = make_console(stderr=True)
    found, notes = trained(Store(folder))
    ready, count, more = scorable(found, changes.clips, Datasets())
    for note in (*notes, *more):
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    rows: list[dict[str, Any]] = []
    with bar(f"{len(ready)} trials, {count} clips each") as progress:

        def part(each: Scorable) -> Callable[[float, str], None]:
            done = [scored.done.name for scored in ready].index(each.done.name)
            return lambda fraction, text: progress(
                (done + fraction) / len(ready), f"{each.done.name}: {text}"
            )

        began = time.monotonic()
        for each, columns in rescore(ready, count, changes, device=device, progress=part):
            trial = each.done.trial
            rows.append({"variant": trial.variant, "seed": trial.seed, "key": trial.short_key, **columns})
            console.print(
                f"{each.done.name}: {_line(columns)}", markup=False, highlight=False, soft_wrap=True
            )
    console.print(f"{len(rows)} records brought up to date in {duration(time.monotonic() - began)}")
    if output is not None:
        import pandas as pd

        from harness.store.atomic import write_text

        write_text(output, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    elif report:
        write_and_print(folder)


def _line(columns: Mapping[str, Any]) -> str:
    words = [f"{name} {columns[name]:.4g}" for name in SHOWN if name in columns]
    if columns.get("quality_note"):
        words.append(str(columns["quality_note"]))
    return ", ".join(words)
