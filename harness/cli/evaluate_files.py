"""`harness evaluate DIR --against DATA`: anybody's sound files, scored as a model's own clips are."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.bar import bar
from harness.cli.format import console as make_console
from harness.cli.format import duration
from harness.cli.published_beside import print_published, published_beside
from harness.errors import DataError, HarnessError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from harness.evaluation.quality.rescoring import Changes
    from harness.evaluation.sound_folder import SoundFolder

OWN_TABLE = "samples.csv"
"""The likelihoods of clips that `harness sample` has drawn lie beside them."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is printed, in one piece."""

    folder: str
    data: Mapping[str, Any]
    columns: Mapping[str, Any]
    notes: Sequence[str]
    seconds: float
    published: Sequence[Mapping[str, Any]]
    """What others report on this data set, and whether it may stand beside these numbers."""


def evaluate_files(
    folder: Path,
    against: str,
    profile: str | None,
    changes: Changes,
    device: torch.device,
    *,
    likelihoods: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Raises: HarnessError for a folder or a data set that cannot be used."""
    from harness import configuration
    from harness.evaluation.against import data_of
    from harness.evaluation.quality.judging import judge
    from harness.evaluation.quality.metric import Quality
    from harness.evaluation.sound_folder import SoundFolder

    began = time.monotonic()
    config = changes.over(Quality.Config(lengths="full"))
    data = data_of(against, profile)
    facts = configuration.resolve("datasets", data).config
    if facts.sample_rate is None:
        raise HarnessError(f"--against {against}: this data set is no sound, it has no sample rate")
    # Before the data set is read or made: a folder that cannot be used is known at once.
    files = SoundFolder(folder, sample_rate=facts.sample_rate, length=facts.length)
    files.files = files.files[: changes.clips]
    log_likelihood = _log_likelihood(folder, files, likelihoods, needed=config.rejection != "none")
    dataset = configuration.build("datasets", data)
    with bar(folder.name) as progress:
        judged = judge(
            files, log_likelihood, dataset, data, config.protocol(None), device=device, progress=progress
        )
    found = Evaluation(
        folder=str(folder),
        data=data,
        columns=judged.columns,
        notes=files.notes(),
        seconds=time.monotonic() - began,
        published=published_beside(judged.columns, data, dataset.provenance.version),
    )
    if output is not None:
        import pandas as pd

        from harness.store.atomic import write_text

        row = {"folder": found.folder, "dataset": data["name"], **found.columns}
        write_text(output, pd.DataFrame([row]).to_csv(index=False, lineterminator="\n"))
    if as_json:
        typer.echo(json.dumps(_plain(found), indent=1))
    else:
        _print(found)


def _log_likelihood(
    folder: Path, files: SoundFolder, table: Path | None, *, needed: bool
) -> np.ndarray | None:
    from harness.evaluation.sound_folder import read_likelihoods

    if table is None and (folder / OWN_TABLE).is_file():
        table = folder / OWN_TABLE
    if not needed:
        return None
    if table is None:
        raise DataError(
            "the rejection rule 'published' needs the files' log-likelihoods: --likelihoods FILE.csv with "
            "the columns file and log_likelihood"
        )
    return read_likelihoods(table, files.files)


def _plain(found: Evaluation) -> dict[str, Any]:
    return {
        "folder": found.folder,
        "data": found.data,
        "columns": found.columns,
        "notes": list(found.notes),
        "seconds": round(found.seconds, 1),
        "published": list(found.published),
    }


def _print(found: Evaluation) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from harness.evaluation.quality.metric import Quality

    columns, said = found.columns, Quality.columns
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("score", "these clips", "95 % interval", "training set", "test set"):
        table.add_column(name, justify="left" if name == "score" else "right")
    arrows = {"lower": " ↓", "higher": " ↑", None: ""}
    for name, column in said.items():
        is_score = column.better is not None and name in columns
        if not is_score or name.endswith("_set"):
            continue
        interval = [_number(columns.get(f"{name}_{end}")) for end in ("low", "high")]
        table.add_row(
            Text(f"{name}{arrows[column.better]} {column.unit}".rstrip()),
            _number(columns[name]),
            " to ".join(interval) if all(interval) else "",
            *(_number(columns.get(f"{name}_{split}_set")) for split in ("train", "test")),
        )
    console = make_console()
    console.print(table)
    for line in _protocol(columns, found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for note in found.notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if found.published:
        print_published(console, found.published)


def _protocol(columns: Mapping[str, Any], found: Evaluation) -> list[str]:
    """Behind which numbers, in words."""
    chosen = f"{columns['quality_samples']} of {columns['quality_drawn']} clips"
    lines = [f"{chosen}, rejection rule {columns['quality_rejection']}, {duration(found.seconds)}"]
    if "quality_extractor" in columns:
        accuracy = columns["quality_extractor_accuracy"]
        known = "accuracy unknown" if accuracy is None else f"{accuracy:.1%} right on held-out clips"
        lines.append(f"classifier {columns['quality_extractor']}, {known}")
    return [*lines, *([columns["quality_note"]] if columns["quality_note"] else [])]


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}"
