"""Clips to listen to: the first few that each variant drew, beside real ones; none is chosen by ear."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.analysis.page.media import Budget

CLIPS = 3
"""Of each variant."""

REAL_CLIPS = "real clips"
"""Name of the row of clips that no model drew."""


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A clip and what is known of it."""

    source: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Sounds:
    """The clips of one variant."""

    name: str
    seed: int | None
    sounds: Sequence[Sound]


def sounds_of(name: str, seed: int | None, folder: Path, budget: Budget) -> tuple[Sounds | None, str]:
    """The first clips of a folder of drawn clips, and what to say where they do not fit the page."""
    found = []
    for row in _rows(folder):
        source = budget.embed(folder / Path(row["file"]).name)
        if source is None:
            return None, f"the clips of {name} are left out, the page would grow too large: {folder}"
        found.append(Sound(source=source, caption=_caption(row)))
    return (Sounds(name=name, seed=seed, sounds=found) if found else None), ""


def _rows(folder: Path) -> Iterator[Mapping[str, str]]:
    """The first rows of the table that are sounds; none where there is no table."""
    try:
        with (folder / "samples.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if (row.get("file") or "").endswith(".flac")]
    except OSError:
        return
    yield from rows[:CLIPS]


def _caption(row: Mapping[str, str]) -> str:
    parts = []
    bits = _number(row.get("log_likelihood_bits"))
    if bits is not None:
        parts.append(f"log-likelihood {f'{bits:,.0f}'.replace('-', '−')} bits")
    if row.get("label"):
        sure = _number(row.get("confidence"))
        label = row["label"]
        parts.append(f"label {label}" if sure is None else f"heard as {label} ({sure:.0%} sure)")
    return ", ".join(parts)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
