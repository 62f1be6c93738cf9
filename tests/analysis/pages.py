"""Pages of synthetic suites, as files: laid out like a results folder."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.page.write import write_page
from harness.analysis.summary import summarise
from harness.contracts import FigureData
from harness.store.record import Record
from harness.suite.trial import Trial

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636000000002"
    "000148afa4710000000049454e44ae426082"
)


def page_of(
    folder: Path,
    data: FigureData,
    columns: dict[str, Any],
    *,
    question: str = "What does pooling buy?",
    error: str = "",
    log: str = "",
    clips: int = 0,
    figures: tuple[str, ...] = (),
) -> str:
    """Write the page of these frames; its text."""
    pairs = []
    for row in data.table.to_dict("records"):
        trial = Trial(row["variant"], row["seed"], _config(row["variant"]))
        record = Record(
            key=trial.key,
            variant=trial.variant,
            seed=trial.seed,
            config=trial.config,
            status=row["status"],
            error=error if row["status"] != "ok" else "",
            provenance={"torch_version": "2.13.0", "packages": {"numpy": "2.4.6"}},
        )
        place = folder / "trials" / trial.folder_name
        if log and row["status"] != "ok":
            place.mkdir(parents=True, exist_ok=True)
            (place / "log.txt").write_text(log, encoding="utf-8")
        if clips and row["status"] == "ok":
            draw(place / "samples", clips)
            draw(place / "real", clips)
        pairs.append((trial, None if row["status"] == "missing" else record, place))
    for name in figures:
        (folder / "figures").mkdir(exist_ok=True)
        (folder / "figures" / f"{name}.png").write_bytes(PIXEL)
        (folder / "figures" / f"{name}.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    plan = {
        "name": "synthetic",
        "question": question,
        "profile": "laptop",
        "variants": [{"name": name, "config": _config(name)} for name in data.variants],
    }
    summary = summarise(data.table, columns, data.variants, data.base)
    path = write_page(folder, data, pairs, summary, columns, plan=plan, figures=figures)
    return path.read_text(encoding="utf-8")


def draw(folder: Path, clips: int) -> None:
    """Short clips of noise, with their table."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (clips, 800))
    with (folder / "samples.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["file", "log_likelihood_bits", "label", "confidence"])
        table.writeheader()
        for number, wave in enumerate(noise):
            soundfile.write(folder / f"{number:06d}.flac", wave, 8000)
            table.writerow(
                {
                    "file": f"{number:06d}.flac",
                    "log_likelihood_bits": -4321.0 - number,
                    "label": 7,
                    "confidence": 0.93,
                }
            )


def _config(variant: str) -> dict[str, Any]:
    model = {"name": "poolformer", "width": 64, "mixer": {"name": "rg_lru"}}
    if variant == "transformer":
        model = {"name": "transformer", "width": 64, "heads": 4}
    return {"model": model, "train": {"steps": 10, "note": variant}}
